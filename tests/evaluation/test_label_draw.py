"""Labels of disagreements choose as all labels do, and certify with the samples that follow."""

import pickle
import secrets
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import cascadelib as cl
from cascadelib.evaluation.label_draw import FEWEST_LABELS, LabelDraw
from cascadelib.policy.form import parse_cascade, text_of

NAMES = ("s", "m", "l")


def table_of(k, seed, classes=3, labels=True, absent=0.0):
    """Return predictions of three models. Confidences have ties, and some answers are missing."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = np.array([[0.9], [1.3], [1.7]]) + ease + 0.7 * rng.normal(size=(3, k))
    truth = rng.integers(0, classes, k).astype(str)
    others = ((truth.astype(int) + 1) % classes).astype(str)
    predictions = np.where(margin > 0, truth, others)
    predictions[rng.random((3, k)) < absent] = ""
    confidence = np.round(margin + rng.normal(size=(3, k)), 1)
    ids = [f"q{row}" for row in range(k)]
    return cl.ScoreTable(
        None, confidence, [1, 5, 20], NAMES, ids, predictions, truth if labels else None,
        missing="wrong",
    )  # fmt: skip


FULL = table_of(1200, 0)
TABLE = table_of(1200, 0, labels=False)
DRAW = cl.to_label(TABLE, models="all", seed=5)


def labels_of(ids, full=FULL):
    return {name: full.labels[int(name[1:])] for name in ids}


def rows_until(draw, store, count):
    """The rows in the order of the draw up to the disagreement of this number."""
    rows = draw.order(store.origin.sample_ids)
    is_drawn = np.isin(store.origin.sample_ids[rows], draw.ids)
    return rows[: np.flatnonzero(is_drawn)[count - 1] + 1]


@given(
    st.integers(0, 10**6),
    st.integers(60, 200),
    st.sampled_from([2, (1, 2, 3)]),
    st.booleans(),
    st.sampled_from([0.0, 0.05]),
)
def test_a_search_with_labels_of_disagreements_equals_one_with_all_labels(
    seed, k, n_models, expected, absent
):
    full = table_of(k, seed, absent=absent)
    table = table_of(k, seed, labels=False, absent=absent)
    draw = cl.to_label(table, models=NAMES, seed=seed)
    count = min(len(draw), FEWEST_LABELS + seed % 20)
    labels = labels_of(draw.ids[:count], full)
    found = cl.search(table, n_models, labels=labels, draw=draw)
    rows = draw.order(table.origin.sample_ids)
    if count < len(draw):
        rows = rows_until(draw, table, count)
    by_all = cl.search(full.take(np.array(rows)), n_models)
    assert found.samples == len(rows)
    assert found.reference.models == by_all.reference.models
    difference = by_all.table["accuracy"] - by_all.baseline.best
    np.testing.assert_allclose(found.table["difference"], difference, atol=1e-12)
    pd.testing.assert_frame_equal(
        found.table.drop(columns=["difference", "improvement"]),
        by_all.table.drop(columns=["accuracy", "improvement"]),
    )
    single = by_all.singles["accuracy"] - by_all.baseline.best
    np.testing.assert_allclose(found.singles["difference"], single, atol=1e-12)
    for loss in (0.0, 0.02):
        one, other = (cl.pick(front, loss=loss, caution=1.0) for front in (found, by_all))
        assert (one.models, one.thresholds) == (other.models, other.thresholds)
        assert np.isnan([one.accuracy, one.expected_accuracy]).all()
        assert one.difference == pytest.approx(other.difference, abs=1e-12)
    if expected:  # the estimate is of other outcomes, but differences remain comparable
        estimated = cl.search(table, n_models, labels=labels, draw=draw, expected=True)
        assert estimated.table["difference"].max() <= 1


@pytest.mark.parametrize("method", ["max_softmax_mean_softmax", "logits_margin", "max_softmax"])
def test_stores_of_logits_are_searched_with_labels_of_disagreements(method):
    full = cl.LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28", "resnet18_w16@28"])
    full = full.take(slice(0, 1500))
    draw = cl.to_label(full, models="all", seed=1)
    truth = dict(zip(full.sample_ids.tolist(), full.labels.tolist()))
    wrong = full.labelled((full.labels + 1) % 10)  # labels of the store are not read
    labels = pd.Series({name: truth[name] for name in draw.ids[:60]})
    found = cl.search(wrong, (1, 2, 3), method, labels=labels, draw=draw)
    by_all = cl.search(full.take(np.array(rows_until(draw, full, 60))), (1, 2, 3), method)
    difference = by_all.table["accuracy"] - by_all.baseline.best
    np.testing.assert_allclose(found.table["difference"], difference, atol=1e-12)
    assert found.table["thresholds"].tolist() == by_all.table["thresholds"].tolist()


def test_the_entropy_of_a_draw_is_that_of_the_operating_system_and_recorded(monkeypatch):
    monkeypatch.setattr(secrets, "randbits", lambda bits: 2**62 + bits)
    draw = cl.to_label(TABLE, models="all")
    assert draw.seed == 2**62 + 63 and "operating system" in repr(draw)
    again = cl.to_label(TABLE, models=["l", "s", "m"], seed=draw.seed)
    assert again.ids.tolist() == draw.ids.tolist() != DRAW.ids.tolist()
    differs = (FULL.predictions != FULL.predictions[0]).any(axis=0)
    assert sorted(draw.ids) == sorted(FULL.sample_ids[differs]) and len(draw) == differs.sum()


def test_the_first_samples_of_a_draw_are_a_uniform_draw():
    ids = np.array([f"q{row}" for row in range(6)])
    draws = 3000
    firsts = []
    pairs = []
    for seed in range(draws):
        order = LabelDraw(NAMES, ids, 6, seed, "").order(ids)
        firsts.append(order[0])
        pairs.append(6 * order[0] + order[1])
        some = ids[[0, 1, 3, 4, 5]]  # the order of a part is that of all
        part = some[LabelDraw(NAMES, ids, 6, seed, "").order(some)]
        assert part.tolist() == ids[order[order != 2]].tolist()
    for counts, share in ((np.bincount(firsts, minlength=6), 1 / 6), (np.bincount(pairs), 1 / 30)):
        counts = counts[counts > 0]
        assert len(counts) == round(1 / share)
        assert counts.min() >= binom.ppf(1e-5, draws, share)
        assert counts.max() <= binom.isf(1e-5, draws, share)


def test_the_samples_of_the_choice_do_not_certify():
    count = 150
    front = cl.search(TABLE, 2, labels=labels_of(DRAW.ids[:count]), draw=DRAW)
    point = cl.pick(front, loss=0.01, caution=0)
    chose = rows_until(DRAW, TABLE, count)
    rest = np.setdiff1d(np.arange(len(TABLE)), chose)
    certificate = cl.certify(TABLE, point, 0.1, labels=labels_of(DRAW.ids), draw=DRAW)
    by_all = cl.certify(FULL.take(rest), point, 0.1)
    assert certificate.samples == len(rest)
    shared = ["lost", "gained", "accuracy_loss", "cost_here"]
    pd.testing.assert_frame_equal(certificate.table[shared], by_all.table[shared])
    design = certificate.point.guarantee.design
    assert design.candidates == NAMES and f"seed {DRAW.seed}" in design.labelled_by
    assert "among the samples on which s, m, l disagree" in str(certificate)
    stored = parse_cascade(text_of(certificate.point))
    assert stored.guarantee.design == design
    part = labels_of(DRAW.ids[: count + 30])
    fewer = cl.certify(TABLE, point, 0.1, labels=part, draw=DRAW)
    assert fewer.table["p_value"][0] >= certificate.table["p_value"][0]
    wanted = cl.to_label(TABLE, point, draw=DRAW)
    assert 0 < len(wanted) < len(DRAW) - count and set(wanted) < set(DRAW.ids[count:].tolist())
    by_its_own = cl.certify(TABLE, point, 0.1, labels=labels_of(wanted), draw=DRAW)
    assert by_its_own.table["p_value"][0] == certificate.table["p_value"][0]
    # A cascade of a file is recognized by the digests of the ids that chose it.
    again = cl.certify(TABLE, parse_cascade(text_of(point)), 0.1, labels=part, draw=DRAW)
    assert again.table["p_value"][0] == fewer.table["p_value"][0]


def test_a_front_with_unknown_accuracies_shows_none():
    labels = labels_of(DRAW.ids[:200])
    front = cl.search(TABLE, (1, 2, 3), labels=labels, draw=DRAW)
    text = repr(front) + front._repr_html_() + repr(front.point(-1)) + repr(front.reference)
    assert "accuracy" not in text.replace("most accurate", "") and "difference" in text
    assert "accuracy" not in front.table and "accuracy" not in front.singles
    assert front.reference_accuracy == 0.0 and front.reference.difference == 0.0
    assert np.isnan(front.expected_accuracy_at(0.9))
    assert "difference" in front.improvement_curve()
    assert front.caution > replace(front, draw=None).caution
    again = pickle.loads(pickle.dumps(front))
    assert cl.pick(again, loss=0.01, caution=0) == cl.pick(front, loss=0.01, caution=0)


FIRST = labels_of(DRAW.ids[:100])
AGREED = next(name for name in TABLE.sample_ids.tolist() if name not in DRAW.ids)
CHOSE = cl.ScoreTable(np.ones((2, 1)), np.ones((2, 1)), [1, 5], ("s", "l"), ["elsewhere"])
POINT = cl.Point(("s", "l"), (1.0,), cost_kind="cost", selected_on=CHOSE.origin)
OTHERS = cl.Point(
    ("s", "l"), (1.0,), cost_kind="cost", selected_on=TABLE.take(slice(0, 200)).origin
)
IN_PAIRS = cl.to_label(TABLE, models=["s", "m"], seed=5)
GRAPH = cl.LogitStore.from_arrays(
    None, {n: np.random.default_rng(i).normal(size=(90, 4)) for i, n in enumerate(NAMES)},
    macs={"s": 1, "m": 5, "l": 20},
)  # fmt: skip
OF_LOGITS = cl.to_label(GRAPH, models="all", seed=1)
NUMBERS = dict.fromkeys(OF_LOGITS.ids[:30].tolist(), 1)


def search(labels, draw=DRAW, table=TABLE, **options):
    return cl.search(table, 2, labels=labels, draw=draw, **options)


def certify(point, labels, draw=DRAW, **options):
    return cl.certify(TABLE, point, 0.1, labels=labels, draw=draw, **options)


REFUSED = {
    "no draw": (lambda: search(FIRST, None), "labels= and draw= belong together"),
    "no labels": (lambda: search(None), "labels= and draw= belong together"),
    "a list": (lambda: search(list(FIRST)), "labels must be {sample id: label}"),
    "too few": (lambda: search(labels_of(DRAW.ids[:5])), "5 labels are too few"),
    "a gap": (lambda: search(labels_of(DRAW.ids[1:90])), "labels: 89 samples have a label"),
    "an agreeing row": (lambda: search(FIRST | {AGREED: "0"}), "labels: 1 ids are not in the draw"),
    "foreign labels": (
        lambda: search(dict.fromkeys(FIRST, "zebra")), "labels: no model predicts 'zebra'",
    ),
    "a class outside": (
        lambda: search(NUMBERS | {OF_LOGITS.ids[0]: -3}, OF_LOGITS, GRAPH), "label -3 of sample",
    ),
    "another store": (lambda: search(FIRST, table=table_of(900, 3)), "draw= is of other samples"),
    "another score": (
        lambda: search(NUMBERS, OF_LOGITS, GRAPH, score="top2"), "labels of a draw are for score",
    ),
    "an ensemble of a user": (
        lambda: search(NUMBERS, OF_LOGITS, GRAPH, method=cl.Method(ensemble=len)), "an ensemble",
    ),
    "a temperature": (
        lambda: search(NUMBERS, OF_LOGITS, GRAPH, method="max_softmax_most_confident_ts"),
        "temperatures and confidences are fitted",
    ),
    "an unknown candidate": (lambda: cl.to_label(TABLE, models=["s", "big"]), "unknown model"),
    "one candidate": (lambda: cl.to_label(TABLE, models=["s"]), "models must name two models"),
    "neither": (lambda: cl.to_label(TABLE), "give either cascades"),
    "both": (lambda: cl.to_label(TABLE, POINT, models="all"), "give either cascades"),
    "a draw again": (lambda: cl.to_label(TABLE, models="all", draw=DRAW), "draw= belongs to"),
    "a seed": (lambda: cl.to_label(TABLE, POINT, draw=DRAW, seed=1), "draw= belongs to"),
    "no predictions": (
        lambda: cl.to_label(cl.ScoreTable(np.ones((2, 9)), np.ones((2, 9)), [1, 2]), models="all"),
        "the table has no predictions",
    ),
    "the accuracy": (
        lambda: cl.pick(search(FIRST), accuracy=0.9), "accuracy= is unknown if only",
    ),
    "a model outside": (lambda: certify(POINT, FIRST, IN_PAIRS), "'l' is not among the models"),
    "a reference outside": (
        lambda: certify(cl.Point(("s", "m"), (1.0,)), FIRST, IN_PAIRS, reference="l"),
        "'l' is not among the models",
    ),
    "labels that chose": (
        lambda: certify(cl.pick(search(FIRST), loss=0.05, caution=0), FIRST),
        "none of the 100 labels is left",
    ),
    "other rows chose": (lambda: certify(OTHERS, FIRST), "200 samples of the store took part"),
    "labels with a gap": (
        lambda: certify(POINT, labels_of(DRAW.ids[40:])), "draw=: the labelled samples are not",
    ),
    "no labels to certify": (lambda: certify(POINT, None), "labels must be {sample id: label}"),
    "clusters": (
        lambda: certify(POINT, FIRST, clusters=np.arange(1200) // 2), "clusters= supports",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_labels_and_draws_that_do_not_fit_are_refused(case):
    call, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match="^" + words.replace("{", r"\{")):
        call()
