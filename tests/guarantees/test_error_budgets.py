"""Each share of an error budget is exact: the level that a bound passes on, and its value at the
boundary. A simulation cannot see a factor of 4."""

import inspect
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import beta, binom, hypergeom

import cascadelib as cl
from cascadelib.guarantees import peeling, premises, repeats
from cascadelib.guarantees.p_values import f1_p_value
from cascadelib.origin import Origin
from cascadelib.sklearn import CascadeClassifier


@pytest.mark.parametrize(
    ("delta", "allowed"), [(0.01, -1), (0.05, 0), (0.1, 1), (0.29, 1), (0.3, 2), (0.9, 2)]
)
def test_the_number_of_allowed_errors_is_rounded_down(delta, allowed):
    assert peeling.largest_allowed(np.array([0.05, 0.1, 0.3]), delta) == allowed


@pytest.mark.parametrize(("rows", "may_stay", "labels"), [(200, 20, 80), (50, 0, 5), (300, 3, 40)])
def test_errors_in_a_draw_of_a_table_spend_at_most_delta(rows, may_stay, labels):
    """i labels may be wrong if P(at most i of i + may_stay + 1 wrong rows are drawn) ≤ δ."""
    delta = 0.13
    allowed = 0
    while hypergeom.cdf(allowed, rows, allowed + may_stay + 1, labels) <= delta:
        allowed += 1
    assert peeling.errors_allowed(rows, may_stay, labels, delta) == allowed - 1 < labels


@pytest.mark.parametrize(
    ("removed", "counted", "spent"), [(437, 420, 0.1), (420, 420, 0.1), (7, 0, 0.1), (0, 0, 0.0)]
)
def test_a_tenth_of_delta_bounds_the_remaining_share_of_the_source(
    removed, counted, spent, capture
):
    """It is divided evenly by the possible numbers of removed rows: 200 chunks of 20 rows."""
    delta = 0.2
    calls = capture(peeling, "largest_allowed", 3)
    assert peeling.errors_allowed_at_source(50, 0.1, delta, removed, 4000) == 3
    share = beta.isf(delta / 10 * 20 / 4000, 4000 - counted + 1, counted) if counted else 1.0
    ((chances, level),) = calls
    assert level == pytest.approx(delta * (1 - spent), rel=1e-12)
    np.testing.assert_allclose(chances, binom.cdf(np.arange(50), 50, 0.1 / share), rtol=1e-9)


def test_all_errors_are_allowed_if_less_than_epsilon_of_the_source_remains():
    assert peeling.errors_allowed_at_source(50, 0.9, 0.2, 3990, 4000) == 49


def test_comparisons_at_several_digits_share_their_level(capture):
    calls = capture(repeats, "equal_contents", 0)
    columns = {"a": [np.random.default_rng(0).random(90)]}
    seen, here = (
        Origin(None, np.arange(90).astype(str), models=columns, read=columns.get) for _ in range(2)
    )
    assert repeats.shared_rows(seen, here, ["a"]) == 0
    assert [call[-1] for call in calls] == [repeats.LEVEL / 5] * 5


def test_copies_of_a_table_are_found_at_a_quarter_of_the_level_shared_by_the_primes():
    """u values occur twice each, by chance with probability 2 ** −u (and a Poisson factor)."""
    first = None
    for u in range(1, 60):
        level = repeats.LEVEL / 4 / len(repeats.PRIMES) / math.sqrt(2 * math.pi * 2 * u)
        expected = 2 if 0.5**u <= level else 1
        first = first or (u if expected == 2 else None)
        assert repeats.copies_of_each(np.full(u, 2)) == expected
    assert first == 31


@pytest.mark.parametrize(("groups", "found"), [(30, False), (60, True)])
def test_repeats_in_groups_are_found_at_their_level(groups, found):
    """All groups agree. Neighbours agree in a third of the cases, times a factor of 1.5."""
    values = np.repeat(np.arange(groups), 2).astype(float)
    other = np.repeat(np.arange(groups) // 1.5, 2)
    chance = 1.5 * beta.isf(repeats.LEVEL, groups // 3 + 1, groups - groups // 3)
    expected = chance < 1 and binom.sf(groups - 1, groups, chance) <= repeats.LEVEL
    assert repeats.repeats_in_groups([values, np.floor(other)], [values * 0]) in (expected, found)


def test_custom_confidences_share_their_level(capture, monkeypatch):
    calls = capture(premises, "has_power", True)
    monkeypatch.setattr(premises, "confidences_of", lambda parts, name: (np.linspace(0, 1, 9), 0))
    monkeypatch.setattr(premises, "parts_of", lambda origin: ["seen"])
    points = [SimpleNamespace(origin=None)]
    store = SimpleNamespace(class_count=None)
    case = SimpleNamespace(
        store=store,
        points=points,
        deciding={"a", "b", "c"},
        origin=None,
        is_known=np.zeros(9, bool),
    )
    premises.confidences(case)
    assert calls == [(9, 9, repeats.LEVEL / 3)] * 3


@pytest.mark.parametrize(("above", "prime"), [(1 - 1e-9, 2), (1 + 1e-9, 1)])
def test_copies_of_a_table_are_found_at_exactly_their_level(above, prime, monkeypatch):
    counts = np.full(9, 2)
    level = repeats.LEVEL / 4 / len(repeats.PRIMES) / math.sqrt(2 * math.pi * 18)
    monkeypatch.setattr(repeats, "binom", SimpleNamespace(sf=lambda *_: level * above))
    assert repeats.copies_of_each(counts) == prime


@pytest.mark.parametrize(
    "call",
    [cl.certify, cl.answer_table, cl.analysis.guarantee_table, CascadeClassifier, f1_p_value],
)
def test_an_error_budget_is_5_percent_by_default(call):
    parameters = inspect.signature(call).parameters
    assert (parameters.get("delta") or parameters["level"]).default == 0.05
