"""Peeling equals a slow reference implementation, and its guarantees hold at the boundary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import binom, hypergeom

from cascadelib.guarantees import peeling
from cascadelib.guarantees.peeling import Peel, fitted_curve, peel_table

DELTA = 0.2


def slow_allowed(n, epsilon, delta, labels):
    """Return how many drawn rows may be wrong, for the table and for its source."""
    may_stay = int(epsilon * n + 1e-9)
    table = -1
    while table < labels and (
        labels == n
        or table + 1 + may_stay + 1 <= n
        and hypergeom.cdf(table + 1, n, table + may_stay + 2, labels) <= delta
    ):
        table += 1
    source = -1
    while source + 1 < labels and binom.cdf(source + 1, labels, epsilon) <= delta:
        source += 1
    return table, source


def slow_peel(confidence, predictions, wrong, epsilon, delta, labels, seed):
    """Peel row by row with a fixed number of labels, and return kept [n], borders, allowed."""
    n = len(confidence)
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n).tolist()
    ties = rng.random(n)
    drawn = set(shuffled[:labels])
    outside = shuffled[labels:] or shuffled[:labels]
    seen = [predictions[row] for row in outside]
    common = sorted(one for one in set(seen) if seen.count(one) >= 0.05 * len(seen))
    classes = [*common, None]
    number = [classes.index(one if one in common else None) for one in predictions]
    score = peeling.fitted_scores(confidence, np.array(outside))
    at_border = []
    for one in range(len(classes)):
        own = [score[row] for row in outside if number[row] == one and classes[one] is not None]
        at_border.append(min(own or [score[row] for row in outside]))

    table, source = slow_allowed(n, epsilon, delta, labels)
    waiting = [
        sorted(
            (row for row in range(n) if number[row] == one), key=lambda r: (confidence[r], ties[r])
        )
        for one in range(len(classes))
    ]
    remaining = set(range(n))
    curve = peeling.prior_curve(len(classes))
    opened = []
    remaining_at = {}

    def record():
        hidden = sum(wrong[row] for row in remaining & drawn)
        for allowed in {table, source}:
            if hidden <= allowed or not remaining:
                remaining_at.setdefault(allowed, set(remaining))

    record()
    while not {table, source} <= set(remaining_at):
        known = np.array([number[row] for row in opened], int)
        columns = peeling.design(score[opened], known, len(classes))
        curve, spread = fitted_curve(columns, wrong[opened], curve)
        edge = peeling.design(np.array(at_border), np.arange(len(classes)), len(classes))
        risk = edge @ curve + peeling.RISK_MARGIN * np.sqrt(np.sum(edge @ spread * edge, axis=1))
        riskiest = max(
            (one for one, queue in enumerate(waiting) if queue), key=risk.tolist().__getitem__
        )
        queue = waiting[riskiest]
        last = queue[: max(1, n // peeling.STEPS)][-1]
        chunk = [row for row in queue if confidence[row] <= confidence[last]]
        at_border[riskiest] = score[last]
        for row in chunk:
            waiting[number[row]].remove(row)
            remaining.remove(row)
            record()
        opened = sorted({*opened, *(row for row in chunk if row in drawn)})
    kept = [row in remaining_at[table] and row not in drawn for row in range(n)]
    edges = []
    for one in range(len(classes)):
        rows = [row for row in range(n) if number[row] == one]
        gone = [confidence[row] for row in rows if row not in remaining_at[source]]
        if len(gone) == len(rows):
            edges.append(np.inf)
        else:
            edges.append(max(gone, default=-np.inf))
    return kept, edges, (table, source)


@st.composite
def tables(draw):
    n = draw(st.integers(1, 16))
    levels = draw(st.sampled_from([[0.5, 0.9, 1.0], [-3.0, 0.0, 7.5], [-np.inf, 0.2, 0.3, 0.4]]))
    confidence = draw(st.lists(st.sampled_from(levels), min_size=n, max_size=n))
    predictions = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=n, max_size=n))
    wrong = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    labels = draw(st.integers(1, n))
    epsilon = draw(st.sampled_from([0.0, 0.1, 0.4, 0.9]))
    delta = draw(st.sampled_from([0.05, 0.3, 0.6]))
    seed = draw(st.integers(0, 5))
    return (
        np.array(confidence),
        np.array(predictions),
        np.array(wrong),
        epsilon,
        delta,
        labels,
        seed,
    )


@settings(max_examples=40)
@given(tables())
def test_peeling_equals_peeling_row_by_row(case):
    confidence, predictions, wrong, epsilon, delta, labels, seed = case
    paid = []

    def wrong_at(rows):
        paid.extend(rows.tolist())
        return wrong[rows]

    found = peel_table(confidence, predictions, wrong_at, epsilon, delta, labels, seed=seed)
    kept, borders, allowed = slow_peel(*case)
    assert len(paid) == len(set(paid)) == labels
    assert found.allowed == allowed
    assert found.kept.tolist() == kept
    assert found.borders.tolist() == borders


def test_the_fit_is_the_minimum_of_the_penalized_likelihood():
    rng = np.random.default_rng(0)
    score = rng.normal(size=800)
    group = rng.integers(0, 3, 800)
    wrong = rng.random(800) < expit(-1 - score + 0.5 * (group == 1))
    columns = peeling.design(score, group, 3)
    prior = peeling.prior_curve(3)
    penalty = np.array([1e-3, 2, 2, 2, 0.1, 2, 2, 2])

    def loss(curve):
        z = columns @ curve
        likelihood = np.sum(np.logaddexp(0, z) - wrong * z) * 500 / 800
        return likelihood + np.sum(penalty * (curve - prior) ** 2) / 2

    expected = minimize(loss, prior, options={"gtol": 1e-9}).x
    for start in (prior, 40 * prior):
        curve, spread = fitted_curve(columns, wrong, start)
        assert curve == pytest.approx(expected, abs=1e-4)
    chance = expit(columns @ curve) * 500 / 800
    curvature = columns.T * (chance * (1 - expit(columns @ curve))) @ columns + np.diag(penalty)
    assert spread @ curvature == pytest.approx(np.eye(8), abs=1e-6)
    assert fitted_curve(columns[:0], wrong[:0], np.zeros(8))[0] == pytest.approx(prior)


def test_a_class_that_seems_safe_by_one_label_gets_more_labels():
    """The least confident row of the riskier class is correct by chance."""
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random(3_000), 2)
    risky = rng.random(3_000) < 1 / 3
    wrong = rng.random(3_000) < np.where(risky, 0.75, 0.35) * (1 - confidence)
    wrong[risky & (confidence == 0)] = False
    predictions = np.where(risky, "risky", rng.choice(["a", "b"], 3_000))
    kept = []
    for seed in range(6):
        arguments = confidence, predictions, wrong.__getitem__, 0.05, 0.05, 600
        kept.append(peel_table(*arguments, seed=seed).kept)
    assert np.mean(kept) > 0.3
    assert np.mean(kept, axis=0)[risky].mean() < np.mean(kept, axis=0)[~risky].mean()


def test_confidences_outside_0_and_1_become_normal_scores_of_their_ranks():
    score = peeling.fitted_scores(np.array([-5.0, 2, 2, 70, np.inf]), np.array([1, 2, 3]))
    assert score[1] == score[2]
    assert (np.diff(score[[0, 1, 3, 4]]) > 0).all() and np.isfinite(score).all()


def test_rare_classes_share_one_border():
    predictions = np.array(["a"] * 60 + ["b"] * 36 + ["c", "d", "e", "f"])
    classes, group = peeling.common_classes(predictions, np.arange(100))
    assert classes == ["a", "b"]
    assert np.unique(group[96:]).tolist() == [2]


def broken(rows, epsilon, wrong_share, labels, draws, order=None, exactly=False):
    """Return the shares of draws in which the table, and its source, keep more than ε wrong.

    Confidences are noise, and there are 16 classes. A row is wrong with probability
    ``wrong_share``, or exactly this share of the rows is. ``order`` returns a replacement of
    Peel.border_risks from the wrong and the drawn rows.
    """
    table = 0
    source = 0
    for seed in range(draws):
        rng = np.random.default_rng(1_000 + seed)
        confidence = rng.random(rows)
        predictions = rng.integers(0, 16, rows).astype(str)
        wrong = rng.random(rows) < wrong_share
        if exactly:
            wrong = rng.permutation(rows) < round(wrong_share * rows)
        with pytest.MonkeyPatch.context() as patch:
            if order is not None:
                drawn = np.random.default_rng(seed).permutation(rows)[:labels]
                patch.setattr(Peel, "border_risks", order(wrong, drawn))
            found = peel_table(
                confidence,
                predictions,
                lambda at, w=wrong: w[at],
                epsilon,
                DELTA,
                labels,
                seed=seed,
            )
        table += np.sum(found.kept & wrong) > epsilon * rows
        border = dict(zip(found.classes, found.borders))
        borders = [border.get(str(one), found.borders[-1]) for one in range(16)]
        mass = np.mean(1 - np.clip(borders, 0, 1))
        source += wrong_share * mass > epsilon
    return table / draws, source / draws


def adversarial(wrong, drawn):
    """Keep the classes with the most wrong open labels. The order uses removed rows only."""

    def risks(peel):
        known = peel.is_open
        balance = np.zeros(len(peel.queues))
        np.add.at(balance, peel.group[known], 1 - 2.0 * peel.wrong[known])
        return balance

    return risks


def peeking(wrong, drawn):
    """Remove the classes with the most wrong hidden labels."""

    def risks(peel):
        hidden = np.setdiff1d(drawn, peel.removed)
        return np.bincount(peel.group[hidden], wrong[hidden], len(peel.queues))

    return risks


def at_most(share, draws):
    """Return the largest share of draws that is compatible with a probability of ``share``."""
    return binom.ppf(0.9999, draws, share) / draws


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(peeling, "STEPS", 30)
    monkeypatch.setattr(peeling, "LEAST_COMMON", 0.01)
    monkeypatch.setattr(peeling, "PILOT", 40)


@pytest.mark.nightly
def test_at_the_boundary_each_guarantee_fails_as_often_as_its_test_allows(fast):
    """The error is the largest probability of an outcome that is at most δ."""
    allowed = peeling.errors_allowed(200, 20, 80, DELTA)
    expected = hypergeom.cdf(allowed, 200, allowed + 21, 80)
    share, _ = broken(200, 0.1, (allowed + 21) / 200, 80, 300, exactly=True)
    assert expected <= DELTA
    assert binom.ppf(0.0001, 300, expected) / 300 <= share <= at_most(expected, 300)
    of_source = binom.cdf(peeling.errors_allowed_at_source(80, 0.1, DELTA, 0, 200), 80, 0.1)
    _, share = broken(200, 0.1, 0.1 + 1e-9, 80, 300)
    assert of_source <= DELTA
    assert binom.ppf(0.0001, 300, of_source) / 300 <= share <= at_most(of_source, 300)


def test_orders_by_open_labels_keep_the_guarantee_and_orders_by_hidden_ones_break_it(fast):
    assert max(broken(400, 0.1, 0.2, 120, 150, adversarial)) <= at_most(DELTA, 150)
    table, source = broken(400, 0.1, 0.2, 120, 60, peeking)
    assert min(table, source) > 0.4


def test_both_guarantees_hold_if_the_number_of_labels_is_chosen(fast):
    for wrong_share in (0.1 + 1e-9, 0.3):
        assert max(broken(300, 0.1, wrong_share, None, 60)) <= at_most(DELTA, 60)


def test_all_rows_of_a_table_smaller_than_the_pilot_are_asked():
    found = peel_table(np.ones(5), np.full(5, "a"), lambda rows: rows < 0, 0.1, 0.05, seed=0)
    assert not found.kept.any()
    assert np.isposinf(found.borders).all()


def test_the_share_of_a_source_after_removals_has_a_beta_distribution():
    """After 30 of 90 rows the remaining share is Beta(61, 30), for any order of the classes."""
    shares = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        group = rng.integers(0, 4, 90)
        confidence = rng.random(90)
        rows = np.arange(90)
        peel = Peel(confidence, confidence, group, rows, rng.random(90), rows, np.zeros(4))
        peel.chunk = 5
        while len(peel.removed) < 30:
            rows = peel.remove_next()
            peel.open_labels(rows, (confidence[rows] * 7) % 1 < 0.4)
        order = peel.removed[:30]
        removed = [confidence[order[group[order] == one]].max(initial=0) for one in range(4)]
        shares.append(1 - np.mean(removed))
    assert np.mean(shares) == pytest.approx(61 / 91, abs=0.015)
    assert np.std(shares) == pytest.approx(np.sqrt(61 * 30 / 91**2 / 92), rel=0.2)
