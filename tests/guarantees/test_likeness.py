"""Samples that two splits share are found by confidences, and independent splits pass."""

import pickle
from dataclasses import replace
from itertools import product
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cascadelib import LogitStore, Point, ScoreTable
from cascadelib.guarantees import likeness as likeness_module
from cascadelib.guarantees.likeness import (
    grid_spacing,
    likeness,
    likeness_of,
    near_groups,
    pairs_across,
    rounded_alike,
)
from cascadelib.origin import ids_could_meet, parts_of
from cascadelib.policy.cascade_file import point_for_file
from cascadelib.policy.form import parse_cascade, text_of


def confidences(models, samples, seed=0):
    rng = np.random.default_rng(seed)
    score = 1 - rng.normal(size=samples) + rng.normal(size=(models, samples))
    return 1 / (1 + np.exp(-np.abs(score)))


def slow_pairs(points):
    """Mutual nearest neighbours with the distance relative to the second neighbour, by loops."""
    scaled = points / np.ptp(points, axis=0)
    distance = np.sqrt(((scaled[:, None] - scaled) ** 2).sum(axis=2))
    np.fill_diagonal(distance, np.inf)
    nearest = distance.argmin(axis=1)
    second = np.sort(distance, axis=1)[:, 1]
    pairs = []
    for i, j in enumerate(nearest):
        if nearest[j] == i < j:
            pairs.append((distance[i, j] / min(second[i], second[j]), i, j))
    return sorted(pairs)


def slow_twins(points, is_seen, level):
    pairs = slow_pairs(points)
    share = is_seen.mean()
    chance = 2 * share * (1 - share)
    sizes = {round(16 * 2 ** (half / 2)) for half in range(40)}
    sizes = sorted(size for size in sizes if size < len(pairs)) + [len(pairs)]
    least = np.inf
    twins = 0.0
    best = -np.inf
    for size in sizes:
        across = sum(is_seen[i] != is_seen[j] for _, i, j in pairs[:size])
        tail = binom.sf(across - 1, size, chance) / binom.pmf(is_seen.sum(), len(points), share)
        least = min(least, tail)
        certain = across - chance * size - 2 * np.sqrt(chance * (1 - chance) * size)
        if certain > best:
            best = certain
            twins = (across - chance * size) / (1 - chance)
    return round(twins) if least <= level / len(sizes) else 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(40, 120), st.integers(0, 40), st.integers(0, 9999))
def test_pairs_across_equal_a_loop(models, count, twins, seed):
    rng = np.random.default_rng(seed)
    points = rng.random((count, models))
    is_seen = rng.random(count) < 0.5
    is_seen[:2] = True, False
    copies = points[:twins] + 1e-5 * rng.normal(size=(min(twins, count), models))
    points = np.vstack([points, copies])
    is_seen = np.append(is_seen, ~is_seen[:twins])
    assert pairs_across(points, is_seen, 1e-3) == slow_twins(points, is_seen, 1e-3)


@pytest.mark.parametrize(("pairs", "singles", "seen"), [(4, 2, 5), (3, 3, 2), (5, 0, 5)])
def test_the_bound_on_pairs_across_holds_for_all_memberships(pairs, singles, seen):
    """All choices of the first split, enumerated: none is more probable than the bound."""
    count = 2 * pairs + singles
    probability = np.zeros(pairs + 1)
    for chosen in product([False, True], repeat=count):
        if sum(chosen) == seen:
            across = sum(chosen[2 * pair] != chosen[2 * pair + 1] for pair in range(pairs))
            probability[across] += 1 / comb(count, seen)
    share = seen / count
    for across in range(pairs + 1):
        bound = binom.sf(across - 1, pairs, 2 * share * (1 - share))
        assert probability[across:].sum() <= bound / binom.pmf(seen, count, share) + 1e-12


@pytest.mark.parametrize("models", [3, 5])
@pytest.mark.parametrize("samples", [200, 5000])
@pytest.mark.parametrize("change", ["equal", "rounded", "noise"])
def test_a_quarter_of_the_samples_under_other_ids_is_found(models, samples, change):
    rng = np.random.default_rng(samples)
    seen = confidences(models, samples, 1)
    here = confidences(models, samples, 2)
    shared = seen[:, rng.choice(samples, samples // 4, replace=False)]
    if change == "noise":
        shared = shared + 1e-4 * rng.normal(size=shared.shape)
    here[:, : samples // 4] = np.round(shared, 4) if change == "rounded" else shared
    found = likeness(seen, here)
    assert found.status == "violated"
    assert found.shared == pytest.approx(samples / 4, rel=0.3)


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("other_digits", [2, 16])
def test_independent_splits_raise_no_alarm_however_they_are_rounded(digits, other_digits):
    for seed in range(20):
        seen = np.round(confidences(1 + seed % 5, 300, 2 * seed), digits)
        here = np.round(confidences(1 + seed % 5, 900, 2 * seed + 1), other_digits)
        assert likeness(seen, here).status != "violated"


def test_different_grids_raise_no_alarm():
    for seed in range(20):
        seen = np.round(255 * confidences(4, 2000, 2 * seed)) / 255
        here = confidences(4, 150 + 100 * seed, 2 * seed + 1).astype(np.float16)
        assert likeness(seen, here).status != "violated"
        assert likeness(here, seen).status != "violated"


def test_copies_within_a_split_raise_no_alarm_and_hide_nothing():
    seen = confidences(3, 400)
    here = confidences(3, 400, 1)
    assert likeness(np.repeat(seen, 2, axis=1), np.repeat(here, 3, axis=1)).status == "verified"
    here[:, :100] = seen[:, :100] + 1e-5 * np.random.default_rng(0).normal(size=(3, 100))
    assert likeness(np.repeat(seen, 2, axis=1), np.repeat(here, 3, axis=1)).status == "violated"


def test_a_few_random_rows_of_a_large_split_are_enough():
    full = confidences(3, 40_000)
    here = confidences(3, 10_000, 1)
    here[:, :2500] = np.round(full[:, :2500], 4)
    found = likeness(
        full[:, np.random.default_rng(0).choice(40_000, 4096)], here, 40_000
    )  # some twice
    assert found.status == "violated"
    assert found.shared == pytest.approx(2500, rel=0.3)


def test_where_the_test_has_no_power_nothing_is_verified():
    assert likeness(confidences(1, 5000), confidences(1, 5000, 1)).status == "not verifiable"
    discrete = [np.round(confidences(1, 500, seed), 1) for seed in (0, 1)]
    assert likeness(*discrete).status == "not verifiable"
    for empty in (np.zeros((0, 9)), np.full((2, 9), np.nan), np.full((2, 9), 0.5)):
        assert likeness(empty, empty).status == "not verifiable"


def test_models_without_confidences_are_left_out():
    seen = confidences(3, 300)
    here = confidences(3, 300, 1)
    here[:, :100] = seen[:, :100]
    missing = np.full((1, 300), -np.inf)
    found = likeness(np.vstack([missing, seen]), np.vstack([missing, here]))
    assert (found.status, "3 columns" in found.evidence) == ("violated", True)


def test_splits_are_rounded_to_the_digits_of_the_coarser():
    fine = confidences(1, 50)[0]
    assert np.array_equal(rounded_alike(fine, np.round(fine, 3))[:50], np.float32(fine.round(3)))
    assert np.array_equal(rounded_alike(fine, fine), np.float32([*fine, *fine]))
    assert grid_spacing(np.arange(100) % 20 / 20) == pytest.approx(1 / 20)
    assert grid_spacing(np.append(fine, np.repeat([0, 1], 40))) == 0


@pytest.mark.parametrize("size", [2, 3, 5, 10])
def test_samples_that_are_augmentations_of_few_are_found(size):
    values = np.tile(confidences(4, 2000 // size), size)
    noisy = values + 1e-3 * np.random.default_rng(0).normal(size=values.shape)
    assert near_groups(noisy) == size


def test_independent_samples_are_no_groups():
    for seed, models, digits in product(range(5), (1, 2, 4), (2, 4, 16)):
        assert near_groups(np.round(confidences(models, 300, seed), digits)) == 0
        assert near_groups(np.minimum(1, 1.3 * confidences(models, 2000, seed))) == 0
    for split in ("fashion-mnist/val", "reviews/val", "reviews/tweets"):
        store = LogitStore(f"data/{split}")
        for names in (store.models.index[:1], store.models.index):
            assert near_groups(store.origin.columns(names)) == 0
    for few in (np.zeros((2, 9)), np.full((2, 500), 0.5), np.full((1, 500), np.nan)):
        assert near_groups(few) == 0


def test_independent_samples_are_called_groups_at_most_as_often_as_the_level(monkeypatch):
    monkeypatch.setattr(likeness_module, "LEVEL", 0.2)
    draws = 150
    for models in (1, 2, 4):
        found = [near_groups(confidences(models, 80, seed)) for seed in range(draws)]
        assert np.count_nonzero(found) <= binom.ppf(0.999, draws, 0.2)


@pytest.mark.parametrize(("above", "size"), [(1 - 1e-9, 2), (1 + 1e-9, 0)])
def test_groups_of_all_sizes_share_the_level(above, size, monkeypatch):
    level = likeness_module.LEVEL / 19 * above  # sizes 2 to 20
    tails = SimpleNamespace(sf=lambda observed, count, chance: np.full(len(chance), level))
    monkeypatch.setattr(likeness_module, "binom", tails)
    assert near_groups(confidences(2, 100)) == size


def test_the_distances_of_an_even_density_have_the_stated_probability():
    points = np.random.default_rng(0).random(100_000)
    gaps = np.abs(points[:, None] - points[:200]).T
    near = np.sort(gaps, axis=1)[:, 1:4]
    assert (near[:, 0] <= 0.1 * near[:, 1]).mean() == pytest.approx(0.1, abs=0.06)
    assert (near[:, 1] <= 0.1 * near[:, 2]).mean() == pytest.approx(0.01, abs=0.02)


def table(confidence, prefix="a"):
    names = [f"m{row}" for row in range(len(confidence))]
    ids = [f"{prefix}{sample}" for sample in range(confidence.shape[1])]
    return ScoreTable(confidence > 0.6, confidence, np.arange(1, len(names) + 1), names, ids)


def point_on(store):
    return Point(
        store.names[:3], (0.5, 0.5), (0.4, 0.3, 0.3), 0.8, 3.0, 1.0, selected_on=store.origin
    )


def test_a_saved_cascade_finds_its_selection_split_again():
    seen = table(confidences(3, 9000))
    point = point_on(seen)
    loaded = parse_cascade(text_of(point_for_file(point)))
    again = table(np.round(seen.confidence[:, 3000:], 4), "b")
    other = table(confidences(3, 6000, 1), "b")
    for each in (point, loaded):
        found = likeness_of(each.seen, again.origin, each.models)
        assert found.status == "violated"
        assert found.shared == pytest.approx(6000, rel=0.3)
        assert likeness_of(each.seen, other.origin, each.models).status == "verified"


def test_a_file_keeps_four_columns_of_4096_rows():
    many = table(confidences(9, 9000))
    point = replace(
        point_on(many), models=many.names, thresholds=(0.5,) * 8, exit_rates=(1 / 9,) * 9
    )
    part, *_ = parts_of(parse_cascade(text_of(point_for_file(point))).seen)
    assert part.confidences(many.names).shape == (4, 4096)


def test_several_sets_of_samples_are_each_compared():
    first = table(confidences(3, 400))
    second = table(confidences(3, 400, 1))
    here = table(confidences(3, 400, 2), "b")
    copy = table(np.round(second.confidence, 4), "b")
    seen = (first.origin, second.origin)
    assert likeness_of(seen, here.origin, first.names).status == "verified"
    assert likeness_of(seen, copy.origin, first.names).status == "violated"
    assert likeness_of((first.origin, None), here.origin, "m0").status == "not verifiable"
    assert likeness_of(None, here.origin, first.names).status == "not verifiable"


def test_pickled_samples_are_not_verifiable():
    seen = pickle.loads(pickle.dumps(table(confidences(3, 400)).origin))
    here = table(confidences(3, 400, 1)).origin
    assert likeness_of(seen, here, ("m0", "m1", "m2")).status == "not verifiable"


def test_outputs_for_several_classes_show_what_one_confidence_cannot():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 10)).astype(np.float32)
    labels = logits.argmax(axis=1)
    val = LogitStore.from_arrays(labels, {"m": logits}, macs={"m": 1.0})
    noisy = logits + 1e-4 * rng.normal(size=logits.shape).astype(np.float32)
    test = LogitStore.from_arrays(labels, {"m": noisy}, macs={"m": 1.0})
    assert likeness_of(val.origin, test.origin, ["m"]).status == "violated"


@pytest.mark.parametrize(
    ("one", "other", "could"),
    [
        ("img_{}.png", "img_{}.png", True),
        ("val/{}", "test/{}", False),
        ("{}", "{}", True),
        ("a{}", "b{}", False),
        ("the {} words {}", "what {} said {}", False),
    ],
)
def test_ids_are_evidence_only_if_they_could_be_equal(one, other, could):
    seen = table(confidences(3, 300))
    ids = [one.format(n, n) for n in range(300)]
    seen = ScoreTable(seen.correct, seen.confidence, [1, 2, 3], seen.names, ids)
    ids = [other.format(n, n) for n in range(300, 600)]
    here = ScoreTable(seen.correct, seen.confidence, [1, 2, 3], seen.names, ids)
    point = point_on(seen)
    loaded = parse_cascade(text_of(point_for_file(point)))
    assert ids_could_meet(parts_of(point.seen)[0], here.origin) is could
    assert ids_could_meet(parts_of(loaded.seen)[0], here.origin) is could


def test_row_numbers_are_no_evidence_except_within_one_split():
    seen, here = (ScoreTable(np.ones((1, 9)), np.ones((1, 9)), [1]) for _ in range(2))
    assert not ids_could_meet(seen.origin, here.origin)
    assert not ids_could_meet(None, here.origin)
    assert ids_could_meet(seen.take([1, 2]).origin, seen.take([3]).origin)
