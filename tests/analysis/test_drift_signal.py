"""The warning without labels: how often it alarms on unchanged data, whether it sees changed ones, and bad input."""

import numpy as np
import pytest

from cascadelib import DriftSignal, LogitStore, pick, search
from cascadelib.evaluation.evaluation import stage_confidences


def store_of(k, seed, scale=1.0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    clean = scale * (2 + rng.normal(size=(k, 1))) * np.eye(4)[labels]
    logits = {name: s * clean + noise * rng.normal(size=(k, 4)) for name, s in (("a", 0.7), ("b", 1.0), ("c", 1.4))}
    return LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 5, "c": 25})


@pytest.fixture(scope="module")
def point():
    return pick(search(store_of(1000, 0), 3), "max_improvement")


def test_stage_confidences_are_those_of_the_samples_that_get_there(point):
    store = store_of(300, 1)
    found = stage_confidences(store, point)
    left, p = np.arange(300), None
    for i, model in enumerate(point.models):
        z = store.logits(model).astype(float)
        p = (np.exp(z) / np.exp(z).sum(1, keepdims=True)).max(1)
        np.testing.assert_allclose(found[i], p[left])
        if i < 2:
            left = left[p[left] < point.thresholds[i]]


def test_unchanged_data_alarm_no_more_often_than_stated(point):
    """A short run of the study in benchmarks/analysis.py: 200 draws of reference and window at a rate of 5%."""
    alarms = 0
    for draw in range(200):
        signal = DriftSignal.at_selection(store_of(1000, 1000 + draw), point, 0.05)
        alarms += signal.check(stage_confidences(store_of(250, 5000 + draw), point)).alarm
    assert alarms <= 21  # more with a probability of 1 in 1,000 at exactly 5%


@pytest.mark.parametrize("change", [{"noise": 1.6}, {"scale": 0.7}])
def test_changed_data_alarm(point, change):
    signal = DriftSignal.at_selection(store_of(2000, 1), point, 0.001)
    report = signal.check(stage_confidences(store_of(500, 2, **change), point))
    assert report.alarm
    assert report.tests.loc[report.tests["alarm"], "what"].isin(["exit rate", "confidence"]).any()
    assert not signal.check(stage_confidences(store_of(500, 3), point)).alarm


def test_the_same_samples_do_not_alarm_and_rates_are_those_of_the_cascade(point):
    store = store_of(500, 4)
    report = DriftSignal.at_selection(store, point).check(stage_confidences(store, point))
    assert not report.alarm
    first = report.tests.iloc[0]
    assert first["reference"] == first["live"]
    assert (report.tests["p"] == 1).all()


def test_stages_that_nobody_reaches_are_left_out():
    signal = DriftSignal((np.linspace(0, 1, 100), np.empty(0)))
    report = signal.check([np.linspace(0, 1, 50), np.empty(0)])
    assert report.tests["stage"].tolist() == [1, 1]
    assert not report.alarm
    assert not signal.check([np.linspace(0, 1, 3), np.empty(0)]).alarm  # too few to say anything


@pytest.mark.parametrize(
    ("live", "message"),
    [
        ([np.ones(50)], "1 stages, the reference 2"),
        ([np.ones(50), np.ones(51)], "cannot be reached by more"),
        ([np.array([0.5, np.nan]), np.ones(1)], "nan"),
    ],
)
def test_bad_windows_are_refused(live, message):
    with pytest.raises(ValueError, match=message):
        DriftSignal((np.linspace(0, 1, 100), np.linspace(0, 0.5, 40))).check(live)


def test_bad_references_are_refused():
    with pytest.raises(ValueError, match="no sample"):
        DriftSignal((np.empty(0),))
    with pytest.raises(ValueError, match="between 0 and 1"):
        DriftSignal((np.ones(5),), 1.0)
