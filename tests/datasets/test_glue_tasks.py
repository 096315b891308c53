"""GLUE from local files in both layouts."""

import numpy as np
import pandas as pd
import pytest
from tiny_checkpoints import FOLDERS, sentences, write_glue

from cascadelib import datasets
from cascadelib.datasets.glue_tasks import TASKS


@pytest.fixture(scope="module")
def glue_folder(tmp_path_factory):
    return write_glue(tmp_path_factory.mktemp("glue"), 30)


@pytest.mark.parametrize("task", TASKS)
def test_glue_is_read_in_both_layouts(glue_folder, tmp_path, task):
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


def test_invalid_glue_requests_are_refused(glue_folder, tmp_path, monkeypatch):
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


def test_every_glue_task_has_a_sample_file():
    assert set(FOLDERS) == set(TASKS)
