"""The exit rule and its translations agree.

They are in the evaluator, the policy, the search, JavaScript and the exported Python file.
"""

import base64
import contextlib
import json
import runpy
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from references import slow_stages

from cascadelib import (
    METHODS,
    Method,
    Point,
    Policy,
    ScoreTable,
    answer_table,
    evaluate,
    search,
    search_arrays,
)
from cascadelib.files import ROOT
from cascadelib.policy.python_file import MOST_LINES

LEVELS = np.array([-np.inf, -1.0, 0.0, 0.25, 0.5, 1.0, np.inf])
SCRIPT = """
const input = JSON.parse(require("fs").readFileSync(0, "utf8"))
import(input.engine).then(async engine => {
  const pack = await engine.unpack(Buffer.from(input.packed, "base64"))
  const stages = input.rows.map(([models, thresholds]) => {
    const cuts = thresholds.map((threshold, stage) => pack.cut(models, stage, threshold))
    return Array.from(engine.evaluate(pack, models, cuts, input.cost)[0].stages)
  })
  console.log(JSON.stringify(stages))
})
"""


def drawn_cases(count=60, samples=40):
    """Return a table with tied and infinite confidences, and cascades at such thresholds."""
    rng = np.random.default_rng(0)
    confidence = rng.choice(LEVELS, (4, samples))
    table = ScoreTable(rng.random((4, samples)) < 0.7, confidence, [1.0, 2.0, 4.0, 8.0], "abcd")
    points = []
    for _ in range(count):
        models = np.sort(rng.choice(4, rng.integers(1, 5), replace=False))
        thresholds = [float(rng.choice(confidence[m])) for m in models[:-1]]
        names = tuple("abcd"[m] for m in models)
        points.append((models, Point(names, tuple(thresholds), cost_kind="cost")))
    return table, points


TABLE, CASES = drawn_cases()


def test_the_evaluator_and_the_policy_follow_the_rule():
    for models, point in CASES:
        expected = slow_stages(TABLE.confidence[models], point.thresholds)
        assert evaluate(TABLE, point).exit_stage.tolist() == expected
        decisions = Policy.from_point(point).decide(list(TABLE.confidence[models]))
        assert decisions.exit_stage.tolist() == expected


@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_kernels_count_exits_by_the_rule(n):
    points = search_arrays(TABLE.correct, TABLE.confidence, TABLE.costs(), n)
    for models, thresholds, rates in zip(points.models, points.thresholds, points.exit_rates):
        stages = slow_stages(TABLE.confidence[models], thresholds)
        np.testing.assert_allclose(rates, np.bincount(stages, minlength=n) / len(TABLE))


@pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
def test_the_page_follows_the_rule(tmp_path):
    pytest.importorskip("anywidget")
    from cascadelib.explorer.packing import Packed
    from cascadelib.explorer.splits import Choice, ExploredSplits

    splits = ExploredSplits(TABLE, TABLE)
    choice = Choice((), splits.first, splits.costs[0], "top1")
    packed = Packed(splits, choice)
    engine = tmp_path / "engine.mjs"
    engine.write_text((ROOT / "cascadelib/explorer/engine.js").read_text())
    words = {-np.inf: "always", np.inf: "never"}
    sent = {
        "engine": str(engine),
        "packed": base64.b64encode(packed.to_bytes({})).decode(),
        "rows": [(m.tolist(), [words.get(t, t) for t in p.thresholds]) for m, p in CASES],
        "cost": choice.cost,
    }
    command = ["node", "-e", SCRIPT]
    page = subprocess.run(command, input=json.dumps(sent), capture_output=True, text=True)
    assert page.returncode == 0, page.stderr
    for (models, point), stages in zip(CASES, json.loads(page.stdout)):
        assert stages == slow_stages(TABLE.confidence[models], point.thresholds)


def exported(policy):
    """Return the names of the Python file of a policy, after its own check."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.py"
        policy.to_python(path)
        assert path.read_text(encoding="utf-8").count("\n") <= MOST_LINES
        found = runpy.run_path(str(path))
        with contextlib.redirect_stdout(None):
            found["check"]()
    return found


def outcome(decide, *query):
    """Return a decision, or "refused"."""
    with contextlib.suppress(ValueError):
        return int(decide(*query))
    return "refused"


def decided_by_policy(policy, confidences, predictions=()):
    """Return the exit stage of one query by Policy.decide."""
    columns = [[each] for each in predictions] or None
    return policy.decide([[each] for each in confidences], columns).exit_stage[0]


def assert_equal_decisions(policy, queries):
    decide = exported(policy)["decide"]
    for query in queries:
        assert outcome(decide, *query) == outcome(
            lambda *parts: decided_by_policy(policy, *parts), *query
        ), query


POLICY_METRICS = sorted({METHODS[name].metric for name in METHODS} | {"top3_softmax_sum"})
NUMBERS = st.sampled_from(
    [-np.inf, -93.0, -0.0, 0.0, 0.25, np.nextafter(0.25, 1), 0.5, 1.0, 1.001, 1.0011, 93.0, np.inf]
)
CONFIDENCES = NUMBERS | st.floats() | st.just(np.nan)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([None, *POLICY_METRICS]), st.integers(1, 6), st.data())
def test_the_python_file_decides_every_query_as_the_policy(metric, models, data):
    thresholds = st.lists(NUMBERS, min_size=models - 1, max_size=models - 1)
    method = None if metric is None else Method(metric)
    point = Point(tuple("abcdef"[:models]), tuple(data.draw(thresholds)), method=method)
    lists = st.lists(CONFIDENCES, min_size=models, max_size=models)
    queries = data.draw(st.lists(st.tuples(lists), max_size=8))
    assert_equal_decisions(Policy(point), queries)


def test_the_python_file_has_the_thresholds_in_use_and_any_number_of_models():
    names = tuple(f"m{i}" for i in range(27))
    policy = Policy(Point(names, (0.5,) * 26), [0.1] * 26)
    assert_equal_decisions(policy, [([0.0] * stage + [0.1] * (27 - stage),) for stage in range(27)])


LABELS = ["yes", "no", "maybe", " YES", "3", "3.0", "none of them", ""]


@pytest.fixture(scope="module")
def labelled():
    """Return a table of three classes, on which the confidence of each class differs."""
    rng = np.random.default_rng(0)
    truth = rng.choice(["yes", "no", "3"], 600)
    correct = rng.random((2, 600)) < [[0.7], [0.95]]
    predictions = np.where(correct, truth, "no")
    confidence = np.round(np.where(correct, 0.4, 0.2) + 0.5 * rng.random((2, 600)), 2)
    return ScoreTable(None, confidence, [1, 9], ["a", "b"], predictions=predictions, labels=truth)


@pytest.fixture(scope="module")
def fitted_points(labelled):
    """Return points whose thresholds depend on the class, and points with one curve for all."""
    points = search(labelled, 2, Method(confidence="isotonic_by_label")).cascades
    method = points[0].method
    common = {
        models: replace(fitted, kind="isotonic", parameters=fitted.parameters[:1])
        for models, fitted in method.fitted.items()
    }
    method = replace(method, confidence="isotonic", fitted=common)
    return [*points, *(replace(point, method=method) for point in points)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_thresholds_per_class_of_the_python_file_are_those_of_the_policy(fitted_points, data):
    point = data.draw(st.sampled_from(fitted_points))
    values = st.integers(-10, 110).map(lambda hundredths: hundredths / 100) | st.floats(0, 1)
    infinite = st.sampled_from([-np.inf, np.inf])
    pair = st.lists(values | infinite, min_size=2, max_size=2)
    predictions = st.lists(st.sampled_from([*LABELS, 3, 3.0]), min_size=2, max_size=2)
    queries = data.draw(st.lists(st.tuples(pair, predictions), min_size=1, max_size=20))
    assert_equal_decisions(Policy.from_point(point), queries)


def test_the_python_file_of_an_answered_table_keeps_its_answers(labelled):
    small = labelled.select(["a"])
    truth = dict(zip(small.origin.sample_ids.tolist(), labelled.labels.tolist()))
    result = answer_table(small, lambda ids: [truth[name] for name in ids], 0.2, seed=0)
    exits = exported(result.policy)["exits"]
    keeps = [exits(0, *query) for query in zip(small.confidence[0].tolist(), small.predictions[0])]
    assert (
        keeps
        == (result.policy.decide([small.confidence[0]], small.predictions).exit_stage == 0).tolist()
    )
    assert 0.1 < np.mean(keeps) < 0.95
    assert_equal_decisions(
        result.policy,
        [
            ([np.nextafter(value, side), np.nan], [label, None])
            for value in np.unique(small.confidence[0])
            for side in (-np.inf, value, np.inf)
            for label in LABELS
        ],
    )
