"""A policy makes the decisions of the evaluator, shares its file with a cascade, and needs NumPy
only."""

import math
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_stores import noisy_store

from cascadelib import Cascade, Method, Point, Policy, ScoreTable, pick, search
from cascadelib.files import ROOT
from cascadelib.policy import text_of

STORE = noisy_store(k=200, models=3, classes=4, ease=None)
MODULES = {name: torch.nn.Identity() for name in STORE.models.index}


@cache
def a_point():
    return pick(search(STORE, 3, "entropy"), "max_improvement")


SCORES = st.sampled_from([-math.inf, 0.0, 0.25, 0.5, math.inf])


@given(st.lists(SCORES, min_size=1, max_size=3), st.lists(SCORES | st.just(math.nan), min_size=1))
def test_exits_at_ties_infinite_thresholds_and_nan(thresholds, confidence):
    """At −inf all exit, at inf none, and nan is deferred. After the last stage all exit."""
    policy = Policy(Point(tuple(f"m{i}" for i in range(len(thresholds) + 1)), tuple(thresholds)))
    for i, t in enumerate(thresholds):
        expected = [t == -math.inf or c >= t and t != math.inf for c in confidence]
        assert policy.step(i, confidence, confidence)[0].tolist() == expected
    assert policy.step(len(thresholds), confidence)[0].all()


def test_policy_and_cascade_share_the_file(tmp_path):
    cascade = Cascade.from_point(a_point(), MODULES, STORE)
    cascade.save(tmp_path / "cascade.json")
    policy = Policy.load(tmp_path / "cascade.json")
    assert policy == cascade.policy
    assert policy.models == a_point().models and policy.thresholds == a_point().thresholds
    policy.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "cascade.json").read_bytes()
    Policy.from_point(a_point(), STORE).save(tmp_path / "policy.json")
    assert Cascade.load(tmp_path / "policy.json", MODULES).point == a_point()


@pytest.mark.parametrize("make", [a_point, lambda: Point(("a", "b"), (0.5,))])
def test_a_file_has_the_thresholds_in_use_and_no_figures_of_others(make, tmp_path):
    point = make()
    policy = Policy(replace(point, thresholds=(-math.inf,) * len(point.thresholds)))
    policy.save(tmp_path / "p.json")
    loaded = Policy.load(tmp_path / "p.json")
    assert loaded.thresholds == policy.thresholds and loaded.checksum == policy.checksum
    assert loaded.point.expected is None and np.isnan(loaded.point.accuracy)


UNREAL = [["0.5"], np.ma.masked_array([0.5], [True])]
REFUSED = [
    *((lambda p, v=v: p.step(v, ["yes"]), "stage must be a whole number") for v in (-1, 3)),
    (lambda p: p.step(0, ["yes", "no"], [0.9]), "model 'm0': confidences of shape"),
    (lambda p: text_of(replace(p.point, method=Method(metric=max))), "the metric .*is a function"),
    *(
        (lambda p, v=v: Policy(replace(p.point, thresholds=v)), ".*thresholds")
        for v in ((), (math.nan, 0.5), (0.5,) * 3, ["0.5", 0.5])
    ),
    *((lambda p, v=v: p.decide([v] * 3), "confidences must be real numbers") for v in UNREAL),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_a_policy_refuses(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call(Policy.from_point(a_point()))


LOAD = """
import sys
before = set(sys.modules)
from cascadelib.policy.policy import Policy
for path in sys.argv[1:]:
    policy = Policy.load(path)
    answers = [["a", "b", "c"]] * len(policy.models)
    assert len(policy.decide([[0.1] * 3] * len(policy.models), answers)) == 3
    assert policy.step(0, ["a"], [0.0])[0].all() == (policy.point.metric == "entropy")
    policy.save(path)
heavy = {"torch", "pandas", "scipy", "numba", "timm", "transformers", "plotly", "pyarrow"}
heavy |= {"safetensors", "tqdm"}
print(sorted(heavy & (set(sys.modules) - before)))
"""


def test_loading_and_deciding_need_numpy_only(tmp_path):
    methods = ["entropy", Method(confidence="isotonic_by_label")]
    paths = [tmp_path / f"{number}.json" for number in range(len(methods))]
    for path, method in zip(paths, methods):
        point = pick(search(STORE, 2, method), "max_improvement")
        Policy.from_point(point, STORE).save(path)
    command = [sys.executable, "-c", LOAD, *paths]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def scored():
    """A table of two models with confidences from 0.3 to 1, and its policy."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1, (2, 400))
    correct = rng.random((2, 400)) < np.stack([confidence[0], np.full(400, 0.97)])
    table = ScoreTable(correct, confidence, [1.0, 30.0], ["small", "large"])
    return table, Policy.from_point(pick(search(table, 2), "max_improvement"), table)


def calls_of(confidences):
    """Functions that answer inputs, the numbers of rows, with these confidences."""
    return [lambda rows: ([0] * len(rows), confidences[rows]), lambda rows: ([1] * len(rows), None)]


@pytest.mark.parametrize("kind", ["given", "max_softmax"])
def test_confidences_in_percent_are_refused(kind, tmp_path):
    table, policy = scored()
    if kind == "max_softmax":
        policy = Policy(Point(("small", "large"), (0.8,), method=kind))
    policy.save(tmp_path / "p.json")
    policy = Policy.load(tmp_path / "p.json")
    confidence = table.confidence[0]
    rows = list(range(len(confidence)))
    assert 0 < policy.run(calls_of(confidence), rows).exit_stage.mean() < 1
    where = "from 0 to 1" if kind == "max_softmax" else "seen when the cascade was chosen"
    with pytest.raises(ValueError, match=where):
        policy.decide([100 * confidence])
    with pytest.warns(RuntimeWarning, match=where):
        decisions = policy.run(calls_of(100 * confidence), rows, on_error="next")
    assert (decisions.exit_stage == 1).all()
