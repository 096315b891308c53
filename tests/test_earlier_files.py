"""Files that version 0.3.0 wrote are read, with the results that it had."""

from pathlib import Path

import numpy as np
import pytest

from cascadelib import Cascade, LogitStore, Policy, ScoreTable, evaluate

FOLDER = Path(__file__).parent / "data" / "written_by_0.3.0"
# {file: (samples that exit at each stage, correct samples, mean cost)}, as 0.3.0 evaluated them
ON_THE_STORE = {"policy": ([14, 10, 0], 23, 155 / 3), "cascade": ([6, 18], 24, 760.0)}
ON_THE_TABLE = {
    "certified": ([167, 33], 173, 2.65),
    "fitted_auto": ([130, 70], 186, 4.5),
    "fitted_isotonic_by_label": ([130, 70], 186, 4.5),
}


def read_score_file():
    path = FOLDER / "table.csv"
    return ScoreTable.from_frame(path, prediction="prediction", label="label")


@pytest.mark.parametrize("name", [*ON_THE_STORE, *ON_THE_TABLE])
def test_a_policy_decides_as_in_the_version_that_wrote_it(name):
    split = LogitStore(FOLDER / "store") if name in ON_THE_STORE else read_score_file()
    policy = Policy.load(FOLDER / f"{name}.json")
    run = evaluate(split, policy)
    exits, correct, cost = (ON_THE_STORE | ON_THE_TABLE)[name]
    assert np.bincount(run.exit_stage, minlength=len(exits)).tolist() == exits
    assert run.correct.sum() == correct
    assert run.cost == pytest.approx(cost)
    assert policy.point.versions["cascadelib"] == "0.3.0"


def test_a_cascade_file_is_read_with_modules():
    torch = pytest.importorskip("torch")
    modules = {name: torch.nn.Identity() for name in ("m0", "m2")}
    cascade = Cascade.load(FOLDER / "cascade.json", modules)
    logits = LogitStore(FOLDER / "store").logits("m0")
    assert cascade(torch.tensor(logits)).exit_stage.tolist().count(0) == 6


def test_a_store_is_read():
    store = LogitStore(FOLDER / "store")
    assert store.models["top1"].tolist() == [21 / 24, 23 / 24, 1.0]
    assert store.models["macs"].tolist() == [10, 100, 1000]
    assert store.classes == ("cat", "dog", "owl")
