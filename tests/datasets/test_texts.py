"""Labelled texts from sequences and tables, and refusals."""

import pandas as pd
import pytest

from cascadelib.datasets.texts import Texts, table


def test_texts_have_batches_an_order_and_subsets():
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
        ((("a", "b"), "c"), "row 1.*expected a pair of strings"),
        ((("a", "b"), ("a", 1)), "row 1.*expected a pair of strings"),
        (("a",), "1 texts for 2 labels"),
        ((("a", "b", "c"), ("a", "b", "c")), "row 0.*pair"),
    ],
)
def test_bad_texts_are_named(texts, message):
    with pytest.raises(ValueError, match=message):
        Texts(texts, [0, 1])


def test_empty_texts_are_counted_and_not_removed():
    with pytest.warns(UserWarning, match="2 of 3 texts are empty"):
        assert len(Texts(("", "a", "  "), [0, 1, 1])) == 3


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl"])
def test_tables_of_every_file_type_are_read(tmp_path, suffix):
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


def test_invalid_tables_are_refused(tmp_path):
    frame = pd.DataFrame({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(ValueError, match="unknown column of the table 'sentence'; nearest: "):
        table(frame, "sentence")
    with pytest.raises(ValueError, match="'labels'; nearest: 'label'"):
        table(frame, label="labels")
    with pytest.raises(ValueError, match="unknown label 'maybe'; nearest: 'yes'"):
        table(frame.assign(label=["yes", "maybe"]), classes=("no", "yes"))
    with pytest.raises(ValueError, match="label 2 of sample 1 is outside 0 … 1"):
        table(frame.assign(label=[0, 2]), classes=("no", "yes"))
    with pytest.raises(ValueError, match="all labels are −1"):
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
