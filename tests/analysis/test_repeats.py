"""Repeated samples are refused, by id or by content; what chance makes equal in rounded tables is not."""

import numpy as np
import pytest
from scipy.stats import poisson

from cascadelib import LogitStore, Point, ScoreTable, certify, to_label
from cascadelib.analysis.repeats import copied_whole, numbered, refuse_equal_rows

STORE = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28", "resnet18_w16@28"])


def drawn(k, seed, digits=None, models=2):
    """(correct bool [M, k], confidence [M, k]) of models with a common ease, rounded to some digits."""
    rng = np.random.default_rng(seed)
    margin = np.arange(1, models + 1)[:, None] + rng.normal(size=k) + rng.normal(size=(models, k))
    confidence = 1 / (1 + np.exp(-np.abs(margin + rng.normal(size=(models, k)))))
    return margin > 0, confidence if digits is None else np.round(confidence, digits)


def table(correct, confidence, rows=slice(None)):
    names = ["a", "b", "c"][: len(correct)]
    return ScoreTable(correct[:, rows], confidence[:, rows], np.arange(1, len(names) + 1), names)


def refused(store):
    try:
        refuse_equal_rows(store, list(store.models.index))
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
def test_what_rounding_makes_equal_is_not_refused(digits):
    """Also where the second model has the first one's confidence, a constant one, or all are certain."""
    for seed in range(60):
        correct, confidence = drawn(2000, seed, digits)
        same = np.stack([confidence[0], confidence[0]])
        constant = np.stack([confidence[0], np.ones(2000)])
        certain = np.where(confidence > 0.6, 1.0, confidence)
        for values in (confidence, same, constant, certain):
            assert not refused(table(correct, values))


@pytest.mark.parametrize("values", [128, 16, 5])
def test_few_values_are_not_refused(values):
    """Probabilities of a language model that rounds, shares of five answers, with labels 0 and 1."""
    for seed in range(60):
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
    """Of the tweets 30 of 2,000 are there twice, as their source has them."""
    store = LogitStore(f"data/{folder}")
    for part in (store, store.take(slice(0, None, 2))):
        assert not refused(part.select(list(store.models.index)[:4]))


def test_a_poisson_variable_is_a_multiple_of_a_prime_half_of_the_time_at_most():
    """The bound behind :func:`copied_whole`, for means from 0.0001 to 3,000."""
    for mean in np.geomspace(1e-4, 3000, 300):
        counts = np.arange(1, int(mean + 12 * np.sqrt(mean)) + 60)
        chances = poisson.pmf(counts, mean) / -np.expm1(-mean)
        for prime in (2, 3, 5, 47):
            assert chances[counts % prime == 0].sum() <= 0.5 + 1e-9


def test_independent_draws_from_any_number_of_values_are_no_copies():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        values = int(rng.integers(1, 400))
        chances = rng.dirichlet(np.full(values, rng.choice([0.1, 1, 10])))
        rows = numbered([rng.choice(values, 1000, p=chances)])
        assert not copied_whole(rows)


def test_numbers_of_rows():
    numbers = numbered([np.array([1.5, -np.inf, 1.5, 1.5]), np.array(["x", "x", "y", "x"])])
    assert numbers[0] == numbers[3] and len(set(numbers.tolist())) == 3


POINT = Point(("a", "b"), (0.9,), (0.5, 0.5), 0.9, 2.0, 1.0, cost_kind="cost")


@pytest.mark.parametrize("ids", [None, np.arange(1000)])
def test_certify_refuses_a_sample_that_is_there_twice(ids):
    correct, confidence = drawn(1000, 0)
    predictions = correct.astype(int)
    whole = ScoreTable(correct, confidence, [1, 3], ["a", "b"], ids, predictions)
    twice = whole.take(np.r_[np.arange(1000), 5, 7])
    asked = lambda: certify(POINT, twice, 0.1, reference="b"), lambda: to_label(POINT, twice, "b")
    for ask in asked:
        with pytest.raises(ValueError, match="2 of the 1002 samples repeat others"):
            ask()


def test_a_promise_by_repeats_is_never_given():
    """40 rows, 25 times, of a cascade that loses exactly what is promised: 61 of 200 were certified, at δ = 5%."""
    for seed in range(40):
        correct, confidence = drawn(40, seed)
        repeated = table(correct, confidence, np.tile(np.arange(40), 25))
        with pytest.raises(ValueError, match="960 of the 1000 samples repeat others"):
            certify(POINT, repeated, 0.05, reference="b")
