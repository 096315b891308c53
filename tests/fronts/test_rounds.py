"""The search within a time limit: an exact front if time suffices, else valid bounds."""

from itertools import combinations
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import (
    COMPILED,
    LARGE,
    assert_certified,
    assert_equal_points,
    bound_at,
    exact_front,
)

from cascadelib.fronts import rounds, workers
from cascadelib.fronts.cascades import Cascades, prepare_search
from cascadelib.fronts.exact import search_arrays
from cascadelib.fronts.kernels.state import least_onwards
from cascadelib.fronts.rounds import COARSE_ROUNDS, Floors, promising_parts
from cascadelib.fronts.workers import Part

COSTS = st.sampled_from([0.0, 1.0, 1.0, 1.5, 2.0, 7.0, 40.0, np.inf])


@given(st.lists(COSTS.filter(np.isfinite), min_size=2, max_size=12), st.data())
def test_bounds_of_parts_are_kept_by_accuracy(costs, data):
    """No bound exceeds the recorded one, and they are equal at the start of a step."""
    reach = np.append(np.sort(costs), np.inf)
    size = len(reach)
    parts = [Part((m, 9)) for m in range(3)]
    with patch.object(rounds, "MOST_STEPS", data.draw(st.sampled_from([2, 4, 1024]))):
        floors = Floors(parts, np.zeros(10), reach)
    noted = np.array(
        [data.draw(st.lists(COSTS, min_size=size, max_size=size)) for _ in parts], float
    )
    onwards = np.array([least_onwards(floor) for floor in noted])
    for part, floor in zip(parts, noted):
        floors.update([part], floor)
        assert np.isinf(floor).all()
    kept = least_onwards(floors.total())
    assert (kept <= onwards.min(axis=0)).all()
    np.testing.assert_array_equal(kept[floors.starts], onwards.min(axis=0)[floors.starts])
    # A part is omitted only if it has nothing as cheap as the known costs, or more accurate.
    worst = floors.worst_first(reach, np.zeros(size))
    for part, floor in zip(parts, onwards):
        as_cheap = (np.isfinite(floor) & (floor <= reach)).any()
        assert part in worst or not as_cheap


def test_parts_beyond_the_known_accuracies_are_searched_in_the_last_round():
    reach = np.array([1.0, 2.0, np.inf])
    parts = [Part((0, 1)), Part((0, 2))]
    floors = Floors(parts, np.zeros(4), reach)
    floors.update(parts[:1], np.array([np.inf, np.inf, 7.0]))
    floors.update(parts[1:], np.full(3, np.inf))
    assert floors.worst_first(np.minimum(reach, 2.0), np.zeros(3)) == []
    assert floors.worst_first(reach, np.zeros(3)) == parts[:1]


def hostile(seed):
    """Return a small table and lengths, with ties of confidences and of costs."""
    rng = np.random.default_rng(seed)
    models = int(rng.integers(3, 6))
    k = int(rng.integers(40, 250 if COMPILED else 60))
    n = int(rng.integers(3, min(models, 4) + 1))
    skill = np.sort(rng.random(models))[:, None]
    correct = rng.random((models, k)) < 1 / (1 + np.exp(6 * (rng.random(k) - skill - 0.2)))
    confidence = np.round(correct * rng.random() / 2 + rng.random((models, k)), seed % 3 + 1)
    kinds = [
        np.sort(rng.integers(1, 6, models)).astype(float),
        2.0 ** np.arange(models),
        np.arange(1, models + 1) * 0.1,
        np.ones(models),
        np.sort(rng.random(models)),
    ]
    return correct, confidence, kinds[seed % 5], n if seed % 2 else tuple(range(1, n + 1))


@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_after_a_round_no_gap_exceeds_its_tolerance(number):
    for seed in range(1, 25 if COMPILED else 7, 2):  # of one length each
        table = hostile(seed)
        exact = search_arrays(*table)
        calls = iter(range(number))

        def few(*arguments, calls=calls):
            return next(calls, None) is not None and workers.on_workers(*arguments)

        with (
            patch.object(rounds, "MOST_STEPS", 2),
            patch.object(rounds, "on_workers", few),
        ):
            found = search_arrays(*table, time_limit=60)
        assert (bound_at(found, exact.accuracy) <= exact.cost * (1 + 1e-12)).all()
        assert number == 1 or found.gap.max() <= max(COARSE_ROUNDS[number - 1]) + 1e-6


@pytest.mark.soak
def test_hostile_fronts_do_not_depend_on_rounds_roots_or_threads():
    """Of tied cascades the same one is found in every order of the search."""
    for seed in range(100 if COMPILED else 6):
        *table, lengths = hostile(seed)
        expected = search_arrays(*table, lengths)
        few = dict.fromkeys(range(2, 8), 2)
        with (
            patch("os.cpu_count", return_value=8 if seed % 3 else 1),
            patch.object(workers, "ROOT_BINS", few if seed % 4 == 0 else workers.ROOT_BINS),
        ):
            found = search_arrays(*table, lengths, time_limit=600)
        assert_equal_points(found, expected)
        assert (found.gap == 0).all()


def test_a_watched_search_shows_a_bar_until_it_ends(monkeypatch, capsys):
    search_arrays(*LARGE, 3)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(workers, "is_watched", lambda: True)
    search_arrays(*LARGE, 3)
    shown = capsys.readouterr().err
    assert "3 models" in shown and shown.endswith("\r")  # the line is removed


def test_promising_cascades_are_those_with_the_largest_product_over_pairs():
    rng = np.random.default_rng(0)
    cost = np.array([2.0, 1.0, 2.0, 5.0, 4.0])
    closeness = rng.random((5, 5))
    for n in (3, 4):
        search = prepare_search(None, cost, n)._replace(length=n)
        values = {}
        for cascade in Cascades(cost).extensions((), n):
            values[cascade] = np.prod([closeness[a, b] for a, b in combinations(cascade, 2)])
        low, high = np.quantile(list(values.values()), [0.4, 0.8])
        found = [
            (*part.head, m)
            for part in promising_parts(search, closeness, low, high)
            for m in part.lasts.tolist()
        ]
        assert found == [c for c, value in values.items() if low <= value < high]


@pytest.mark.parametrize("time_limit", [1e-6, 0.2, 600])
def test_a_large_search_with_a_limit_begins_with_promising_cascades(time_limit, monkeypatch):
    exact = search_arrays(*LARGE, 3)
    monkeypatch.setattr(rounds, "LARGE", 0)
    monkeypatch.setattr(rounds, "MOST_PARTS", 6)  # a part per first model
    found = search_arrays(*LARGE, 3, time_limit=time_limit)
    assert_certified(found, exact, np.inf)
    if time_limit == 600:
        assert_equal_points(found, exact)
        assert found.floor is None


def test_a_search_of_longer_cascades_begins_with_triples(monkeypatch):
    triples, exact = map(exact_front, (3, 4))
    monkeypatch.setattr(rounds, "on_workers", lambda *_: False)
    found = search_arrays(*LARGE, 4, time_limit=600)
    assert_certified(found, exact, np.inf)
    is_extended = triples.models[:, -1] < len(LARGE[2]) - 1  # a more expensive model follows
    for accuracy, cost in zip(triples.accuracy[is_extended], triples.cost[is_extended]):
        assert found.cost[found.accuracy >= accuracy].min() <= cost
