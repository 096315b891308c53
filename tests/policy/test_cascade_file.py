"""A cascade's file stores the point to the last bit, with its samples and expected figures."""

import math
from dataclasses import replace

import fuzz
import numpy as np
import pytest
from points_of_files import POINT, STORE, make_store, same

from cascadelib import LogitStore, Method, evaluate, pick, search
from cascadelib.evaluation.intervals import cost_interval, share_interval
from cascadelib.evaluation.point import ConfidenceRange
from cascadelib.origin import samples_in_common
from cascadelib.policy.cascade_file import (
    UNCHECKED,
    WITHOUT_CHOOSING,
    expected_figures,
    point_for_file,
)
from cascadelib.policy.policy import Policy

OTHER = make_store(1)


def test_a_file_stores_a_point_and_its_expected_figures(tmp_path):
    Policy.from_point(POINT, STORE, OTHER).save(tmp_path / "c.json")
    point = Policy.load(tmp_path / "c.json").point
    assert same(point, POINT)
    there = evaluate(OTHER, point)
    measured = point.expected
    accuracy, cost = measured.accuracy, measured.cost
    assert (accuracy.low, accuracy.high) == share_interval(there.correct)
    assert (cost.low, cost.high) == cost_interval(there.exit_stage, there.costs)
    assert (accuracy.value, cost.value) == (there.accuracy, pytest.approx(there.cost))
    assert [rate.value for rate in measured.exit_rates] == list(there.exit_rates)
    assert point.selected_on.fingerprint == STORE.origin.fingerprint != measured.on.fingerprint
    assert set(point.method.temperatures) == set(POINT.models)
    assert (tmp_path / "c.json").stat().st_size < 25_000


def test_expected_confidences_are_of_the_samples_that_reach_a_stage():
    point = replace(pick(search(STORE, 3, "entropy"), "max_improvement"), thresholds=(0.5, 0.5))
    result = expected_figures(point, STORE)
    stage = Method("entropy").stage(STORE, point.models)
    entropy = [-stage((i,))[1] for i in range(3)]
    reach = [np.ones(len(STORE), bool), entropy[0] > 0.5, (entropy[0] > 0.5) & (entropy[1] > 0.5)]
    for i in range(3):
        seen = entropy[i][reach[i]]
        assert result.confidences[i] == ConfidenceRange(seen.min(), seen.max(), len(seen))
    nobody = expected_figures(replace(point, thresholds=(math.inf, 0.5)), STORE)
    assert nobody.confidences[1] is None and nobody.exit_rates[0].value == 1


@pytest.mark.parametrize("seed", range(3))
def test_damaged_cascades_and_studies_are_read_unchanged_or_refused_by_name(seed):
    assert fuzz.fuzz_cascades(seed, cases=150) == 150


def test_a_file_that_is_too_large_is_neither_written_nor_read(tmp_path, monkeypatch):
    policy = Policy.from_point(POINT, STORE)
    path = tmp_path / "p.json"
    policy.save(path)
    size = path.stat().st_size
    monkeypatch.setattr("cascadelib.policy.form.LARGEST", size - 1)
    with pytest.raises(ValueError, match=f"takes {size} bytes, and {size - 1} at most"):
        policy.save(path)
    monkeypatch.setattr("cascadelib.policy.policy.LARGEST", size - 1)
    with pytest.raises(ValueError, match=f"more than {size - 1} bytes"):
        Policy.load(path)


def part_of(store, rows, name=None):
    """Some samples of a store, with ids that start with a name, or without ids."""
    part = store.take(rows)
    logits = {model: part.logits(model) for model in part.models.index}
    ids = name and [f"{name} {row}" for row in np.arange(len(store))[rows]]
    macs = part.models["macs"].to_dict()
    return LogitStore.from_arrays(part.labels, logits, macs=macs, sample_ids=ids)


FIRST, SECOND, THIRD = (
    part_of(STORE, slice(start, start + 100), "image") for start in (0, 100, 200)
)


def fitted_point():
    """A point that FIRST chose and SECOND fitted."""
    return search(FIRST, 2, Method(temperature=True).fit(SECOND)).point(-1)


def test_a_file_stores_all_samples_that_a_cascade_has_seen(tmp_path):
    """Digests of their ids, for search and fit, also if saved again."""
    point = fitted_point()
    for store in (None, FIRST):
        Policy.from_point(point, store).save(tmp_path / "c.json")
        assert "image 1" not in (tmp_path / "c.json").read_text()
        point = Policy.load(tmp_path / "c.json").point
        assert point.selected_on == point.method.fitted.samples
        for part, shared in ((FIRST, 1), (SECOND, 1), (THIRD, 0)):
            for count in (100, 50):
                here = part.take(slice(count))
                assert samples_in_common(point.seen, here.origin) == shared * count
    assert point_for_file(point, None, SECOND).expected.intervals == WITHOUT_CHOOSING


def test_intervals_state_whether_the_samples_were_seen():
    point = fitted_point()
    seen = "95%, without choosing"
    held = {None: seen, FIRST: seen, SECOND: seen, THIRD: "95%", OTHER: UNCHECKED}
    for store, words in held.items():
        assert point_for_file(point, FIRST, store).expected.intervals == words
    assert point_for_file(POINT).expected is None


def test_repeated_held_out_samples_are_refused():
    with pytest.raises(ValueError, match="samples repeat others .ids"):
        point_for_file(POINT, STORE, OTHER.take([*range(100), 7]))
