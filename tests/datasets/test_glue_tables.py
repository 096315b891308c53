"""Tables of GLUE checkpoints that fill a store."""

import numpy as np
import pandas as pd
import pytest
import tiny_checkpoints as tiny
from scripts import load_script

import cascadelib as cl

extract_glue = load_script("data/glue/extract.py")
checkpoints = extract_glue.checkpoints
glue_store = extract_glue.glue_store


@pytest.fixture(scope="module")
def good():
    """Train a module on the toy sentences."""
    return tiny.trained(tiny.module(8, 1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, good):
    """Write GLUE files, checkpoints and their table: two correct ones, one swapped, one missing."""
    folder = tmp_path_factory.mktemp("glue")
    tiny.write_glue(folder / "data", 150)
    places = {
        "small": tiny.save(folder / "small", good),
        "large": tiny.save(folder / "large", tiny.trained(tiny.module(16, 2, seed=2))),
        "swapped": tiny.save(folder / "swapped", tiny.swapped(good)),
    }
    rows = [
        (task, places[m], m.title(), o)
        for task in tiny.FOLDERS
        for m, o in (("small", "0 1"), ("large", "0 1"), ("swapped", "1 0"))
    ]
    tiny.write_table(
        folder / "models.csv",
        [
            *rows,
            ("sst2", str(folder / "gone"), "Gone", "0 1"),
            ("mrpc", places["swapped"] + "/", "Wrong", "0 1"),
        ],
    )
    return folder


def test_a_table_of_checkpoints_fills_a_store(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    arguments = ("sst2", tmp_path / "s", folder / "models.csv", folder / "data")
    with pytest.warns(UserWarning, match="gone is skipped"):
        store = glue_store(*arguments, progress=False)
    assert (
        sorted(store.models.family) == ["Large", "Small", "Swapped"]
        and (store.models.top1 > 0.65).all()
    )
    names = [str(folder / name) for name in ("small", "swapped")]
    assert np.allclose(*(store.logits(name) for name in names), atol=1e-6)
    monkeypatch.setattr(extract_glue, "load", lambda *_: pytest.fail("loaded again"))
    with pytest.raises(pytest.fail.Exception):
        glue_store(*arguments, progress=False)  # only the missing one is tried again


def test_a_checkpoint_with_swapped_classes_is_skipped(folder, tmp_path):
    with pytest.warns(UserWarning, match="seems to have its classes in another order"):
        store = glue_store(
            "mrpc", tmp_path / "s", folder / "models.csv", folder / "data", progress=False
        )
    assert sorted(store.models.family) == ["Large", "Small", "Swapped"]
    assert cl.search(store, 2, score="f1").baseline.best > 0.6


def test_invalid_tables_of_checkpoints_are_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no table of checkpoints nowhere.csv"):
        checkpoints("sst2", "nowhere.csv")
    pd.DataFrame({"task": ["sst2"], "name": ["a"], "family": ["b"]}).to_csv(tmp_path / "models.csv")
    with pytest.raises(ValueError, match="unknown column of .*models.csv 'label_order'"):
        checkpoints("sst2", tmp_path / "models.csv")
    table = tiny.write_table(tmp_path / "gone.csv", [("sst2", "nobody/gone", "Gone", "0 1")])
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    with (
        pytest.warns(UserWarning),
        pytest.raises(ValueError, match="none of the 1 checkpoints of sst2"),
    ):
        glue_store("sst2", tmp_path / "s", table, folder / "data")


def test_the_curated_table_of_checkpoints_is_complete():
    rows = pd.concat([checkpoints(task) for task in tiny.FOLDERS])
    assert (
        rows.groupby("task").size().ge([16, 15, 12, 18]).all()
    )  # mrpc, qnli, qqp, sst2, as in the paper
    assert not rows.reset_index().duplicated(["task", "name"]).any() and rows.verified.notna().all()
    assert set(rows.label_order) == {"0 1"}
