"""A running cascade makes the decisions of the evaluator, for every metric and ensemble.

It refuses unsuitable inputs and files.
"""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from policies import same_decisions
from references import slow_output

import cascadelib as cl
from cascadelib import Cascade, Method, Point, search
from cascadelib.policy.policy import Policy
from cascadelib.zoo.loaders import load

IMAGES = cl.datasets.fashion_mnist("test")
FEW = 500
ROWS = np.arange(60)
TABLE = {
    name: np.random.default_rng(i).normal(size=(60, 4)).astype(np.float32)
    for i, name in enumerate("abc")
}
PARTS = ("predictions", "exit_stage", "confidence")


class Rows(torch.nn.Module):
    """A model that reads its logits by row number."""

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.from_numpy(logits))
        self.seen = []

    def forward(self, rows):
        self.seen.append(rows.long().tolist())
        return self.logits[rows.long()]


def rows_model(name, change=lambda z: z):
    return Rows(change(TABLE[name].copy())), torch.as_tensor


def make_point(thresholds=(0.6,), method=None, names="abc"):
    method = method or Method()
    names = tuple(names[: len(thresholds) + 1])
    temperatures = {name: 0.7 + 0.4 * i for i, name in enumerate(names)}
    method = replace(method, temperatures=temperatures) if method.temperature else method
    return Point(names, tuple(thresholds), (0.0,) * len(names), 0.5, 1.0, 1.0, method)


def made(point=None, **changes):
    """The cascade of a point, by default of two models, with changes of the logits by name."""
    point = point or make_point()
    return Cascade.from_point(
        point, {name: rows_model(name, changes.get(name, lambda z: z)) for name in point.models}
    )


def one_sample(point, j):
    """Reference implementation of algorithm 1 for one sample: prediction, stage, confidence."""
    method = point.method
    logits = []
    for stage, name in enumerate(point.models):
        logits.append(TABLE[name][j].astype(np.float64) / method.temperature_of(name))
        answer, confidence = slow_output(logits, method.metric, method.ensemble)
        sign = -1 if method.metric == "entropy" else 1
        limit = sign * (*point.thresholds, -sign * np.inf)[stage]
        if confidence >= limit:
            return answer, stage, sign * confidence


ENSEMBLES = ["none", "mean_logits", "mean_softmax", "most_confident"]
METRICS = ["max_softmax", "softmax_margin", "logits_margin", "entropy", "top2_softmax_sum"]
ALL = [(m, e) for m in METRICS for e in ENSEMBLES if (m, e) != ("logits_margin", "mean_softmax")]


@pytest.mark.parametrize("temperature", [False, True])
@pytest.mark.parametrize(("metric", "ensemble"), ALL)
def test_every_metric_and_ensemble_equals_a_loop(metric, ensemble, temperature):
    rng = np.random.default_rng(0)
    for n in (0, 1, 2):
        point = make_point(rng.uniform(0.3, 0.9, n), Method(metric, ensemble, temperature))
        cascade = made(point)
        expected = [one_sample(point, j) for j in ROWS]
        for decisions in (cascade(ROWS), cascade.run(np.split(ROWS, 12))):
            assert decisions.predictions.tolist() == [e[0] for e in expected]
            assert decisions.exit_stage.tolist() == [e[1] for e in expected]
            np.testing.assert_allclose(decisions.confidence, [e[2] for e in expected], rtol=1e-9)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 9), max_size=8),
    st.lists(st.floats(0.2, 1) | st.sampled_from([-np.inf, np.inf]), min_size=1, max_size=2),
)
def test_batches_of_any_size_give_equal_decisions(sizes, thresholds):
    cascade = made(make_point(thresholds, Method("max_softmax", "mean_logits")))
    rows = np.arange(sum(sizes)) % 60
    whole = cascade(rows)
    pieces = cascade.run(np.split(rows, np.cumsum(sizes)))
    assert pieces.ids.tolist() == list(range(len(rows)))
    for part in (*PARTS, "confidences", "answers", "answered"):
        np.testing.assert_array_equal(getattr(whole, part), getattr(pieces, part))


def test_only_deferred_samples_reach_later_models():
    cascade = made()
    stage = cascade(ROWS).exit_stage
    first, second = cascade.models
    assert first.seen == [list(range(60))] and second.seen == [np.flatnonzero(stage == 1).tolist()]


def test_decisions_on_the_bundled_zoo_equal_the_evaluator(val, held_out):
    models = ["mlp@28", "lenet@28", "resnet18_w8@28"]
    front = search(val, 3, "max_softmax_mean_logits_ts", models=models)
    point = front.point(int(len(front) * 0.8))
    decisions = Cascade.from_point(point, store=val).run(
        IMAGES.batch(i, i + 50) for i in range(0, FEW, 50)
    )
    counts = same_decisions(held_out.take(slice(0, FEW)), point, decisions)
    assert counts["other"] == 0 and counts["near"] <= 2 and counts["same"] + counts["near"] == FEW


def spoil(rows, value=np.nan):
    def change(z):
        z[rows, 1] = value
        return z

    return change


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_samples_with_broken_logits_are_deferred_and_keep_their_previous_output(ensemble):
    point = make_point([0.5, 0.5], Method("max_softmax", ensemble))
    cascade = made(point, a=spoil([3, 5, 7]), b=spoil([4, 7], np.inf), c=spoil([7]))
    with pytest.warns(RuntimeWarning, match="by model: {'a': 3, 'b': .*, 'c': 1}. These"):
        decisions = cascade(ROWS)
    assert {3, 5, 7} <= set(cascade.models[1].seen[0])
    assert decisions.predictions[7] == decisions.answered[7] == -1
    assert np.isnan(decisions.confidence[7]) and decisions.exit_stage[7] == 2
    assert decisions.answers[[3, 5], 1].tolist() == TABLE["b"][[3, 5]].argmax(1).tolist()
    kept = made(make_point([2.0]), b=spoil([0]))(np.arange(3))
    assert kept.predictions[0] == TABLE["a"][0].argmax() and kept.exit_stage[0] == 1
    rest = np.setdiff1d(ROWS, [3, 4, 5, 7])
    np.testing.assert_array_equal(decisions.predictions[rest], made(point)(ROWS).predictions[rest])


def test_loading_names_differences_from_the_record(tmp_path, small_point):
    """Weights are recorded without a store, too."""
    path = tmp_path / "c.json"
    Cascade.from_point(small_point).save(path)
    assert Cascade.load(path).differences == ()
    other = load("mlp@28")
    with torch.no_grad():
        next(other.module.parameters()).add_(0.01)
    words = r"c\.json: model 'mlp@28': weights_sha256 is not as recorded"
    with pytest.warns(UserWarning, match=words):
        loaded = Cascade.load(path, {"mlp@28": other})
    assert len(loaded.differences) == 1
    Policy(replace(small_point, versions={"torch": "1.0", "antikythera": "2"})).save(path)
    words = r"torch is .*, it was 1\.0; antikythera is missing, it was 2"
    with pytest.warns(UserWarning, match=words):
        Cascade.load(path)


@pytest.mark.parametrize("error", [TimeoutError("no answer"), KeyboardInterrupt()])
def test_a_failure_returns_the_decisions_of_the_batches_before(error):
    def failing(rows):
        if 40 in rows:
            raise error
        return TABLE["a"][rows]

    with pytest.raises(type(error)) as caught:
        Cascade.from_point(make_point([], names="a"), {"a": failing}).run(np.split(ROWS, 6))
    assert caught.value is error and caught.value.decided.ids.tolist() == list(range(40))


def built(models=None, **changed):
    """The cascade of two models, with changes of its point."""
    models = {name: rows_model(name) for name in "ab"} | (models or {})
    return Cascade.from_point(replace(make_point(), **changed), models)


def answering(output):
    """The decisions of a cascade whose models always return an output."""
    return built({name: lambda rows: output for name in "ab"})(np.arange(5))


RECORDS = tuple({"name": name, "classes": classes} for name, classes in (("a", 4), ("b", 3)))
MASKED = np.ma.masked_array(np.arange(5), np.arange(5) == 2)
HIDDEN = np.ma.masked_less(TABLE["a"][:5], 0)
LISTS = {name: lambda rows, name=name: TABLE[name][np.asarray(rows)] for name in "ab"}
REFUSED = [
    (lambda: Cascade.from_point(make_point(), {"a": rows_model("a")}), "unknown model 'b'.*pass"),
    (lambda: Cascade.from_point(make_point(), {"c": rows_model("c")}), "unknown model of this cas"),
    (lambda: built({"b": 3}), "model 'b' must be a torch module"),
    (lambda: built(method=None), "this cascade is of a ScoreTable"),
    (lambda: built(records=RECORDS), "the models of a cascade must have the same number of cla"),
    (
        lambda: made(make_point([2.0]), b=lambda z: z[:, :3])(ROWS),
        r"the models of a cascade must have the same number of classes, not \{'a': 4, 'b': 3\}",
    ),
    (lambda: answering(torch.zeros(2, 4)), "model 'a' gave float32"),
    (lambda: answering(HIDDEN), "model 'a': "),
    (lambda: answering(list(HIDDEN)), "model 'a': "),
    (lambda: answering([[1], [1, 2]]), "model 'a': "),
    *((partial(built(LISTS), b), "model 'a': a batch: .* masked") for b in (MASKED, {"x": MASKED})),
    (partial(built(LISTS), [MASKED, MASKED]), "model 'a': a batch: .* masked"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_a_cascade_refuses(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


UNFIT = {
    "texts": (["a shoe", "a bag"], r"list \[2\]; expected inputs of GreyImages"),
    "no batch": (None, r"not None: a tensor or array \[N"),
    "one number": (7, "a batch is needed, not 7"),
    "too few dimensions": (np.zeros((3, 28), np.uint8), r"cannot run on uint8 \[3, 28\]"),
    "names": ({"image": np.zeros((2, 28, 28), np.uint8)}, r"cannot run on dict \[1\]"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unsuitable_inputs_are_refused_with_the_expected_form(small_point, case):
    batch, message = UNFIT[case]
    cascade = Cascade.from_point(small_point)
    with pytest.raises(ValueError, match=f"model 'mlp@28'.*{message}"):
        cascade(batch)


def test_a_file_may_not_name_a_folder_or_a_repository(tmp_path, monkeypatch, offline):
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "good", tiny.module())
    b = {"b": rows_model("b")}
    for name in ("good", "nobody/nothing", "\0", "resnet18@" + "9" * 5000):
        Policy(replace(make_point(), models=(name, "b"))).save("c.json")
        with pytest.raises(ValueError, match=r"c\.json: .*models=.*allow_download=True"):
            Cascade.load("c.json", b)
        assert len(Cascade.load("c.json", {name: rows_model("a"), **b})(np.arange(5))) == 5
    Policy(replace(make_point(), models=("good", "b"))).save("c.json")
    assert Cascade.load("c.json", b, allow_download=True).members[0].name == "good"
