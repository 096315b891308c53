"""Repeated samples and samples of the selection split are refused, by id or by content. Rows that
are equal by chance in coarse tables are not."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, poisson
from tables_of_scores import status_of

from cascadelib import LogitStore, Method, Point, Policy, ScoreTable, certify, search, to_label
from cascadelib.guarantees.repeats import (
    equal_contents,
    refuse_repeats,
    samples_seen,
)

STORE = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28", "resnet18_w16@28"])


def drawn(k, seed, digits=None, models=2):
    """(correct bool [M, k], confidence [M, k]) of models with a common ease, rounded to some
    digits."""
    rng = np.random.default_rng(seed)
    margin = np.arange(1, models + 1)[:, None] + rng.normal(size=k) + rng.normal(size=(models, k))
    confidence = 1 / (1 + np.exp(-np.abs(margin + rng.normal(size=(models, k)))))
    return margin > 0, confidence if digits is None else np.round(confidence, digits)


def table(correct, confidence, rows=slice(None)):
    names = ["a", "b", "c"][: len(correct)]
    return ScoreTable(correct[:, rows], confidence[:, rows], np.arange(1, len(names) + 1), names)


def refused(store):
    names = list(store.models.index)
    try:
        refuse_repeats(store, names)
    except ValueError as error:
        assert "repeat others" in str(error) and "keep one row" in str(error)
        return True
    return False


COPIES = {
    "40 rows 25 times": np.tile(np.arange(40), 25),
    "500 rows twice": np.tile(np.arange(500), 2),
    "300 rows, drawn again": np.random.default_rng(1).integers(0, 300, 1000),
    "40 rows, drawn again": np.random.default_rng(1).integers(0, 40, 1000),
    "100 of 1,000 twice": np.r_[np.arange(900), np.arange(100)],
}


@pytest.mark.parametrize("case", COPIES)
def test_repeats_under_other_ids_are_refused(case):
    rows = COPIES[case]
    for seed in range(20):
        assert refused(table(*drawn(1000, seed), rows))
    logits = {name: STORE.logits(name)[rows] for name in STORE.models.index}
    macs = STORE.models["macs"].to_dict()
    assert refused(LogitStore.from_arrays(STORE.labels[rows], logits, macs=macs))


@pytest.mark.parametrize("digits", [1, 2, 3, 4, None])
def test_rows_that_rounding_makes_equal_are_not_refused(digits):
    """Also if the second model has the first one's confidence or a constant one, or all are 1."""
    for seed in range(20):
        correct, confidence = drawn(2000, seed, digits)
        same = np.stack([confidence[0], confidence[0]])
        constant = np.stack([confidence[0], np.ones(2000)])
        certain = np.where(confidence > 0.6, 1.0, confidence)
        for values in (confidence, same, constant, certain):
            assert not refused(table(correct, values))


@pytest.mark.parametrize("values", [128, 16, 5])
def test_few_values_are_not_refused(values):
    """Such as rounded probabilities of a language model, or shares of five answers."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        levels = np.sort(rng.beta(0.4, 0.4, values))
        probability = rng.choice(levels, 3000)
        label = (rng.random(3000) < probability).astype(int)
        said = np.stack([probability >= 0.5, label]).astype(int)
        confidence = np.stack([np.maximum(probability, 1 - probability), np.ones(3000)])
        store = ScoreTable(None, confidence, [1, 10], ["a", "b"], predictions=said, labels=label)
        assert not refused(store)


@pytest.mark.parametrize("folder", ["fashion-mnist/val", "reviews/val", "reviews/tweets"])
def test_bundled_stores_are_not_refused(folder):
    """30 of the 2,000 tweets occur twice in their source."""
    store = LogitStore(f"data/{folder}")
    for part in (store, store.take(slice(0, None, 2))):
        assert not refused(part.select(list(store.models.index)[:4]))


POINT = Point(("a", "b"), (0.9,), (0.5, 0.5), 0.9, 2.0, 1.0, cost_kind="cost")


def test_repeated_samples_are_not_labelled():
    correct, confidence = drawn(1000, 0)
    whole = ScoreTable(None, confidence, [1, 3], ["a", "b"], predictions=correct.astype(int))
    with pytest.raises(ValueError, match="2 of the 1002 samples repeat others"):
        to_label(whole.take(np.r_[np.arange(1000), 5, 7]), POINT, "b")


def equal_slowly(seen, here, level):
    """Reference implementation: count each value, and sum all tails."""
    values = sorted(set(seen) | set(here))
    pairs = [(seen.count(value), here.count(value)) for value in values]
    sums = [a + b for a, b in pairs if (a + b) % 2 == 0]
    equal = sum(a == b for a, b in pairs)
    if not equal:
        return 0
    chance = sum(binom.pmf(n // 2, n, 0.5) for n in sums) / len(sums)
    tail = sum(binom.pmf(count, len(sums), chance) for count in range(equal, len(sums) + 1))
    at_sums = poisson.pmf(len(seen), len(seen)) * poisson.pmf(len(here), len(here))
    return equal if equal >= chance * len(sums) + 1 and tail <= level * at_sums else 0


def test_equal_contents_equals_a_loop():
    rng = np.random.default_rng(0)
    found = 0
    for values in (10, 60, 1000, 10**9):
        for repeated in (0, 30, 60, 100):
            seen = rng.integers(0, values, 100)
            here = np.append(seen[:repeated], rng.integers(0, values, 100 - repeated))
            fast = equal_contents(seen, here, 1e-6)
            assert fast == equal_slowly(seen.tolist(), here.tolist(), 1e-6)
            found += fast > 0
    assert 4 <= found < 12


COARSE = {
    "128 probabilities": lambda rng, k: (rng.choice(np.linspace(0.5, 1, 128) ** 2, (2, k)), 2),
    "five answers": lambda rng, k: (rng.choice([0.2, 0.4, 0.6, 0.8, 1.0], (2, k)), 5),
    "binary": lambda rng, k: (np.ones((2, k)), 2),
    "two digits": lambda rng, k: (rng.beta(5, 1, (2, k)).round(2), 10),
    "three digits": lambda rng, k: (rng.beta(5, 1, (2, k)).round(3), 10),
    "continuous": lambda rng, k: (rng.random((2, k)), 3),
}


def coarse_table(case, seed, k=1500):
    rng = np.random.default_rng(seed)
    confidence, classes = COARSE[case](rng, k)
    said = rng.integers(0, classes, (2, k))
    labels = np.where(rng.random(k) < 0.8, said[1], rng.integers(0, classes, k))
    return ScoreTable(None, confidence, [1, 5], "ab", predictions=said, labels=labels)


@pytest.mark.parametrize("case", COARSE)
def test_independent_coarse_tables_pass_and_equal_ones_do_not(case):
    for seed in range(10):
        seen = coarse_table(case, seed)
        here = coarse_table(case, 1000 + seed, 900)
        assert samples_seen(seen.origin, here.origin, "ab") is None
    if case != "binary":  # four different rows show nothing
        assert samples_seen(seen.origin, coarse_table(case, seed).origin, "ab") > 0
    if case in ("continuous", "three digits"):
        half = coarse_table(case, seed).take(slice(0, None, 2))
        again = ScoreTable(None, half.confidence, [1, 5], "ab", None, half.predictions)
        assert samples_seen(seen.origin, again.origin, "ab") > 300


def renamed(store, rows=slice(None), models=None, prefix="new"):
    """Some samples of a LogitStore under new ids (prefix "": none)."""
    part = store.take(rows)
    logits = {name: part.logits(name) for name in models or part.models.index}
    macs = {name: part.models["macs"][name] for name in logits}
    ids = [f"{prefix} {row}" for row in range(len(part))] if prefix else None
    return LogitStore.from_arrays(part.labels, logits, macs=macs, sample_ids=ids)


@pytest.mark.parametrize("folder", ["fashion-mnist/val", "reviews/val", "reviews/tweets"])
def test_bundled_splits_under_new_ids_are_recognized_and_their_halves_are_not(folder):
    store = LogitStore(f"data/{folder}")
    names = list(store.models.index)[:3]
    store = store.select(names)
    seen = store.origin
    for rows, prefix in ((slice(None), "new"), (slice(0, None, 2), "new"), (slice(600), "")):
        again = renamed(store, rows, names[:2], prefix)
        assert samples_seen(seen, again.origin, names) >= 0.95 * len(again)
    order = np.random.default_rng(0).permutation(len(store))
    first = order[: len(store) // 2]
    second = order[len(store) // 2 :]
    assert samples_seen(store.take(first).origin, renamed(store, second).origin, names) == 0


def test_samples_of_a_point_under_new_ids_are_refused():
    """Also a part of them, also of a copied point, and also if they only fitted the confidences."""
    tune = renamed(STORE, slice(0, 2000))
    check = renamed(STORE, slice(2000, 4000), prefix="check")
    point = search(tune, 2).point(-1)
    late = search(tune, 2, Method(temperature=True).fit(check)).point(-1)
    part = renamed(STORE, slice(500, 900), prefix="q")
    largest = point.models[-1]
    for one, store in (
        (pickle.loads(pickle.dumps(point)), part),
        (copy.deepcopy(point), part),
        (late, renamed(STORE, slice(2000, 4000), prefix="q")),
    ):
        with pytest.raises(ValueError, match="took part in finding the cascades"):
            certify(store, one, 0.05, reference=largest)
        with pytest.raises(ValueError, match="took part in finding the cascades"):
            to_label(store, one, largest)
    assert status_of(certify(check, point, 0.05, reference=largest), "overlap") == "verified"
    assert certify(tune, replace(point, selected_on=None), 0.05, reference=largest)


@pytest.mark.soak
@pytest.mark.parametrize("digits", [2, 3, 4, None])
@pytest.mark.parametrize("form", ["memory", "file"])
def test_a_selection_split_under_new_ids_or_rounded_is_always_found(digits, form, tmp_path):
    """Also if it was permuted, halved or read from a file. Independent splits are not."""
    for seed in range(8):
        seen = coarse_table("continuous", seed)
        if form == "file":
            point = Point(("a", "b"), (0.9,), cost_kind="cost", selected_on=seen.origin)
            Policy.from_point(point).save(tmp_path / "policy.json")
            origin = Policy.load(tmp_path / "policy.json").point.selected_on
        else:
            origin = seen.origin
        order = np.random.default_rng(seed).permutation(1500)[: 1500 if seed % 2 else 700]
        confidence = seen.confidence if digits is None else seen.confidence.round(digits)
        ids = [f"new {row}" for row in range(len(order))]
        again = ScoreTable(
            None, confidence[:, order], [1, 5], "ab", ids, seen.predictions[:, order]
        )
        assert samples_seen(origin, again.origin, "ab") >= 0.9 * len(order)
        other = coarse_table("continuous", 100 + seed)
        assert not samples_seen(origin, other.origin, "ab")


def test_repeats_that_differ_in_the_last_confidence_are_refused():
    """That confidence decides nothing. Most of these draws gave a false guarantee."""
    for seed in range(8):
        correct, confidence = drawn(300, seed)
        rows = np.repeat(np.arange(300), 10)
        several = confidence[:, rows]
        several[1] = np.random.default_rng(seed).random(3000)
        copied = table(correct[:, rows], several)
        with pytest.raises(ValueError, match="of the 3000 samples repeat others"):
            certify(copied, POINT, 0.05, reference="b")
        fresh = drawn(3000, seed)
        assert certify(table(*fresh), POINT, 0.5, reference="b").certified != ()


@pytest.mark.parametrize("times", [2, 3, 4])
def test_a_selection_split_of_copied_rows_is_recognized(times):
    seen = coarse_table("continuous", 0)
    again = ScoreTable(None, seen.confidence, [1, 5], "ab", None, seen.predictions)
    copied = seen.take(np.repeat(np.arange(len(seen)), times))
    assert samples_seen(copied.origin, again.origin, "ab") == len(seen)
    other = coarse_table("continuous", 1)
    assert not samples_seen(copied.origin, other.origin, "ab")
    for case in COARSE:
        copied = coarse_table(case, 0).take(np.repeat(np.arange(1500), times))
        assert not samples_seen(copied.origin, coarse_table(case, 7, 900).origin, "ab")


def test_new_ids_alone_do_not_verify_that_samples_are_new():
    first, second = (
        replace(
            coarse_table("continuous", seed), sample_ids=[f"{seed} {row}" for row in range(1500)]
        )
        for seed in (0, 1)
    )
    assert samples_seen(first.origin, second.origin, "ab") == 0
    unknown = replace(first.origin, models=(), read=None)
    assert samples_seen(unknown, second.origin, "ab") is None
