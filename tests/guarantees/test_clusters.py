"""Guarantees hold for dependent samples in clusters, and for prices that the split lacks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from cascadelib import Point, ScoreTable, certify
from cascadelib.guarantees.p_values import betting_p_value, loss_p_value

DELTA = 0.1
DRAWS = 200
HALF = Point(("s", "l"), (0.5,), (0.5, 0.5), 0.9, 5.0, 1.0, cost_kind="cost")


def world(rng, clusters, loss, most=8):
    """Clusters of 1 to ``most`` samples with equal answers. The small model answers all of them
    with this mean loss of accuracy."""
    sizes = rng.integers(1, most + 1, clusters)
    key = np.repeat(np.arange(clusters), sizes)
    lost = rng.random(clusters) < loss
    correct = np.stack([~lost[key], np.ones(len(key), bool)])
    confidence = np.stack([0.5 + rng.random(len(key)) / 2, np.zeros(len(key))])
    order = rng.permutation(len(key))
    return ScoreTable(correct[:, order], confidence[:, order], [1.0, 8.0], ("s", "l")), key[order]


def broken(options, loss=0.05, draws=DRAWS):
    """Return the number of draws that certify less than the true loss."""
    passed = 0
    for seed in range(draws):
        table, key = world(np.random.default_rng(seed), 150, loss)
        found = certify(table, HALF, loss, DELTA, "l", **options(key))
        passed += found.certified != ()
    return passed


@pytest.mark.soak
def test_copies_break_the_guarantee_unless_clusters_are_named():
    assert broken(lambda key: {}) > 1.5 * DELTA * DRAWS
    assert broken(lambda key: {"clusters": key}) <= binom.ppf(0.999, DRAWS, DELTA)


def means_slowly(values, keys):
    """Return the mean of each cluster, in the order in which clusters appear."""
    found = {}
    for key, value in zip(keys, values):
        found.setdefault(key, []).append(value)
    return [sum(own) / len(own) for own in found.values()]


@settings(max_examples=60)
@given(st.data(), st.integers(2, 30), st.sampled_from([None, "budget", "groups"]))
def test_the_p_value_of_clusters_is_a_bet_on_their_means(data, k, more):
    names = st.sampled_from(["u1", "u2", "u3", "u4"])
    keys = data.draw(st.lists(names, min_size=k, max_size=k))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    correct = rng.random((2, k)) < 0.7
    confidence = rng.random((2, k))
    groups = rng.choice(["a", "b"], k).tolist()
    table = ScoreTable(correct, confidence, [1.0, 8.0], ("s", "l"))
    options = {None: {}, "budget": {"budget": 5.0}, "groups": {"groups": groups}}[more]
    found = certify(table, HALF, 0.2, DELTA, "l", clusters=keys, **options, seed=3)
    row = found.table.iloc[0]
    assert found.samples == len(set(keys))

    exits = confidence[0] >= 0.5
    losses = np.where(exits, correct[1].astype(float) - correct[0], 0.0).tolist()
    paid = np.where(exits, 1.0, 9.0).tolist()
    parts = groups if more == "groups" else [""] * k
    expected = []
    for part in sorted(set(parts)):
        own = [(loss, key) for loss, key, name in zip(losses, keys, parts) if name == part]
        order = list(dict.fromkeys(keys))
        own.sort(key=lambda pair, order=order: order.index(pair[1]))
        means = means_slowly([loss for loss, _ in own], [key for _, key in own])
        expected.append(betting_p_value(np.array(means), 0.2, DELTA, 3))
    if more == "budget":
        scaled = (np.array(means_slowly(paid, keys)) - 1) / 8
        expected.append(betting_p_value(scaled, 0.5, DELTA, 3))
        assert row["cost_here"] == pytest.approx(np.mean(means_slowly(paid, keys)))
    assert row["p_value"] == pytest.approx(max(expected), rel=1e-9)
    assert row["accuracy_loss"] == pytest.approx(np.mean(means_slowly(losses, keys)))


def test_a_missing_label_of_a_cluster_counts_as_a_loss():
    said = np.array([["a", "b", "a", "b"] * 30, ["a"] * 120])
    ids = [f"i{row}" for row in range(120)]
    clusters = np.arange(120) % 60
    confidence = 0.5 + np.random.default_rng(0).random((2, 120)) / 2
    table = ScoreTable(None, confidence, [1, 8], ("s", "l"), sample_ids=ids, predictions=said)
    every = {name: "b" for name in ids[1::2]}
    options = {"cascades": HALF, "delta": DELTA, "reference": "l", "clusters": clusters}
    options["accept"] = ("labels complete",)  # the labels are the answers of "s"
    gained = certify(table, epsilon=0.1, labels=every, **options).table.iloc[0]
    unknown = certify(table, epsilon=0.1, labels={}, **options).table.iloc[0]
    assert gained["accuracy_loss"] == -0.5
    assert unknown["accuracy_loss"] == unknown["unlabelled"] == 0.5
    assert gained["p_value"] < DELTA < unknown["p_value"]


def priced_world(rng, k, rare):
    """Return prices of 1, and of 201 for a share ``rare``: the cascade costs 1 + 200 rare."""
    prices = np.where(rng.random(k) < rare, 201.0, 1.0)
    correct = np.ones((2, k), bool)
    confidence = np.stack([0.5 + rng.random(k) / 2, np.zeros(k)])
    return ScoreTable(correct, confidence, np.stack([prices, np.full(k, 8.0)]), ("s", "l"))


@pytest.mark.soak
def test_a_price_that_the_split_lacks_breaks_the_guarantee_unless_max_price_names_it():
    passed = {"seen": 0, "named": 0}
    for seed in range(DRAWS):
        table = priced_world(np.random.default_rng(seed), 300, 0.002)
        options = {"budget": 1.4, "delta": DELTA, "cascades": HALF}
        passed["seen"] += certify(table, **options).certified != ()
        passed["named"] += certify(table, **options, max_price=209.0).certified != ()
    assert passed["named"] <= binom.ppf(0.999, DRAWS, DELTA)
    assert passed["seen"] > 3 * DELTA * DRAWS  # this guarantee states its condition


def test_a_guarantee_on_prices_states_its_condition():
    table = priced_world(np.random.default_rng(0), 3_000, 0.0)
    unnamed = certify(table, HALF, budget=1.5, delta=DELTA)
    named = certify(table, HALF, budget=1.5, delta=DELTA, max_price=12.0)
    assert "costs at most 1.5 a sample (if no input can cost more than 9)" in str(unnamed)
    assert "costs at most 1.5 a sample (if no input can cost more than 12)" in str(named)
    assert named.table["p_value"][0] > unnamed.table["p_value"][0]
    fixed = ScoreTable(table.correct, table.confidence, [1.0, 8.0], ("s", "l"))
    assert "more than" not in str(certify(fixed, HALF, budget=1.5, delta=DELTA))


def test_the_type_of_losses_and_not_their_values_decides_the_test():
    losses = np.zeros(200)
    every = np.ones(200, bool)
    graded = loss_p_value(losses, every, every, False, 0.05)
    counted = loss_p_value(losses.astype(np.int8), every, every, False, 0.05)
    assert graded == betting_p_value(losses, 0.05) != counted
    confidence = np.random.default_rng(0).random((2, 200))
    scores = ScoreTable(np.ones((2, 200)), confidence, [1, 8], ("s", "l"))
    assert certify(scores, HALF, 0.05, reference="l").table["p_value"][0] == graded
