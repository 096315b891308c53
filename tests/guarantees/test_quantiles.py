"""Ladders of cascades at quantiles of confidences, and certificates by labels of their table."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

import cascadelib as cl

NAMES = ["small", "middle", "large"]
COST = [1.0, 3.0, 10.0]
CLASSES = np.array(["a", "b", "c", "d"])


def drawn_table(seed, k, levels=10**6, labels=True):
    """Return k samples of three models. Accuracy rises with cost and with confidence, which has
    this number of levels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, k)
    confidence = rng.integers(0, levels, (3, k)) / levels
    is_correct = rng.random((3, k)) < np.array([[0.5], [0.7], [0.9]]) + confidence / 10
    other = (truth + rng.integers(1, 4, (3, k))) % 4
    return cl.ScoreTable(
        None,
        confidence,
        COST,
        NAMES,
        [f"{seed}:{row}" for row in range(k)],
        predictions=CLASSES[np.where(is_correct, truth, other)],
        labels=CLASSES[truth] if labels else None,
    )


@settings(max_examples=30)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(2, 3),
    st.sampled_from([1, 6]),
)
def test_thresholds_are_quantiles_that_split_no_ties_most_cautious_first(
    seed, k, steps, models, levels
):
    """A model abstains where its confidence is −inf, which only a threshold of −inf lets exit."""
    table = drawn_table(seed, k, levels)
    confidence = np.where(table.confidence < 0.4, -np.inf, table.confidence)
    table = cl.ScoreTable(table.correct, confidence, COST, NAMES)
    points = cl.ladder(table, NAMES[:models], steps=steps)
    expected = []
    for step in range(1, steps + 1):
        row = []
        for confidence in table.confidence[: models - 1]:
            counts = [np.count_nonzero(confidence >= t) for t in {*confidence, 2}]
            # the nearest number of exits that splits no ties, the larger of two
            count = min(counts, key=lambda n: (abs(n - step * k / steps), -n))
            row.append(count)
        if row not in expected:
            expected.append(row)
    leaving = [
        [np.count_nonzero(c >= t) for c, t in zip(table.confidence, point.thresholds)]
        for point in points
    ]
    assert leaving == expected
    assert (np.diff(leaving, axis=0) >= 0).all()
    for point in points:
        run = cl.evaluate(table, point)
        assert (point.cost, point.exit_rates) == (run.cost, run.exit_rates)
        assert np.isnan(point.accuracy)


def test_a_ladder_reads_no_label():
    table = drawn_table(0, 60, levels=20)
    shuffled = table.labelled(np.random.default_rng(0).permutation(table.labels))
    unlabelled = drawn_table(0, 60, levels=20, labels=False)
    assert cl.ladder(table, NAMES) == cl.ladder(shuffled, NAMES) == cl.ladder(unlabelled, NAMES)
    logits = dict(zip("xy", np.random.default_rng(0).normal(size=(2, 60, 4))))
    stores = [
        cl.LogitStore.from_arrays(labels, logits, macs={"x": 1, "y": 5}, sample_ids=range(60))
        for labels in (np.arange(60) % 4, None)
    ]
    first, second = (cl.ladder(store, ["x", "y"], "entropy") for store in stores)
    assert first == second and first[0].thresholds < first[-2].thresholds


def test_the_guarantee_is_about_the_source_or_about_the_table():
    table = drawn_table(1, 3000)
    points = cl.ladder(table.take(slice(0, 2000)), ["small", "large"])
    certify = {"epsilon": 0.1, "reference": "large"}
    source = cl.certify(table.take(slice(2000, None)), points, **certify)
    assert "on new data from the same source." in str(source)
    assert "without them and" in str(source) and 0 < len(source.certified) < len(points)
    own = cl.certify(table.take(slice(0, 500)), points, **certify)
    assert own.terms.frame == 2000 and "on those 2000 rows." in str(own)
    unlabelled = drawn_table(1, 3000, labels=False)
    drawn = np.random.default_rng(0).choice(3000, 800, replace=False)
    labelled = unlabelled.take(drawn).labelled(table.labels[drawn])
    found = cl.certify(labelled, cl.ladder(unlabelled, ["small", "large"]), **certify)
    assert found.terms.frame == 3000 and found.point.cost < COST[-1]
    with pytest.raises(ValueError, match="500 of the 1000 samples gave the thresholds"):
        cl.certify(table.take(slice(1500, 2500)), points, **certify)
    nameless = cl.ScoreTable(table.correct, table.confidence, COST, NAMES).take(slice(2000, None))
    found = cl.certify(nameless, points, **certify)
    assert "drawn independently" in str(found)


def test_the_rows_of_a_ladder_in_a_file_are_not_certified_again(tmp_path):
    table = drawn_table(2, 300)
    point = cl.ladder(table, ["small", "large"])[30]
    cl.Policy.from_point(point).save(tmp_path / "policy.json")
    policy = cl.Policy.load(tmp_path / "policy.json")
    assert policy.thresholds == point.thresholds
    with pytest.raises(ValueError, match="300 of the 300 samples took part"):
        cl.certify(table, policy, 0.1, reference="large")


def test_without_accuracies_the_last_certified_point_within_a_budget_is_returned():
    table = drawn_table(3, 3000)
    points = cl.ladder(table.take(slice(0, 1000)), NAMES)
    found = cl.certify(table.take(slice(1000, None)), points[::-1], budget=6)
    assert len(found.certified) > 1 and found.point == found.certified[-1]


REFUSED = [
    ((["small"],), r"two distinct models or more, not \['small'\]"),
    ((["small", "small"],), "two distinct models or more"),
    ((["smal", "large"],), "unknown model 'smal'; nearest: 'small'"),
    ((["small", "dear"],), r"−inf.*: unknown model 'dear'"),
    ((["small", "large", "middle"],), r"by 'cost': \['small', 'middle', 'large'\]"),
    ((["small", "large"], None, 0), "steps"),
    ((["small", "large"], cl.Method(confidence="isotonic_by_label")), "not fitted: call method.f"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_ladder_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        cl.ladder(drawn_table(4, 50), *arguments)


def test_a_ladder_reads_only_the_cost_of_the_last_model():
    table = drawn_table(6, 60, labels=False)
    points = cl.ladder(table, ["small", "large"])
    confidence = np.stack([table.confidence[0], np.full(60, -np.inf)])
    said = [table.predictions[0], [None] * 60]
    ids = table.sample_ids
    names = ["small", "large"]
    unasked = cl.ScoreTable(None, confidence, [1.0, 10.0], names, ids, predictions=said)
    others = cl.ladder(unasked, names)
    assert [p.thresholds for p in others] == [p.thresholds for p in points]
    assert [p.cost for p in others] == [p.cost for p in points]


@pytest.mark.nightly
@pytest.mark.parametrize("of_table", [True, False])
def test_a_ladder_at_the_boundary_fails_at_most_as_often_as_delta(of_table):
    """Correct rows exit first, and ε is between two steps of the ladder."""
    rows = 1000
    wrong = np.arange(rows) >= 600
    confidence = np.stack([1 - np.arange(rows) / rows, np.zeros(rows)])
    correct = np.stack([~wrong, np.ones(rows, bool)])
    whole = cl.ScoreTable(correct, confidence, [1, 10], ["small", "large"], np.arange(rows))
    points = cl.ladder(whole, ["small", "large"], steps=20)
    loss = [1 - cl.evaluate(whole, point).accuracy for point in points]
    epsilon = 0.1
    broken = 0
    draws = 150
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        chosen = rng.choice(rows, 150, replace=not of_table)
        labelled = cl.ScoreTable(
            correct[:, chosen],
            confidence[:, chosen],
            [1, 10],
            ["small", "large"],
            chosen if of_table else 10**6 + np.arange(150),
        )
        found = cl.certify(labelled, points, epsilon, reference="large")
        assert found.terms.frame == (rows if of_table else 0)
        broken += any(loss[step] >= epsilon for step in range(len(found.certified)))
    assert binom.sf(broken - 1, draws, 0.05) > 1e-3
