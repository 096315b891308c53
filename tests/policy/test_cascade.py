"""A running cascade makes the decisions of the evaluator, for every metric and ensemble.

It refuses unsuitable inputs and files.
"""

import copy
import json
import pickle
import subprocess
import sys
import warnings
from collections import deque
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib import Cascade, LogitStore, Method, Point, evaluate, pick, search
from cascadelib.files import ROOT
from cascadelib.policy.cascade import next_batch
from cascadelib.policy.policy import Policy
from cascadelib.zoo.loaders import load

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cascade_runs import same_decisions  # noqa: E402 - benchmarks are no package

VAL, TEST = (LogitStore(f"data/fashion-mnist/{split}") for split in ("val", "test"))
IMAGES = cl.datasets.fashion_mnist("test")
FEW = 500
TABLE = {
    name: np.random.default_rng(i).normal(size=(60, 4)).astype(np.float32)
    for i, name in enumerate("abc")
}


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
    return Rows(change(TABLE[name].copy()))


def make_point(thresholds, method, names="abc"):
    names = tuple(names[: len(thresholds) + 1])
    temperatures = {name: 0.7 + 0.4 * i for i, name in enumerate(names)}
    method = replace(method, temperatures=temperatures) if method.temperature else method
    return Point(names, tuple(thresholds), (0.0,) * len(names), 0.5, 1.0, 1.0, method)


def made(point, changes=None, **kwargs):
    models = {
        name: rows_model(name, (changes or {}).get(name, lambda z: z)) for name in point.models
    }
    return Cascade.from_point(
        point, {name: (m, torch.as_tensor) for name, m in models.items()}, **kwargs
    )


def one_sample(point, j, tables):
    """Reference implementation of algorithm 1 for one sample: prediction, stage, confidence."""
    method = point.method
    surest = None
    total = 0
    votes = []
    for i, name in enumerate(point.models):
        z = tables[name][j].astype(np.float64) / method.temperature_of(name)
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        total = total + (z if method.ensemble == "mean_logits" else p)
        if method.ensemble.startswith("mean"):
            z = total / (i + 1)
            p = np.exp(z) / np.exp(z).sum() if method.ensemble == "mean_logits" else z
        ranked = np.sort(p)[::-1]
        confidence = {
            "max_softmax": ranked[0],
            "softmax_margin": ranked[0] - ranked[1],
            "logits_margin": np.sort(z)[-1] - np.sort(z)[-2],
            "entropy": np.sum(p * np.log(p)),
            "top2_softmax_sum": ranked[:2].sum(),
        }[method.metric]
        answer = (p.argmax(), confidence)
        votes.append(answer)
        if method.ensemble == "vote":
            most = max(sum(v[0] == w[0] for v in votes) for w in votes)
            tied = [v for v in votes if sum(v[0] == w[0] for w in votes) == most]
            answer = max(tied, key=lambda v: v[1])
        if method.ensemble == "most_confident" and surest is not None and surest[1] >= confidence:
            answer = surest
        surest = answer
        own = -answer[1] if method.metric == "entropy" else answer[1]
        last = i + 1 == len(point.models)
        if last or (
            own <= point.thresholds[i] if method.metric == "entropy" else own >= point.thresholds[i]
        ):
            return answer[0], i, own


ENSEMBLES = ["none", "mean_logits", "mean_softmax", "most_confident", "vote"]
METRICS = ["max_softmax", "softmax_margin", "logits_margin", "entropy", "top2_softmax_sum"]
ALL = [(m, e) for m in METRICS for e in ENSEMBLES if (m, e) != ("logits_margin", "mean_softmax")]


@pytest.mark.parametrize("temperature", [False, True])
@pytest.mark.parametrize(("metric", "ensemble"), ALL)
def test_every_metric_and_ensemble_equals_a_loop(metric, ensemble, temperature):
    rng = np.random.default_rng(0)
    for n in (0, 1, 2):
        point = make_point(rng.uniform(0.3, 0.9, n), Method(metric, ensemble, temperature))
        cascade = made(point)
        expected = [one_sample(point, j, TABLE) for j in range(60)]
        for decisions in (cascade(np.arange(60)), cascade.run(np.split(np.arange(60), 12), 8)):
            assert decisions.predictions.tolist() == [e[0] for e in expected]
            assert decisions.exit_stage.tolist() == [e[1] for e in expected]
            np.testing.assert_allclose(decisions.confidence, [e[2] for e in expected], rtol=1e-9)


def mean_of(logits):
    return logits.mean(axis=0)


def test_a_custom_ensemble_equals_the_built_in_one():
    own, mean = (
        made(make_point([0.5, 0.6], Method("entropy", e, True)))(np.arange(60))
        for e in (mean_of, "mean_logits")
    )
    np.testing.assert_array_equal(own.predictions, mean.predictions)
    np.testing.assert_allclose(own.confidence, mean.confidence, rtol=1e-12)


@settings(max_examples=40)
@given(
    st.lists(st.integers(0, 9), max_size=8),
    st.integers(1, 20),
    st.lists(st.floats(0.2, 1), min_size=1, max_size=2),
)
def test_batches_of_any_size_give_equal_decisions(sizes, batch_size, thresholds):
    point = make_point(thresholds, Method("max_softmax", "mean_logits"))
    cascade = made(point)
    ends = np.cumsum([0, *sizes])
    whole = cascade(np.arange(ends[-1]) % 60)
    pieces = cascade.run([np.arange(a, b) % 60 for a, b in zip(ends, ends[1:])], batch_size)
    assert len(whole) == len(pieces) == ends[-1]
    for part in ("predictions", "exit_stage", "confidence", "confidences"):
        np.testing.assert_array_equal(getattr(whole, part), getattr(pieces, part))


def test_only_deferred_samples_reach_later_models_in_full_batches():
    cascade = made(make_point([0.6], Method()))
    stage = cascade(np.arange(60)).exit_stage
    first, second = cascade.models
    assert first.seen == [list(range(60))] and second.seen == [np.flatnonzero(stage == 1).tolist()]
    cascade = made(make_point([0.6], Method()))
    cascade.run(np.split(np.tile(np.arange(60), 5), 60), 10)
    for model, count in zip(cascade.models, (300, 5 * (stage == 1).sum())):
        sizes = [len(seen) for seen in model.seen]
        assert set(sizes[:-1]) == {10} and sizes[-1] <= 10 and sum(sizes) == count


@pytest.mark.parametrize(("batch_size", "waiting"), [(8, 64), (30, 60), (70, 70)])
def test_a_stream_is_decided_as_soon_as_a_batch_is_full(batch_size, waiting):
    cascade = made(make_point([0.6], Method()))
    came = []

    def one_by_one():
        for row in range(waiting):
            assert not cascade.models[0].seen
            came.append(row)
            yield np.array([row % 60])
        assert sum(map(len, cascade.models[0].seen)) == waiting

    assert len(cascade.run(one_by_one(), batch_size)) == len(came) == waiting


@pytest.mark.parametrize(
    ("method", "n"),
    [
        ("max_softmax", 2),
        ("entropy", 3),
        ("max_softmax_mean_logits_ts", 3),
        ("entropy_most_confident_ts", 2),
    ],
)
def test_decisions_on_the_bundled_zoo_equal_the_evaluator(method, n):
    front = search(
        VAL, n, method, models=["mlp@28", "lenet@28", "resnet18_w8@28", "resnet18_w16@28"]
    )
    point = front.point(int(len(front) * 0.8))
    decisions = Cascade.from_point(point, store=VAL).run(
        (IMAGES.batch(i, i + 50) for i in range(0, FEW, 50)), 64
    )
    counts = same_decisions(TEST.take(slice(0, FEW)), point, decisions)
    assert counts["other"] == 0 and counts["near"] <= 2 and counts["same"] + counts["near"] == FEW


def spoil(rows, value):
    def change(z):
        z[rows, 1] = value
        return z

    return change


@pytest.mark.parametrize("ensemble", [*ENSEMBLES, mean_of])
def test_samples_with_broken_logits_are_deferred_to_the_last_model(ensemble):
    point = make_point([0.5, 0.5], Method("max_softmax", ensemble))
    cascade = made(
        point, {"a": spoil([3, 5, 7], np.nan), "b": spoil([4], np.inf), "c": spoil([7], np.nan)}
    )
    with pytest.warns(RuntimeWarning, match="'a' for 3 samples"):
        decisions = cascade(np.arange(60))
    assert (decisions.exit_stage[[3, 5, 7]] == 2).all()
    assert not set(cascade.models[1].seen[0]) & {3, 5, 7}
    assert decisions.predictions[[3, 5]].tolist() == TABLE["c"][[3, 5]].argmax(1).tolist()
    assert decisions.predictions[7] == -1 and np.isnan(decisions.confidence[7])
    assert decisions.failure_counts.tolist()[0] == 3
    whole = made(point)(np.arange(60))
    rest = np.setdiff1d(np.arange(60), [3, 4, 5, 7])
    np.testing.assert_array_equal(decisions.predictions[rest], whole.predictions[rest])


def test_a_broken_last_model_keeps_the_previous_output():
    cascade = made(make_point([2.0], Method()), {"b": spoil([0], np.nan)})
    with pytest.warns(RuntimeWarning, match="kept the previous output"):
        decisions = cascade(np.arange(3))
    assert decisions.predictions[0] == TABLE["a"][0].argmax() and decisions.exit_stage.tolist() == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("batch", [torch.empty(0), np.empty(0), [], {"rows": torch.empty(0)}])
def test_an_empty_batch_gives_empty_decisions(batch):
    decisions = made(make_point([0.5], Method()))(batch)
    assert len(decisions) == 0 and decisions.confidences.shape == (0, 2)


@pytest.mark.parametrize(
    ("thresholds", "stage"), [((-np.inf, 0.5), 0), ((np.inf, -np.inf), 1), ((np.inf, np.inf), 2)]
)
def test_infinite_thresholds_always_or_never_exit(thresholds, stage):
    assert (made(make_point(thresholds, Method()))(np.arange(60)).exit_stage == stage).all()


class Words(torch.nn.Module):
    """A model of texts, whose keywords are tensors of a tokenizer."""

    def __init__(self, classes=4):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(300, classes)

    def forward(self, input_ids, attention_mask):
        return (self.table(input_ids) * attention_mask[..., None]).sum(1)


def tokens(texts):
    """Characters as tokens, padded to the longest text of the batch."""
    width = max(map(len, texts))
    ids = torch.tensor([[ord(c) % 300 for c in text.ljust(width)] for text in texts])
    lengths = torch.tensor([[len(text)] for text in texts])
    return {"input_ids": ids, "attention_mask": (torch.arange(width) < lengths).float()}


def test_texts_and_tokens_give_equal_decisions():
    texts = ["a", "few words", "and many more of them", "x" * 40]
    point = make_point([0.9], Method(), "ab")
    plain = Cascade.from_point(point, {"a": (Words(), tokens), "b": (Words(), tokens)})(
        tuple(texts)
    )
    as_tensors = {name: (Words(), dict) for name in "ab"}
    tokenized = Cascade.from_point(point, as_tensors)(tokens(texts))
    np.testing.assert_array_equal(plain.predictions, tokenized.predictions)
    assert (plain.exit_stage == tokenized.exit_stage).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_narrow_dtypes_give_nearly_equal_predictions(dtype):
    point = pick(search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    cascade = Cascade.from_point(point, {name: load(name) for name in point.models})
    wide = cascade(IMAGES.batch(0, 200))
    narrow = cascade.to(dtype)(IMAGES.batch(0, 200))
    assert (wide.predictions == narrow.predictions).mean() > 0.97


def test_a_cascade_stays_in_eval_mode():
    cascade = Cascade.from_point(
        pick(search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
    )
    assert not any(m.training for m in cascade.train().modules())


def saved(tmp_path, **kwargs):
    point = pick(
        search(VAL, 2, "max_softmax_mean_logits_ts", models=["mlp@28", "lenet@28"]),
        "max_improvement",
    )
    Cascade.from_point(point, **kwargs).save(tmp_path / "c.json")
    return tmp_path / "c.json", point


def test_a_new_process_makes_equal_decisions(tmp_path):
    path, point = saved(tmp_path, store=VAL, held_out=TEST)
    code = (
        "import sys, numpy as np, cascadelib as cl; c = cl.Cascade.load(sys.argv[1]); "
        "d = c(cl.datasets.fashion_mnist('test').batch(0, 200)); "
        "print(d.exit_stage.tolist(), d.predictions.tolist())"
    )
    said = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code, path],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    here = Cascade.from_point(point)(IMAGES.batch(0, 200))
    assert said.stdout.strip() == f"{here.exit_stage.tolist()} {here.predictions.tolist()}", (
        said.stderr
    )


def test_loading_names_differences_from_the_record(tmp_path):
    path, point = saved(tmp_path, store=VAL)
    other = load("mlp@28")
    with torch.no_grad():
        next(other.module.parameters()).add_(0.01)
    with pytest.warns(
        UserWarning, match=r"c\.json: model 'mlp@28': weights_sha256 is not as recorded"
    ):
        loaded = Cascade.load(path, {"mlp@28": other})
    assert len(loaded.differences) == 1
    point = Policy.load(path).point
    Policy(replace(point, versions={"torch": "1.0", "antikythera": "2"})).save(path)
    with pytest.warns(
        UserWarning, match=r"torch is .*, it was 1\.0; antikythera is missing, it was 2"
    ):
        Cascade.load(path)


def test_weights_are_recorded_without_a_store(tmp_path):
    path, _ = saved(tmp_path)
    recorded = Policy.load(path).point.records[0]
    assert recorded["weights_sha256"] == VAL.metadata("mlp@28")["extraction"]["weights_sha256"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Cascade.load(path).differences == ()


def test_from_point_refuses_models(tmp_path):
    point = make_point([0.5], Method(), "ab")
    with pytest.raises(ValueError, match=r"unknown model 'b'.*pass the model: models=\{'b'"):
        Cascade.from_point(point, {"a": rows_model("a")})
    with pytest.raises(ValueError, match="unknown model of this cascade 'c'"):
        Cascade.from_point(point, {"c": rows_model("c")})
    with pytest.raises(ValueError, match="model 'b' must be a torch module"):
        Cascade.from_point(point, {"a": rows_model("a"), "b": 3})
    with pytest.raises(ValueError, match="ScoreTable"):
        Cascade.from_point(replace(point, method=None), {name: rows_model(name) for name in "ab"})


def test_models_that_the_cascade_does_not_use_are_ignored():
    models = {name: rows_model(name) for name in "abc"}
    pair = Cascade.from_point(make_point([0.5], Method(), "ab"), models)
    assert [member.name for member in pair.members] == ["a", "b"]
    alone = Cascade.from_point(Point(("b",), (), (1.0,), method=Method()), models)
    assert (alone(np.arange(5)).exit_stage == 0).all()


def test_models_with_different_numbers_of_classes_are_refused():
    narrow = {"b": lambda z: z[:, :3]}
    with pytest.raises(ValueError, match=r"same number of classes, not \{'a': 4, 'b': 3\}"):
        made(make_point([2.0], Method()), narrow)(np.arange(5))
    records = tuple({"name": name, "classes": classes} for name, classes in (("a", 4), ("b", 3)))
    point = replace(make_point([2.0], Method()), records=records)
    with pytest.raises(ValueError, match="same number of classes"):
        Cascade(point, {name: rows_model(name) for name in "ab"})


@pytest.mark.parametrize(
    ("output", "message"),
    [(torch.zeros(2, 4), "gave float32"), (torch.zeros(5), "gave float32"), ("no", "gave <U2")],
)
def test_outputs_that_are_not_logits_are_refused(output, message):
    with pytest.raises(ValueError, match=f"model 'a' {message}"):
        Cascade.from_point(
            make_point([0.5], Method()), {"a": lambda b: output, "b": lambda b: output}
        )(np.arange(5))


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5), (np.nan,)])
def test_thresholds_can_be_set_to_valid_values_only(thresholds):
    cascade = made(make_point([0.5], Method()))
    cascade.thresholds = (-np.inf,)
    assert (cascade(np.arange(60)).exit_stage == 0).all()
    with pytest.raises(ValueError, match="1 thresholds"):
        cascade.thresholds = thresholds


def test_a_saved_cascade_is_small_json(tmp_path):
    path, _ = saved(tmp_path, store=VAL, held_out=TEST)
    parts = json.loads(path.read_text())
    assert parts["format"] == "cascadelib cascade"
    digests = [parts["chosen_on"][0].pop(name) for name in ("keys", "rows")]
    assert len(json.dumps(parts)) < 12_000  # without the digests of samples
    assert len(json.dumps(digests)) < 12 * len(VAL) + 180_000
    assert evaluate(TEST, Policy.load(path)).accuracy > 0.85


def breaking(batches, error):
    yield from batches
    raise error


@pytest.mark.parametrize("error", [ConnectionError("the camera went away"), KeyboardInterrupt()])
def test_a_broken_stream_returns_the_decisions_so_far(error):
    cascade = made(make_point([0.6], Method()))
    rows = np.arange(150) % 60
    whole = made(make_point([0.6], Method()))(rows)
    with pytest.raises(type(error)) as caught:
        cascade.run(breaking(np.split(rows, 30), error), 8)
    decided = caught.value.decided
    assert caught.value is error and len(decided) == 150
    done = decided.exit_stage >= 0
    assert 0 < done.sum() < 150
    for part in ("predictions", "exit_stage", "confidence"):
        np.testing.assert_array_equal(getattr(decided, part)[done], getattr(whole, part)[done])
    assert (decided.predictions[~done] == -1).all() and np.isnan(decided.confidence[~done]).all()
    assert "150 samples" in repr(decided)


def test_a_failed_model_returns_the_decisions_so_far():
    def failing(rows):
        raise TimeoutError("no answer")

    point = make_point([0.6], Method(), "ab")
    with pytest.raises(TimeoutError, match="no answer") as caught:
        Cascade.from_point(point, {"a": (rows_model("a"), torch.as_tensor), "b": failing})(
            np.arange(60)
        )
    stage = made(point)(np.arange(60)).exit_stage
    np.testing.assert_array_equal(caught.value.decided.exit_stage == 0, stage == 0)


class Closed(ConnectionError):
    """An error that takes no attributes."""

    def __setattr__(self, name, value):
        raise TypeError(f"no {name} here")


def test_an_error_without_attributes_is_raised_unchanged():
    error = Closed("the camera went away")
    with pytest.raises(Closed) as caught:
        made(make_point([0.6], Method())).run(breaking([np.arange(5)], error), 8)
    assert caught.value is error and not hasattr(error, "decided")


@pytest.mark.parametrize("stream", [None, 5, np.array(5), torch.tensor(5), np.arange], ids=repr)
def test_a_stream_must_be_an_iterable(stream):
    with pytest.raises(ValueError, match="a stream of batches is needed"):
        made(make_point([0.6], Method())).run(stream)


def test_guesses_are_at_most_the_classes():
    cascade = made(make_point([0.6], Method()))
    assert cascade.run([np.arange(5)], guesses=4).guesses.shape == (5, 4)
    fresh = made(make_point([0.6], Method()))
    with pytest.raises(ValueError, match="guesses must be .* from 1 to 4, not 5") as caught:
        fresh.run([np.arange(60)], guesses=5)
    assert len(caught.value.decided) == 60
    for one in (cascade, made(make_point([0.6], Method()))):
        with pytest.raises(ValueError, match="guesses must be a whole number from 1 to"):
            one.run([np.arange(60)], guesses=10**9)
    with pytest.raises(ValueError, match="a vote"):
        made(make_point([0.6], Method(ensemble="vote"))).run([np.arange(60)], guesses=2)


@pytest.mark.parametrize("ensemble", ENSEMBLES)
@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, np.int8, np.uint64, ">f4", ">f8"])
def test_logits_of_any_number_type_give_equal_decisions(dtype, ensemble):
    point = make_point([0.6, 0.7], Method("max_softmax", ensemble))
    whole = {name: np.round(logits * 8) + 40 for name, logits in TABLE.items()}

    def decided(kind):
        models = {name: lambda rows, name=name: whole[name][rows].astype(kind) for name in "abc"}
        return Cascade.from_point(point, models)(np.arange(60))

    for part in ("predictions", "exit_stage", "confidence"):
        np.testing.assert_allclose(
            getattr(decided(dtype), part), getattr(decided(np.float64), part), rtol=1e-6
        )


def test_masked_values_are_refused():
    point = make_point([0.6], Method(), "ab")
    hidden = np.ma.masked_array(np.arange(5), np.arange(5) == 2)
    cascade = Cascade.from_point(
        point, {n: lambda rows, n=n: TABLE[n][np.asarray(rows)] for n in "ab"}
    )
    for batch in (hidden, {"x": hidden}, [hidden, hidden]):
        with pytest.raises(ValueError, match="model 'a': a batch: .* masked"):
            cascade(batch)
    assert len(cascade(np.ma.masked_array(np.arange(5), False))) == 5
    for output in (
        np.ma.masked_less(TABLE["a"], 0),
        list(np.ma.masked_less(TABLE["a"], 0)),
        [[1], [1, 2]],
    ):
        with pytest.raises(ValueError, match="model 'a': "):
            Cascade.from_point(point, {n: lambda rows, o=output: o for n in "ab"})(np.arange(60))


LONG = "x" * 5000


@pytest.mark.parametrize(
    "name", [LONG, f"x/{LONG}", f"/{LONG}", "\0", "a\nb", "resnet18@²", "resnet18@" + "9" * 5000]
)
def test_impossible_names_are_refused_with_the_file(tmp_path, monkeypatch, name):
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    Policy.from_point(replace(make_point([0.5], Method(), "ab"), models=(name, "b"))).save(
        tmp_path / "c.json"
    )
    for allowed in (False, True):
        with pytest.raises((ValueError, ConnectionError), match=r"c\.json: ") as caught:
            Cascade.load(tmp_path / "c.json", {"b": rows_model("b")}, allow_download=allowed)
        assert type(caught.value) in (ValueError, ConnectionError)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "8", None])
def test_batch_sizes_are_whole_numbers(size, tmp_path):
    cascade = made(make_point([0.6], Method()))
    for call in (
        lambda: cascade.run([np.arange(5)], size),
        lambda: cl.policy.pieces_of(np.arange(5), size),
    ):
        with pytest.raises(ValueError, match="batch_size must be a whole number"):
            call()
    with pytest.raises(ValueError, match="guesses must be a whole number"):
        cascade.run([np.arange(5)], guesses=size)


@cache
def grey_point():
    return pick(search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")


UNFIT = {
    "texts": (["a shoe", "a bag"], r"list \[2\]; expected inputs of GreyImages"),
    "no batch": (None, r"not None: a tensor or array \[N"),
    "one number": (7, "a batch is needed, not 7"),
    "a scalar": (np.float32(7), "a batch is needed"),
    "a generator": (iter([1]), "a batch is needed"),
    "a set": ({1, 2}, "a batch is needed"),
    "too few dimensions": (np.zeros((3, 28), np.uint8), r"cannot run on uint8 \[3, 28\]"),
    "too many": (torch.zeros(3, 1, 28, 28, 2), r"cannot run on torch.float32 \[3, 1, 28, 28, 2\]"),
    "objects": (np.array([None, None]), r"cannot run on object \[2\]"),
    "names": ({"image": np.zeros((2, 28, 28), np.uint8)}, r"cannot run on dict \[1\]"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_unsuitable_inputs_are_refused_with_the_expected_form(case):
    batch, message = UNFIT[case]
    cascade = Cascade.from_point(grey_point())
    for run in (cascade, lambda batch: cascade.run([batch], 64)):
        with pytest.raises(ValueError, match=f"model 'mlp@28'.*{message}"):
            run(batch)


def test_batches_without_a_key_are_refused_and_two_forms_run_separately():
    cascade = Cascade.from_point(
        make_point([0.9], Method(), "ab"), {name: (Words(), dict) for name in "ab"}
    )
    with pytest.raises(ValueError, match=r"model 'a' cannot run on dict \[1\].*attention_mask"):
        cascade({"input_ids": torch.zeros(2, 3, dtype=torch.long)})
    grey = Cascade.from_point(grey_point())
    images = IMAGES.batch(0, 4)
    both = grey.run([images, images.float()], 64)
    alone = [grey(batch).predictions.tolist() for batch in (images, images.float())]
    assert both.predictions.tolist() == alone[0] + alone[1]
    for second in (["text"], {"x": torch.zeros(2, 28, 28)}):
        with pytest.raises(ValueError, match="model 'mlp@28' cannot run on") as caught:
            grey.run([torch.zeros(2, 28, 28), second], 64)
        assert (caught.value.decided.exit_stage[-1:] == -1).all()


def test_a_cascade_can_be_copied_and_pickled():
    cascade = Cascade.from_point(grey_point())
    images = IMAGES.batch(0, 20)
    for again in (copy.deepcopy(cascade), pickle.loads(pickle.dumps(cascade))):
        np.testing.assert_array_equal(again(images).predictions, cascade(images).predictions)


def test_a_file_may_not_name_a_folder_or_a_repository(tmp_path, monkeypatch):
    """A folder whose config names its own code is refused. With allow_download the code does not
    run."""
    monkeypatch.chdir(tmp_path)
    tiny.save(tmp_path / "evil", tiny.module())
    config = json.loads((tmp_path / "evil" / "config.json").read_text())
    names = {"AutoConfig": "own.Config", "AutoModelForSequenceClassification": "own.Own"}
    (tmp_path / "evil" / "config.json").write_text(
        json.dumps(config | {"model_type": "own", "auto_map": names})
    )
    (tmp_path / "evil" / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    for name in ("evil", "nobody/nothing"):
        Policy.from_point(replace(make_point([0.5], Method(), "ab"), models=(name, "b"))).save(
            "c.json"
        )
        with pytest.raises(
            ValueError, match=rf"c\.json: unknown model '{name}'.*models=.*allow_download=True"
        ):
            Cascade.load("c.json", {"b": rows_model("b")})
        with pytest.raises((ValueError, ConnectionError), match=rf"c\.json: .*{name}"):
            Cascade.load("c.json", {"b": rows_model("b")}, allow_download=True)
        handed = {name: rows_model("a"), "b": rows_model("b")}
        assert len(Cascade.load("c.json", handed)(np.arange(5))) == 5
    assert not (tmp_path / "ran").exists()
    tiny.save(tmp_path / "good", tiny.module())
    Policy.from_point(replace(make_point([0.5], Method(), "ab"), models=("good", "b"))).save(
        "c.json"
    )
    assert (
        Cascade.load("c.json", {"b": rows_model("b")}, allow_download=True).members[0].name
        == "good"
    )


@dataclass
class Numbers:
    numbers: list
    kind: str

    def __len__(self):
        return len(self.numbers)

    def take(self, rows):
        return Numbers(self.numbers[rows], self.kind)

    def joined(self, others):
        return Numbers(sum((other.numbers for other in others), self.numbers), self.kind)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from("ab")), max_size=20), st.integers(1, 5)
)
def test_inputs_keep_their_order_in_full_batches_of_one_kind(arrivals, size):
    waiting = deque()
    expected = []
    for count, kind in arrivals:
        numbers = list(range(len(expected), len(expected) + count))
        expected += [(number, kind) for number in numbers]
        waiting.append(Numbers(numbers, kind))
    batches = []
    while waiting:
        batches.append(next_batch(waiting, size))
    assert [(n, batch.kind) for batch in batches for n in batch.numbers] == expected
    assert all(len(batch) <= size for batch in batches)
    for batch, after in zip(batches, batches[1:]):
        assert len(batch) == size or after.kind != batch.kind
