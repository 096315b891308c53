"""Recall and precision of an answered table and of its source."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import beta, binom, hypergeom

from cascadelib.guarantees import peeling, positives
from cascadelib.guarantees.peeling import errors_allowed
from cascadelib.guarantees.positives import Queue, most_wrong, peel_positives

DELTA = 0.2


def drawn_queue(rows, labels, errors):
    """Return a queue of which the first ``labels`` rows are drawn, and ``errors`` wrong."""
    place = np.arange(rows)
    return Queue(place, place < labels, place < errors)


@pytest.mark.parametrize(("rows", "labels"), [(12, 5), (30, 1), (7, 7), (9, 0), (0, 0)])
def test_the_bound_on_wrong_rows_is_the_largest_number_that_is_not_rejected(rows, labels):
    for errors in range(labels + 1):
        possible = range(errors, rows - labels + errors + 1)
        kept = [w for w in possible if w == errors or hypergeom.cdf(errors, rows, w, labels) > 0.1]
        assert most_wrong(rows, errors, labels, 0.1) == max(kept)


def chance_of_too_many(rows, wrong, labels, errors, may_stay, allowed):
    """Return the probability that more than ``may_stay`` wrong rows are kept.

    ``errors`` wrong rows are drawn. Rows are removed until ``allowed`` of the remaining drawn ones
    are wrong. Of the last c + may_stay + 1 wrong rows at most c are drawn then.
    """
    if allowed < 0 or rows == labels:
        return 0.0
    most = min(allowed, errors)
    last = most + may_stay + 1
    return hypergeom.cdf(most, wrong, errors, last) if last <= wrong else 0.0


bound = cache(most_wrong)


def test_positive_rows_are_those_that_are_neither_negative_nor_wrong():
    below = drawn_queue(30, 12, 4)
    above = drawn_queue(20, 9, 2)
    expected = 30 - most_wrong(30, 8, 12, 0.1) + 20 - most_wrong(20, 2, 9, 0.1)
    assert positives.fewest_positives(below, above, 0.1) == expected


def exact_level(rows, wrong, labels, opened, may_miss, delta):
    """Return the probability that too many wrong rows are kept in a queue, over all draws.

    ``rows``, ``wrong`` and ``labels`` have a number per queue: below the cut and above it.
    """
    true_count = opened + wrong[0] + rows[1] - wrong[1]
    truth = [int(share * true_count + 1e-9) for share in may_miss]

    @cache
    def kept(one, errors, may_stay):
        if rows[one] <= may_stay:
            mean = float(labels[one])
        else:
            mean = errors_allowed(rows[one], may_stay, labels[one], positives.TEST * delta)
        below = int(np.floor(mean))
        chances = [
            chance_of_too_many(rows[one], wrong[one], labels[one], errors, truth[one], allowed)
            for allowed in (below, below + 1)
        ]
        return chances[0] + (mean - below) * (chances[1] - chances[0])

    total = 0.0
    level = positives.BOUND * delta
    for first in range(min(wrong[0], labels[0]) + 1):
        for second in range(min(wrong[1], labels[1]) + 1):
            count = opened + rows[0] - bound(rows[0], labels[0] - first, labels[0], level)
            count += rows[1] - bound(rows[1], second, labels[1], level)
            fine = 1.0
            for one, errors in enumerate((first, second)):
                fine *= 1 - kept(one, errors, int(may_miss[one] * count + 1e-9))
            weight = hypergeom.pmf(first, rows[0], wrong[0], labels[0])
            total += weight * hypergeom.pmf(second, rows[1], wrong[1], labels[1]) * (1 - fine)
    return total


@pytest.mark.parametrize(("opened", "may_miss", "least"), [(0, 0.2, 0.2), (400, 0.02, 0.8)])
def test_recall_and_precision_of_a_table_fail_at_most_with_delta(opened, may_miss, least):
    """Exact sums over all draws of tables with 60 and 40 rows after the open phase."""
    levels = []
    for missed in range(0, 31, 6):
        for added in range(0, 31, 6):
            wrong = (missed, added)
            shares = (may_miss, may_miss)
            levels.append(exact_level((60, 40), wrong, (25, 20), opened, shares, DELTA))
    assert least * DELTA < max(levels) <= DELTA


def test_the_shares_of_delta_add_up_to_one():
    assert 2 * positives.BOUND + 2 * positives.TEST == pytest.approx(1)
    assert 4 * positives.BOUND + 2 * positives.TEST_OF_SOURCE == pytest.approx(1)


@pytest.mark.parametrize(("left", "rank"), [(419, 420), (420, 440), (439, 440), (3999, 4000)])
def test_the_region_of_a_queue_is_bounded_at_its_share_of_delta(left, rank, monkeypatch):
    """200 ranks on each of two sides may end the open phase."""
    monkeypatch.setattr(positives, "largest_allowed", lambda chances, level: (chances, level))
    queue = drawn_queue(left, 50, 0)
    chances, level = positives.errors_allowed_beyond(queue, 0.01, 4000, DELTA)
    region = beta.isf(0.05 * DELTA / 400, rank, 4000 - rank + 1)
    np.testing.assert_allclose(chances, binom.cdf(np.arange(50), 50, 0.01 / region), rtol=1e-9)
    assert level == 0.4 * DELTA


def difficult(kind, rows, rng):
    """Return the confidence and predictions of a small model, and the positive rows."""
    p = rng.choice([0.1, 0.3, 0.6, 0.9], rows) if kind == "ties" else rng.random(rows)
    chance = {
        "noise": np.full(rows, 0.4),
        "ties": 0.25 + 0.5 * p,
        "rare": 0.02 + 0.3 * (p > 0.9),
        "none": np.zeros(rows),
        "all": np.ones(rows),
        "confident and wrong": 0.6 - 0.3 * p,
        "informative": p**2,
    }[kind]
    return np.maximum(p, 1 - p), np.where(p >= 0.5, "yes", "no"), rng.random(rows) < chance


KINDS = ("noise", "ties", "rare", "none", "all", "confident and wrong", "informative")


def shares_of(answers, wanted):
    """Return recall and precision, 1 without positive or without returned rows."""
    returned = answers == "yes"
    found = np.sum(returned & wanted)
    return (
        found / wanted.sum() if wanted.any() else 1.0,
        found / returned.sum() if returned.any() else 1.0,
    )


def answered(found, kept_answers, wanted):
    return np.where(found.kept, kept_answers, np.where(wanted, "yes", "no"))


def policy_answers(found, confidence, predictions, wanted):
    border = np.where(predictions == "yes", *found.borders)
    return np.where(confidence > border, predictions, np.where(wanted, "yes", "no"))


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(peeling, "STEPS", 30)
    monkeypatch.setattr(positives, "STEPS", 30)
    monkeypatch.setattr(positives, "PILOT", 40)


@pytest.mark.parametrize("kind", KINDS)
def test_recall_and_precision_hold_for_difficult_tables_and_their_sources(kind, fast):
    """The shares of the source are estimated from 20,000 other rows."""
    draws = 40
    other = difficult(kind, 20_000, np.random.default_rng(99))
    broken = np.zeros(2)
    for seed in range(draws):
        confidence, predictions, wanted = difficult(kind, 600, np.random.default_rng(1_000 + seed))
        wrong = (predictions == "yes") != wanted
        paid = []

        def wrong_at(rows, wrong=wrong, paid=paid):
            paid.extend(rows.tolist())
            return wrong[rows]

        found, kept_answers = peel_positives(
            confidence, predictions, wrong_at, "yes", 0.8, 0.85, DELTA, seed
        )
        assert len(paid) == len(set(paid)) and not found.kept[paid].any()
        for place, shares in enumerate(
            (
                shares_of(answered(found, kept_answers, wanted), wanted),
                shares_of(policy_answers(found, *other), other[2]),
            )
        ):
            broken[place] += shares[0] < 0.8 - 1e-12 or shares[1] < 0.85 - 1e-12
    assert broken.max() <= binom.ppf(0.9999, draws, DELTA)


def test_the_pilot_places_the_cut_and_confident_rows_need_no_call(fast):
    """The small model answers yes from 0.5 on, but rows are positive from 0.2 on."""
    rng = np.random.default_rng(0)
    p = rng.random(4_000)
    wanted = rng.random(4_000) < 1 / (1 + np.exp(-30 * (p - 0.2)))
    predictions = np.where(p >= 0.5, "yes", "no")
    wrong = (predictions == "yes") != wanted
    found, answers = peel_positives(
        np.maximum(p, 1 - p), predictions, wrong.__getitem__, "yes", 0.95, 0.95, 0.05
    )
    assert found.kept.mean() > 0.7
    assert (answers[found.kept & (p > 0.3)] == "yes").all()
    assert (answers[found.kept & (p < 0.1)] == "no").all()
    assert found.borders[0] == -np.inf and found.borders[1] > 0.6


def test_all_rows_of_a_table_smaller_than_the_pilot_are_asked():
    found, _ = peel_positives(
        np.ones(5), np.full(5, "yes"), lambda rows: rows < 2, "yes", 0.9, 0.9, 0.05
    )
    assert not found.kept.any() and np.isposinf(found.borders).all()


def test_of_several_classes_all_others_count_as_not_positive(fast):
    rng = np.random.default_rng(1)
    confidence = rng.random(2_000)
    predictions = rng.choice(["billing", "login", "other"], 2_000)
    truth = np.where(rng.random(2_000) < 0.3 * (1 - confidence), "login", predictions)
    wrong = (predictions == "billing") != (truth == "billing")
    found, answers = peel_positives(
        confidence, predictions, wrong.__getitem__, "billing", 0.9, 0.9, 0.05
    )
    kept = found.kept
    assert 0.3 < kept.mean() < 1
    assert set(answers[kept]) <= {"billing", "login", "other", "not billing"}
    same = kept & (answers == predictions)
    assert same.sum() > 0.9 * kept.sum()
