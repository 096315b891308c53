"""Labelled texts: from tables, from GLUE's two layouts, and the bundled sentences; what is refused, and how."""

import json

import numpy as np
import pandas as pd
import pytest
from tiny_checkpoints import FOLDERS, sentences, write_glue

from cascadelib import datasets
from cascadelib.datasets.glue_tasks import TASKS
from cascadelib.datasets.texts import Texts, table
from cascadelib.files import ROOT


@pytest.fixture(scope="module")
def glue_folder(tmp_path_factory):
    return write_glue(tmp_path_factory.mktemp("glue"), 30)


def test_batches_order_and_subsets():
    texts = Texts(("ccc", "a", "bb", "a b c"), [0, 1, 1, 0], classes=("no", "yes"))
    assert texts.order.tolist() == [1, 2, 0, 3] and not texts.pairs
    assert texts.batch(1, 3) == ("a", "bb")
    part = texts.take([2, 0])
    assert (
        part.inputs == ("bb", "ccc")
        and part.labels.tolist() == [1, 0]
        and part.sample_ids.tolist() == ["2", "0"]
    )
    assert texts.raw(0) != texts.raw(1)
    pairs = Texts((("aaa", "b"), ("a", "b")), [0, 1])
    assert pairs.pairs and pairs.order.tolist() == [1, 0] and pairs.batch(0, 1) == (("aaa", "b"),)


@pytest.mark.parametrize(
    "texts, message",
    [
        (("a", None), r"row 1 \(1\) is None, expected a string"),
        (("a", float("nan")), "row 1.*nan"),
        ((("a", "b"), "c"), "row 1.*expected a pair of strings"),
        (("a",), "1 texts for 2 labels"),
        ((("a", "b", "c"), ("a", "b", "c")), "row 0.*pair"),
    ],
)
def test_bad_texts_are_named(texts, message):
    with pytest.raises(ValueError, match=message):
        Texts(texts, [0, 1])


def test_empty_texts_are_counted_and_kept():
    with pytest.warns(UserWarning, match="2 of 3 texts are empty"):
        assert len(Texts(("", "a", "  "), [0, 1, 1])) == 3


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_any_table(tmp_path, suffix):
    frame = pd.DataFrame(
        {"review": ['one, "two"', "nan"], "mood": ["yes", "no"], "key": ["x", "y"]}
    )
    path = tmp_path / f"table{suffix}"
    writers = {
        ".csv": lambda: frame.to_csv(path, index=False),
        ".tsv": lambda: path.write_text('review\tmood\tkey\none, "two"\tyes\tx\nnan\tno\ty\n'),
        ".parquet": lambda: frame.to_parquet(path),
        ".jsonl": lambda: frame.to_json(path, orient="records", lines=True),
    }
    writers[suffix]()
    found = table(path, "review", "mood", "key", ("no", "yes"))
    assert found.inputs == ('one, "two"', "nan") and found.labels.tolist() == [1, 0]
    assert found.sample_ids.tolist() == ["x", "y"] and found.classes == ("no", "yes")


def test_what_a_table_is_refused_for(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(ValueError, match="unknown column of the table 'sentence'; nearest: "):
        table(frame, "sentence")
    with pytest.raises(ValueError, match="'labels'; nearest: 'label'"):
        table(frame, label="labels")
    with pytest.raises(ValueError, match="label 'maybe' of row 1 is none of"):
        table(frame.assign(label=["yes", "maybe"]), classes=("no", "yes"))
    with pytest.raises(ValueError, match="label 2 of sample 1 is outside 0 … 1"):
        table(frame.assign(label=[0, 2]), classes=("no", "yes"))
    with pytest.raises(ValueError, match="all labels are −1.*hides them"):
        table(frame.assign(label=-1))
    with pytest.raises(ValueError, match="empty"):
        table(frame.iloc[:0])
    with pytest.raises(FileNotFoundError, match="no table"):
        table(tmp_path / "none.csv")
    (tmp_path / "table.xlsx").write_text("")
    with pytest.raises(ValueError, match="unknown kind of table '.xlsx'"):
        table(tmp_path / "table.xlsx")
    (tmp_path / "ragged.tsv").write_text("text\tlabel\na\t0\nb\t1\textra\n")
    with pytest.raises(ValueError, match=r"ragged\.tsv cannot be read.*line 3"):
        table(tmp_path / "ragged.tsv")


@pytest.mark.parametrize("task", TASKS)
def test_glue_in_both_layouts(glue_folder, tmp_path, task):
    tsv = datasets.glue(task, folder=glue_folder)
    texts, labels = sentences(30, list(TASKS).index(task))
    assert [
        t[0] if tsv.pairs else t for t in tsv.inputs
    ] == texts and tsv.labels.tolist() == labels.tolist()
    assert tsv.pairs == (task != "sst2") and tsv.classes == TASKS[task].classes
    assert tsv.sample_ids[3] == f"{task}/3" and (tsv.dataset, tsv.split) == (
        f"glue/{task}",
        "validation",
    )
    columns = dict(zip(TASKS[task].text, zip(*tsv.inputs) if tsv.pairs else [tsv.inputs]))
    (tmp_path / task).mkdir()
    frame = pd.DataFrame(columns | {"label": tsv.labels, "idx": np.arange(30)})
    frame.to_parquet(tmp_path / task / "validation-00000-of-00001.parquet")
    hub = datasets.glue(task, folder=tmp_path)
    assert hub.inputs == tsv.inputs and hub.labels.tolist() == tsv.labels.tolist()


def test_what_glue_is_refused_for(glue_folder, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="GLUE hides the labels of sst2's test split"):
        datasets.glue("sst2", "test", folder=glue_folder)
    with pytest.raises(ValueError, match="unknown GLUE task 'sst'; nearest: 'sst2'"):
        datasets.glue("sst", folder=glue_folder)
    with pytest.raises(FileNotFoundError, match=r"no train split of qqp.*QQP/train\.tsv"):
        datasets.glue("qqp", "train", folder=glue_folder)
    (tmp_path / "SST-2").mkdir()
    (tmp_path / "SST-2" / "dev.tsv").write_text("text\tlabel\na\t1\n")
    with pytest.raises(ValueError, match="unknown column of glue/sst2 'sentence'"):
        datasets.glue("sst2", folder=tmp_path)
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    with pytest.raises(ConnectionError, match=r"GLUE's mrpc is not in the local cache.*folder="):
        datasets.glue("mrpc")


SPLITS = ("train", "val", "test", "products", "editorials", "tweets")


@pytest.mark.parametrize("split", SPLITS)
def test_bundled_sentences(split):
    found = datasets.reviews(split)
    assert (
        len(found) >= 2000
        and found.classes == ("negative", "positive")
        and set(found.labels) == {0, 1}
    )
    rating = pd.read_parquet(ROOT / f"data/reviews/{split}.parquet").rating
    assert (rating != 0).all() and ((rating > 0) == found.labels.astype(bool)).all()


def test_no_sentence_is_in_two_splits():
    texts = [
        " ".join(text.lower().split())
        for split in SPLITS[:3]
        for text in set(datasets.reviews(split).inputs)
    ]
    assert len(texts) > 10_000 and len(texts) - len(set(texts)) == 0


def test_missing_split_is_named():
    with pytest.raises(FileNotFoundError, match=r"no .*dev\.parquet; splits there: \['editorials'"):
        datasets.reviews("dev")


def test_tokenizer_is_whole():
    zoo = json.loads((ROOT / "data/reviews/zoo.json").read_text())
    tokenizer = json.loads((ROOT / "data/reviews/tokenizer.json").read_text())
    assert sorted(tokenizer["model"]["vocab"].values()) == list(range(zoo["vocab_size"]))


def test_every_glue_task_has_a_sample_file_here():
    assert set(FOLDERS) == set(TASKS)
