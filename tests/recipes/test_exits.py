"""Recipes by agreement, budget, stream and learned score against slow twins, and all recipes on
another split.
"""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from twins import brute_front, single_cascade

from cascadelib import LogitStore, Method, ScoreTable, recipes, search
from cascadelib.evaluation.evaluation import exit_stages
from cascadelib.evaluation.pareto import Baseline, pareto_front
from cascadelib.fronts.cascades import cascades_of
from cascadelib.methods.confidence_metrics import softmax
from cascadelib.methods.fitted import fit_confidence
from cascadelib.recipes.big_little import dynamic_exits, follow
from cascadelib.recipes.learned_policies import LEARNED
from cascadelib.recipes.multi_scale import budgeted
from cascadelib.recipes.patience import patience_outcomes
from tools.recipes_compared import all_recipes, compare_recipes

FEATURES = ("max_softmax", "softmax_margin", "entropy")
STORES = st.builds(
    lambda seed, k, models, step, costs: make_store(seed, k, models, step, costs),
    st.integers(0, 10**6),
    st.integers(1, 25),
    st.integers(1, 4),
    st.sampled_from([0.01, 1.0, 4.0]),
    st.sampled_from([[1, 3, 9, 27], [1, 1, 1, 1], [2, 2, 5, 5]]),
)


def make_store(seed=0, k=40, models=4, step=0.5, costs=(1, 3, 9, 27), classes=3):
    """Logits on a grid of ``step``, so that confidences tie; the costlier the model, the stronger
    the signal.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    logits = {}
    for i in range(models):
        z = (0.8 + i) * np.eye(classes)[labels] + rng.normal(size=(k, classes))
        logits[f"m{i}"] = np.round(z / step) * step
    return LogitStore.from_arrays(labels, logits, macs=dict(zip(logits, map(float, costs))))


def chains_of(store, lengths):
    """(positions, names, costs) of all chains that rise in cost, equal costs in both orders."""
    names = list(store.models.index)
    costs = store.costs("macs")
    for chain in cascades_of(costs, [n for n in lengths if n <= len(names)]):
        yield chain, tuple(names[m] for m in chain), [costs[m] for m in chain]


def same_front(table, points):
    accuracy, cost = np.array(points).T
    keep = pareto_front(np.round(cost, 9), accuracy)
    np.testing.assert_allclose(table["accuracy"], accuracy[keep], atol=1e-12)
    np.testing.assert_allclose(table["cost"], cost[keep], atol=1e-8)


def own_again(store, table, rule):
    """Replayed where they were chosen, points give their own numbers."""
    again = recipes.replay_points(table, store, rule)
    np.testing.assert_allclose(again["accuracy_moved"], table["accuracy"], atol=1e-12)
    np.testing.assert_allclose(again["cost_moved"], table["cost"], rtol=1e-12)


def slow_patience(store, names, costs, patience):
    """Accuracy and cost, sample by sample."""
    right = 0
    cost = 0.0
    for j, label in enumerate(store.labels):
        count = 0
        before = None
        for name, price in zip(names, costs):
            answer = int(np.argmax(store.logits(name)[j]))
            cost += price
            count = count + 1 if answer == before else 0
            before = answer
            if count == patience:
                break
        right += answer == label
    return right / len(store), cost / len(store)


@settings(max_examples=25, deadline=None)
@given(STORES)
def test_patience_equals_a_loop(store):
    slow = [
        slow_patience(store, names, costs, patience)
        for _, names, costs in chains_of(store, range(1, 5))
        for patience in range(1, len(names) + 1)
    ]
    table = recipes.zhou_2020(store)
    same_front(table, slow)
    own_again(store, table, patience_outcomes)


def slow_stream(margins, agree, target):
    t = 0.5
    stages = []
    for margin, same in zip(margins, agree):
        stages.append(int(margin < t))
        if stages[-1]:
            t = np.clip(t + (-0.01 * target if same else 0.01 * (1 - target)), 0, 1)
    return stages


@settings(max_examples=20, deadline=None)
@given(STORES)
def test_the_dynamic_threshold_equals_a_loop(store):
    slow = []
    targets = np.arange(41) / 40
    for _, (a, b), (c1, c2) in chains_of(store, [2]):
        p = np.sort(softmax(store.logits(a)), axis=1)
        first, second = (store.logits(name).argmax(axis=1) for name in (a, b))
        for target in targets:
            stages = slow_stream(p[:, -1] - p[:, -2], first == second, target)
            right = np.where(stages, second, first) == store.labels
            slow.append((right.mean(), c1 + c2 * np.mean(stages)))
    if len(store.models) == 1:
        with pytest.raises(ValueError, match="of 1 models"):
            recipes.park_2015_dynamic(store)
    else:
        table = recipes.park_2015_dynamic(store)
        same_front(table, slow)
        own_again(store, table, dynamic_exits)


def test_the_dynamic_threshold_comes_to_its_share_of_disagreement():
    rng = np.random.default_rng(1)
    margin = rng.random(50_000)
    agrees = rng.random(50_000) < margin
    for target in (0.6, 0.75, 0.9):  # of those with margin < t a share 1 − t / 2 is disagreed on
        stage = follow(margin, ~agrees, 0.5, target)
        assert np.mean(~agrees[stage == 1]) == pytest.approx(target, abs=0.03)
        assert margin[20_000:][stage[20_000:] == 1].max() < 2 * (1 - target) + 0.25


def slow_budget(confidences, shares):
    """Thresholds by counting down the samples that are left, surest first."""
    k = len(confidences[0])
    gone = set()
    thresholds = []
    for sure, share in zip(confidences, shares[:-1]):
        left = sorted((s for s in range(k) if s not in gone), key=lambda s: -sure[s])
        most = left[: int(np.floor(share * k + 1e-9))]
        thresholds.append(sure[most[-1]] if most else np.inf)
        gone |= {s for s in left if sure[s] >= thresholds[-1]}
    return thresholds


@given(
    st.integers(0, 10**6), st.integers(1, 12), st.lists(st.floats(0.01, 1), min_size=1, max_size=4)
)
def test_budgeted_thresholds_equal_a_count(seed, k, shares):
    rng = np.random.default_rng(seed)
    shares = np.array(shares) / sum(shares)
    confidences = list(rng.integers(0, 4, (len(shares), k)) / 4)
    thresholds = budgeted(confidences, shares)
    assert thresholds.tolist() == slow_budget(confidences, shares)
    distinct = [rng.permutation(k) / k for _ in shares]
    if len(shares) > 1:  # without ties each stage has the share that was asked for
        stages = exit_stages(distinct[:-1], budgeted(distinct, shares))
        assert (
            np.bincount(stages, minlength=len(shares))[:-1] == np.floor(shares[:-1] * k + 1e-9)
        ).all()


@settings(max_examples=10, deadline=None)
@given(STORES, st.sampled_from(["max_softmax", "entropy"]))
def test_budgeted_batch_equals_a_loop(store, metric):
    stage = Method(metric).stage(store, list(store.models.index))
    slow = []
    ratios = np.arange(1, 40) / 20
    for chain, _, costs in chains_of(store, (1, 2, 3)):
        outcomes = [stage((m,)) for m in chain]
        for ratio in ratios:
            shares = np.array([ratio**i for i in range(len(chain))])
            thresholds = slow_budget([sure for _, sure in outcomes], shares / shares.sum())
            right, cost, _ = single_cascade(outcomes, thresholds, costs)
            slow.append((right / len(store), cost))
    table = recipes.huang_2018(store, metric)
    same_front(table, slow)
    own_again(store, table, metric)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 60),
    st.sampled_from(["mixed", "all right", "none right", "separable"]),
)
def test_logistic_scores_are_those_of_scikit_learn(seed, k, kind):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(k, 3)) * (1, 5, 0)  # a feature may be constant
    right = {
        "mixed": rng.random(k) < expit(x[:, 0]),
        "all right": np.ones(k, bool),
        "none right": np.zeros(k, bool),
    }
    right = right.get(kind, x[:, 0] > 0)
    scores = fit_confidence("logistic", "abc", x, right)(x)
    assert ((0 <= scores) & (scores <= 1)).all()
    if right.all() or not right.any():
        assert (np.abs(scores - right) <= 0.5).all()
        return
    z = np.column_stack([np.ones(k), x])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
        theirs.fit(z, right)
    np.testing.assert_allclose(scores, theirs.predict_proba(z)[:, 1], atol=1e-4)


def test_equal_features_get_equal_scores():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(97, 3))
    scorer = fit_confidence("logistic", "abc", x, rng.random(97) < 0.5)
    assert len(np.unique(scorer(np.repeat(x[:1], 101, axis=0)))) == 1
    assert scorer(x[3:4])[0] == scorer(x)[3]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.01, 4.0]))
def test_the_logistic_policy_equals_a_loop(seed, step):
    store = make_store(seed, 12, 3, step)
    learned = LEARNED.fit(store)
    brute = brute_front(
        learned.stage(store, list(store.models.index)), store.costs("macs"), (1, 2, 3)
    )
    table = search(store, (1, 2, 3), learned).table
    same_front(table, [(n / 12, cost) for n, cost in brute.items()])
    own_again(store, table, learned)


def test_a_logistic_policy_is_fitted_on_one_split_only():
    store = make_store(0, 200)
    other = make_store(1, 200)
    features = np.column_stack([Method(m).stage(store, ["m1"])((0,))[1] for m in FEATURES])
    scorer = fit_confidence("logistic", FEATURES, features, store.ranks("m1") == 0)
    features = np.column_stack([Method(m).stage(other, ["m1"])((0,))[1] for m in FEATURES])
    right, sure = LEARNED.fit(store).stage(other, ["m1"])((0,))
    np.testing.assert_array_equal(sure, scorer(features))
    np.testing.assert_array_equal(right, other.ranks("m1") == 0)


def test_a_grid_that_is_given_serves_all_stages():
    store = make_store(2, 60, 3)
    given_one = recipes.wang_2018(store, "max_softmax", grid=[0.9, 0.4, 0.6])
    assert {t for row in given_one["thresholds"] for t in row} <= {0.4, 0.6, 0.9}
    pd.testing.assert_frame_equal(
        given_one, recipes.wang_2018(store, "max_softmax", grid=(0.4, 0.6, 0.9))
    )
    own_again(store, given_one, "max_softmax")
    entropy = recipes.wang_2018(store, "entropy", grid=[0.2, 0.7])
    assert {t for row in entropy["thresholds"] for t in row} <= {0.2, 0.7}
    own_again(store, entropy, "entropy")
    with pytest.raises(ValueError, match="grid"):
        recipes.wang_2018(store, grid=[])


@pytest.mark.parametrize(("seed", "step"), [(0, 0.01), (1, 0.5)])
def test_all_recipes_on_the_split_that_chose_are_as_they_were(seed, step):
    store = make_store(seed, 60, 4, step)
    plain = all_recipes(store)
    moved = all_recipes(store, held_out=store)
    assert list(plain) == list(moved)
    for label, table in moved.items():
        pd.testing.assert_frame_equal(table[plain[label].columns], plain[label])
        if label != "oracle":
            np.testing.assert_allclose(
                table["accuracy_moved"], table["accuracy"], atol=1e-12, err_msg=label
            )
            np.testing.assert_allclose(
                table["cost_moved"], table["cost"], rtol=1e-12, err_msg=label
            )
    assert "accuracy_moved" not in moved["oracle"]


def test_a_table_of_scores_is_replayed_by_its_own_confidences():
    rng = np.random.default_rng(0)
    one, two = (
        ScoreTable(rng.random((3, 50)) < [[0.5], [0.7], [0.9]], rng.random((3, 50)), [1, 4, 9])
        for _ in "ab"
    )
    front = search(one, (1, 2, 3))
    own_again(one, front.table, None)
    moved = recipes.replay_points(front.table, two, None)
    table = compare_recipes(front, {"itself": moved}, held_out=two)
    assert table.loc["itself", "excess_cost_moved"] == 0
    with pytest.raises(ValueError, match="model 2"):
        recipes.replay_points(front.table, two.select(["model 0", "model 1"]), None)


def slow_excess_moved(front, points, other, at):
    """Mean over accuracies asked for of the chosen points' relative costs, − 1."""
    there = Baseline(other.costs("macs"), other.models["top1"])
    relative = []
    for table in (points, front):
        own = table["cost_moved"] / [
            there.cost_at(min(a, there.best)) for a in table["accuracy_moved"]
        ]
        relative.append([own.iloc[int(np.argmax(table["accuracy"] >= a))] for a in at])
    return np.mean(np.divide(*relative) - 1)


def test_compare_judges_on_the_other_split_what_was_chosen_here():
    store = make_store(0, 300, 4, 0.01)
    other = make_store(1, 300, 4, 0.01)
    front = search(store, (1, 2, 3))
    chosen = all_recipes(store, held_out=other)
    one = chosen["Wang 2018, max-softmax grid"].iloc[[3]]
    table = compare_recipes(front, {**chosen, "one point": one}, held_out=other, loss=0.02)
    assert list(table.columns[:5]) == [
        "accuracy_moved",
        "cost_moved",
        "excess_cost_moved",
        "accuracy",
        "cost",
    ]
    pd.testing.assert_frame_equal(
        table.iloc[:, 5:], compare_recipes(front, {**chosen, "one point": one})
    )
    exact = recipes.replay_points(front.table, other)
    best = front.baseline.best
    for label in (
        "Huang 2018, budgeted batch",
        "Park 2015, dynamic threshold",
        "Zhou 2020, patience",
    ):
        points = chosen[label]
        reached = points[points["accuracy"] >= best - 0.02]
        row = reached.iloc[0] if len(reached) else points.iloc[-1]
        for column in ("accuracy_moved", "cost_moved", "accuracy", "cost"):
            assert table.loc[label, column] == row[column]
        high = min(best, points["accuracy"].max(), front.table["accuracy"].max())
        at = np.linspace(front.baseline.accuracy[front.baseline.front[0]], high, 5001)[1:]
        slow = slow_excess_moved(exact, points, other, at)
        assert table.loc[label, "excess_cost_moved"] == pytest.approx(slow, abs=5e-3)
    assert table.loc["exact", "excess_cost_moved"] == 0
    assert np.isnan(table.loc[["one point", "oracle"], "excess_cost_moved"]).all()
    assert table.loc["one point", "accuracy_moved"] == one["accuracy_moved"].item()


def test_agreement_streams_and_scores_need_outputs():
    table = ScoreTable([[True, False], [True, True]], np.zeros((2, 2)), [1, 2])
    for recipe in (recipes.zhou_2020, recipes.park_2015_dynamic, recipes.huang_2018):
        with pytest.raises(ValueError, match="LogitStore"):
            recipe(table)
