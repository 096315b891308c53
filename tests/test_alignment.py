"""Every public call aligns values per sample by their ids, or refuses them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.labels import align_values

K = 300
RNG = np.random.default_rng(0)
IDS = np.array([f"q{row:03}" for row in RNG.permutation(K)])
LABELS = RNG.choice(list("abc"), K)
CONFIDENCE = RNG.random((2, K))
PREDICTIONS = np.where(RNG.random((2, K)) < [[0.7], [0.9]], LABELS, "b")
COST = np.array([1.0, 9.0])
NAMES = ("small", "large")
CLASSES = ("a", "b", "c")
NUMBERS = np.searchsorted(CLASSES, LABELS)
LOGITS = {name: RNG.normal(size=(K, 3)) + 2 * np.eye(3)[NUMBERS] for name in NAMES}
PAIR = cl.Point(NAMES, (0.6,), score="top1", cost_kind="cost")
SMALL = cl.ScoreTable(None, CONFIDENCE[:1], [1], NAMES[:1], IDS, predictions=PREDICTIONS[:1])


def table(**changes):
    arguments = {
        "correct": None,
        "confidence": CONFIDENCE,
        "cost": COST,
        "names": NAMES,
        "sample_ids": IDS,
        "predictions": PREDICTIONS,
        "labels": LABELS,
    }
    return cl.ScoreTable(**arguments | changes)


def store(labels=NUMBERS, **changes):
    arguments = {"macs": dict(zip(NAMES, COST)), "sample_ids": IDS, "classes": CLASSES}
    return cl.LogitStore.from_arrays(labels, **{"logits": LOGITS} | arguments | changes)


TABLE = table()
STORE = store()


def certified(**keywords):
    found = cl.certify(TABLE, PAIR, 0.1, reference="large", **keywords)
    return found.table.astype(str).to_numpy().tolist()


def answered(answers):
    result = cl.answer_table(SMALL, answers, 0.05, labels=80, seed=0)
    return [result.answers.tolist(), result.asked.tolist()]


def contents(table):
    found = (table.correct, table.confidence, table.cost, table.predictions, table.labels)
    return [*(np.asarray(values).tolist() for values in found), table.sample_ids.tolist()]


# Public calls that take one value per sample: {name: (values [k], call)}.
BY_SAMPLE = {
    "labelled of a table": (LABELS, lambda v: contents(TABLE.labelled(v))),
    "labelled of a store": (NUMBERS, lambda v: STORE.labelled(v).labels.tolist()),
    "text labels of a store": (LABELS, lambda v: store(v).labels.tolist()),
    "labels of a table": (LABELS, lambda v: contents(table(labels=v))),
    "one model's confidences": (
        CONFIDENCE[0],
        lambda v: contents(table(confidence=[v, CONFIDENCE[1]])),
    ),
    "one model's answers": (
        PREDICTIONS[0],
        lambda v: contents(table(predictions={"large": PREDICTIONS[1], "small": v})),
    ),
    "groups": (LABELS, lambda v: certified(groups=v)),
    "take of a table": (LABELS == "a", lambda v: contents(TABLE.take(v))),
    "take of a store": (LABELS == "a", lambda v: STORE.take(v).sample_ids.tolist()),
}


def keyed(values, rows, kind):
    """Return values with their ids in another order."""
    series = pd.Series(np.asarray(values)[rows], IDS[rows])
    if kind == "dict":
        return series.to_dict()
    if kind == "covers more":
        return pd.concat([pd.Series(np.asarray(values)[:1], ["another"]), series])
    if kind == "categorical index":
        return series.set_axis(pd.CategoricalIndex(series.index))
    return series.convert_dtypes() if kind == "nullable" else series


KINDS = ("Series", "dict", "covers more", "categorical index", "nullable")
ORDERS = st.integers(0, 999).map(lambda seed: np.random.default_rng(seed).permutation(K))
QUICK = settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("call", BY_SAMPLE)
@QUICK
@given(rows=ORDERS, kind=st.sampled_from(KINDS))
def test_the_order_of_values_with_ids_changes_nothing(call, rows, kind):
    values, result = BY_SAMPLE[call]
    assert result(keyed(values, rows, kind)) == result(np.asarray(values))


@pytest.mark.parametrize("call", BY_SAMPLE)
def test_a_default_index_means_the_order_of_the_store(call):
    values, result = BY_SAMPLE[call]
    assert result(pd.Series(values)) == result(np.asarray(values))


@QUICK
@given(rows=ORDERS, kind=st.sampled_from(KINDS[:2]))
def test_answers_are_aligned_by_id(rows, kind):
    truth = keyed(LABELS, rows, kind)
    expected = answered(lambda ids: [truth[name] for name in ids])
    assert answered(lambda ids: truth) == expected
    series = pd.Series(truth)
    in_order = series.sort_index()
    assert answered(lambda ids: in_order[in_order.index.isin(ids)]) == expected
    assert answered(lambda ids: series[ids].reset_index(drop=True)) == expected
    with pytest.raises(ValueError, match="the answers of ask: no value for 1 of 80"):
        answered(lambda ids: series[ids[1:]])
    with pytest.raises(ValueError, match="one answer per id"):
        answered(lambda ids: series[ids[1:]].tolist())


@QUICK
@given(rows=ORDERS, models=st.permutations(range(2)))
def test_frames_are_aligned_by_model_and_sample(rows, models):
    def frame(values):
        return pd.DataFrame(values, NAMES, IDS).iloc[models, rows]

    correct = PREDICTIONS == LABELS
    prices = COST[:, None] * np.ones(K)
    expected = table(correct=correct, cost=prices)
    found = table(
        correct=frame(correct),
        confidence=frame(CONFIDENCE),
        predictions=frame(PREDICTIONS),
        cost=frame(prices),
    )
    assert contents(found) == contents(expected)


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_costs_are_aligned_by_model(kind):
    by_model = kind({"large": 9.0, "small": 1.0})
    assert table(cost=by_model).cost.tolist() == COST.tolist()
    assert store(macs=by_model).costs("macs").tolist() == COST.tolist()
    assert store(joules=by_model).costs("joules").tolist() == COST.tolist()
    wide = pd.DataFrame({"sample": IDS, "label": LABELS} | dict(zip(NAMES, PREDICTIONS)))
    made = cl.ScoreTable.from_frame(
        wide, label="label", prediction="{}", models=NAMES, confidence=None, cost=by_model
    )
    assert made.cost.tolist() == COST.tolist()


@QUICK
@given(rows=ORDERS, columns=st.permutations(range(3)))
def test_frames_of_logits_are_aligned_by_sample_and_class(rows, columns):
    logits = {
        name: pd.DataFrame(values, IDS, CLASSES).iloc[rows, columns]
        for name, values in LOGITS.items()
    }
    for name in NAMES:
        assert np.array_equal(store(logits=logits).logits(name), STORE.logits(name))


@QUICK
@given(rows=ORDERS, count=st.integers(0, 40))
def test_labels_of_some_samples_are_aligned_by_id(rows, count):
    unlabelled = TABLE.labelled(TABLE.predicted("large"))
    wanted = cl.to_label(unlabelled, PAIR, "large")[:count]
    labels = pd.Series(LABELS, IDS)[wanted]
    expected = certified(labels=labels.to_dict())
    order = [row for row in rows if row < len(labels)]
    assert certified(labels=labels.iloc[order]) == expected
    assert certified(labels=labels.iloc[order].astype("category")) == expected


def test_ids_are_compared_as_text():
    numbers = [3, 1, 2]
    for index in ([1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"], pd.Index([1, 2, 3], dtype="Int64")):
        series = pd.Series(["b", "c", "a"], index)
        assert align_values(series, "labels", numbers).tolist() == ["a", "b", "c"]
        assert align_values(series.to_dict(), "labels", numbers) == ["a", "b", "c"]


def test_repeated_ids_are_aligned_with_an_index_that_repeats_or_has_them():
    part = TABLE.take([5, 5, 3])
    assert part.labelled(pd.Series(["a", "b", "c"], part.sample_ids)).labels.tolist() == [*"abc"]
    by_id = part.labelled(pd.Series(LABELS, IDS))
    assert by_id.labels.tolist() == LABELS[[5, 5, 3]].tolist()


SERIES = pd.Series(LABELS, IDS)
ROWS = table(sample_ids=np.arange(K)[::-1])
REFUSED = {
    "too few": (
        lambda: TABLE.labelled(SERIES.drop([IDS[4], IDS[8]])),
        f"labels: no value for 2 of {K} ids, such as '{IDS[4]}' and '{IDS[8]}'",
    ),
    "other ids": (
        lambda: certified(groups=SERIES.rename(lambda name: f"x{name}")),
        f"groups: .*'x{IDS[0]}' and 'x{IDS[1]}' here, '{IDS[0]}' and '{IDS[1]}' in the store",
    ),
    "a filtered index": (
        lambda: certified(groups=SERIES.set_axis(np.arange(K) * 2)),
        "groups: no value for 300 of 300.*'0' and '2' here",
    ),
    "repeated ids": (
        lambda: TABLE.labelled(pd.concat([SERIES, SERIES[:3]])),
        "labels: the index repeats 'q",
    ),
    "equal ids of a dict": (
        lambda: align_values({1: "a", "1": "b"}, "labels", ["1", "2"]),
        "labels: the index repeats '1'",
    ),
    "equal ids of labels=": (
        lambda: certified(labels=pd.concat([SERIES, SERIES[:3]])),
        "labels: the index repeats 'q",
    ),
    "labels= without ids": (lambda: certified(labels=pd.Series(LABELS)), "labels must be"),
    "an order or row numbers": (
        lambda: ROWS.labelled(pd.Series(LABELS)),
        "the default index can mean an order or ids .'0' and '1' here, '299' and '298' in the",
    ),
    "a table without ids": (
        lambda: table(sample_ids=None, labels=SERIES),
        "labels: an index needs sample_ids=",
    ),
    "a store without ids": (
        lambda: store(SERIES, sample_ids=None),
        "labels: an index needs sample_ids=",
    ),
    "a frame of samples × models": (
        lambda: table(confidence=pd.DataFrame(CONFIDENCE, NAMES, IDS).T),
        "confidence: no value for 2 of 2 ids, such as 'small' and 'large'",
    ),
    "a model without a cost": (
        lambda: table(cost={"small": 1}),
        "cost: no value for 1 of 2 ids, such as 'large'",
    ),
    "costs of models without names": (
        lambda: table(names=(), cost={"small": 1, "large": 2}),
        "cost: an index needs .*names=",
    ),
    "logits of more classes": (
        lambda: store(
            macs=None, logits={"small": pd.DataFrame(np.ones((K, 4)), IDS, [*CLASSES, "d"])}
        ),
        "model 'small': 4 columns for 3 classes",
    ),
    "a mask with gaps": (
        lambda: TABLE.take(pd.Series(LABELS == "a", IDS, dtype="boolean").where(LABELS != "b")),
        "the mask must be True or False for each sample",
    ),
    "logits of other samples": (
        lambda: store(
            macs=None, logits={"small": pd.DataFrame(LOGITS["small"], IDS + "x", CLASSES)}
        ),
        "model 'small': no value for 300 of 300 ids",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_cannot_be_aligned_are_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@QUICK
@given(rows=ORDERS, kind=st.sampled_from(["Series", "categorical index", "nullable"]))
def test_a_policy_aligns_the_values_of_its_models(rows, kind):
    policy = cl.Policy(PAIR)
    expected = policy.decide(dict(zip(NAMES, CONFIDENCE)), dict(zip(NAMES, PREDICTIONS)))
    first, second = (pd.Series(values, IDS) for values in CONFIDENCE)
    answers = [keyed(values, rows, kind) for values in PREDICTIONS]
    frame = pd.DataFrame(dict(zip(NAMES, CONFIDENCE)), IDS)
    for confidences in ([first, keyed(second, rows, kind)], frame):
        found = policy.decide(confidences, answers)
        assert found.predictions.tolist() == expected.predictions.tolist()
    with pytest.raises(ValueError, match="confidences: no value for 300 of 300 ids"):
        policy.decide([first, second.rename(lambda name: name + "x")])


def test_series_of_models_are_aligned_by_name():
    cost = pd.Series(COST, NAMES)
    accuracy = pd.Series([0.7, 0.9], NAMES)
    for values in (accuracy[::-1], accuracy.to_dict(), [0.7, 0.9]):
        assert cl.pareto_front(cost, values).tolist() == [0, 1]
        assert cl.Baseline(cost, values).cost_at(0.9) == 9.0
    correct = pd.DataFrame(PREDICTIONS == LABELS, NAMES, IDS)
    confidence = pd.DataFrame(CONFIDENCE, NAMES, IDS)
    expected = cl.search_arrays(correct.to_numpy(), CONFIDENCE, COST, 2)
    found = cl.search_arrays(correct, confidence.iloc[::-1, ::-1], cost[::-1], 2)
    assert found.accuracy.tolist() == expected.accuracy.tolist()
    assert found.cost.tolist() == expected.cost.tolist()


def test_inputs_and_labels_of_a_data_set_are_aligned():
    torch = pytest.importorskip("torch")
    from cascadelib.datasets import Samples

    inputs = pd.DataFrame({"row": np.arange(K), "square": np.arange(K) ** 2}, IDS)
    labels = pd.Series(NUMBERS, IDS)[::-1]
    assert Samples(inputs, labels).labels.tolist() == NUMBERS.tolist()
    named = Samples(inputs.iloc[::-1], labels, IDS)
    assert named.labels.tolist() == NUMBERS.tolist()
    assert torch.equal(named.batch(0, K)[:, 0], torch.arange(K))
    part = named.take(pd.Series(NUMBERS == 1, IDS)[::-1])
    assert part.sample_ids.tolist() == IDS[NUMBERS == 1].tolist()


def test_ids_of_a_model_may_be_numbers():
    empty = cl.LogitStore.from_arrays([0, 1, 0], {}, sample_ids=[1, 2, 3])
    empty.add("small", np.eye(3, 2), sample_ids=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="another order: row 0 is '2', expected '1'"):
        empty.add("large", np.eye(3, 2), sample_ids=pd.Series([2, 1, 3]))


def test_a_missing_label_is_named_by_its_sample():
    for gaps in (pd.Series(LABELS, IDS).where(LABELS != "b")[::-1], [None, *LABELS[1:]]):
        with pytest.raises(ValueError, match=r"labels: .* samples have none .*the first is 'q\d+'"):
            TABLE.labelled(gaps)
    with pytest.raises(ValueError, match=r"groups: .* the first is 'q\d+'"):
        certified(groups=pd.Series(NUMBERS, IDS, dtype="Int64").where(NUMBERS > 0))


def test_known_labels_of_a_column_with_gaps_are_whole_numbers():
    point = cl.Point(NAMES, (0.6,), score="top1", cost_kind="macs", method=cl.Method())
    some = pd.Series(NUMBERS, IDS).where(np.arange(K) < 100)  # float64, as pandas makes them
    unlabelled = store(None)
    expected = cl.certify(
        unlabelled, point, 0.1, reference="large", labels=some.dropna().astype(int)
    )
    found = cl.certify(unlabelled, point, 0.1, reference="large", labels=some[::-1])
    assert found.table.equals(expected.table)
