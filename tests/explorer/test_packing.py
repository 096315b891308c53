"""The evaluator of the page equals cl.evaluate in every digit."""

import base64
import json
from dataclasses import replace

import numpy as np
import pytest
from explorer_stores import OTHER, STORE
from hypothesis import given
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.explorer.packing import Packed, distinct_falling, separators
from cascadelib.explorer.page import read_part
from cascadelib.explorer.splits import Choice, ExploredSplits
from cascadelib.methods.thresholds import LARGEST, convert_units, count_exiting, does_exit

FLOATS = st.lists(st.floats(allow_nan=True, width=64), min_size=1, max_size=30)
READ = """async ({packed, rows, cost}) => {
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0))
    const pack = await engine.unpack(bytes)
    const words = {Infinity: "inf", "-Infinity": "-inf", NaN: "nan"}
    return rows.map(([models, cuts]) => ({
        thresholds: cuts.map((cut, stage) => pack.threshold(models, stage, cut)),
        back: cuts.map((cut, stage) => pack.cut(models, stage, pack.threshold(models, stage, cut))),
        finite: cuts.map((cut, stage) => pack.cut(models, stage, pack.finite(models, stage, cut))),
        results: engine.evaluate(pack, models, cuts, cost).map(e => ({
            accuracy: e.accuracy, cost: e.cost, saving: e.saving, difference: e.difference,
            improvement: words[e.improvement] ?? e.improvement, exit_rates: e.exitRates,
            interval: engine.shareInterval(e.accuracy, e.k),
            paired: engine.differenceInterval(e.gained, e.lost, e.k),
        })),
    }))}"""
CURVES = """async ({packed, rows, cost, steps}) => {
    const bytes = Uint8Array.from(atob(packed), letter => letter.charCodeAt(0))
    const pack = await engine.unpack(bytes)
    const at = (models, cuts, position) => {
        const {cost: paid, accuracy} = engine.evaluate(pack, models, cuts, cost)[position]
        return [paid, accuracy]
    }
    const both = ([models, cuts], position, stage) => {
        const points = engine.curve(pack, pack.splits[position], models, cuts, cost, stage, steps)
        const evaluated = points.map(point => at(models, cuts.with(stage, point[2]), position))
        return {groups: pack.output(models, stage).groups, points, evaluated}
    }
    return rows.flatMap(row => row[0].slice(1).flatMap((_, stage) =>
        pack.splits.map((_, position) => both(row, position, stage))))}"""


@given(FLOATS)
def test_separators_are_between_neighbours(values):
    falling = distinct_falling(np.array(values))
    found, *_ = separators(falling)
    following = np.append(falling[1:], -np.inf)
    assert np.all((found <= falling) & ((found > following) | (found == -np.inf)))


def test_separators_have_few_decimals():
    found, *_ = separators(np.array([0.98765432, 0.98712345, 0.5, 0.4999999]))
    assert found.tolist() == [0.9876, 0.9, 0.5, 0.0]


@given(FLOATS, st.floats(allow_nan=False))
def test_a_cut_counts_the_confidences_that_exit(values, threshold):
    confidence = np.array(values)
    falling = distinct_falling(confidence)
    exiting = confidence[does_exit(confidence, threshold)]
    if np.any(exiting == np.inf) and threshold > np.finfo(float).max:
        return
    assert count_exiting(falling, threshold) == len(distinct_falling(exiting))


def scores(seed, k, per_query=False):
    """Five models with ties, infinite confidences and costs, with a seed per split."""
    rng = np.random.default_rng(seed)
    correct = rng.random((5, k)) < np.linspace(0.6, 0.95, 5)[:, None]
    confidence = np.round(rng.normal(size=(5, k)) + correct, 2)
    confidence[:, :3] = np.inf
    confidence[:, 3:6] = -np.inf
    cost = 3.7 ** np.arange(5) / 7
    if per_query:
        cost = cost[:, None] * rng.uniform(0.5, 1.5, (5, k))
    return cl.ScoreTable(correct, confidence, cost, [f"m{i}" for i in range(5)])


def two_classes(seed, k):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, k)
    logits = {
        f"m{i}": (1 + i) * np.eye(2)[labels] + rng.normal(scale=2, size=(k, 2)) for i in range(4)
    }
    return cl.LogitStore.from_arrays(labels, logits, macs={f"m{i}": 4.0**i for i in range(4)})


def positions(pack, count, lengths):
    """Random (models, cuts), with both ends among the cuts."""
    rng = np.random.default_rng(5)
    rows = []
    cascades = [list(map(int, key.split(","))) for key in pack.outputs if "," in key]
    for _ in range(count):
        if pack.last_only:
            n = int(rng.choice(lengths))
            models = sorted(rng.choice(len(pack.names), n, replace=False).tolist())
        else:
            models = cascades[rng.integers(len(cascades))]
        cuts = []
        for key in pack.keys([pack.names[model] for model in models[:-1]]):
            most = len(pack.falling[key])
            ends = [0, most, *rng.integers(0, most + 1, 4).tolist()]
            cuts.append(int(rng.choice(ends)))
        rows.append((models, cuts))
    return rows


@pytest.fixture(scope="module")
def engine(browser):
    """A page with only the evaluator."""
    page = browser.new_page()
    names = "unpack, evaluate, curve, shareInterval, differenceInterval"
    module = read_part("engine.js") + f"\nwindow.engine = {{ {names} }}"
    page.add_script_tag(content=module, type="module")
    page.wait_for_function("() => window.engine")
    return page


CONTRACTS = {
    "scores with ties": (scores(0, 500), scores(1, 333), None, "top1", 200),
    "logits": (STORE, OTHER, "max_softmax", "top1", 150),
    "entropy, top 5": (STORE, OTHER, "entropy", "top5", 50),
    "an ensemble of each prefix": (STORE, OTHER, "max_softmax_mean_logits_ts", "top1", 50),
    "F1": (two_classes(0, 300), two_classes(1, 200), "logits_margin", "f1", 50),
    "prices of each query": (scores(0, 500, True), scores(1, 333, True), None, "top1", 50),
}


@pytest.mark.browser
@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_page_evaluates_equal_to_python(contract, engine):
    """550 positions have equal accuracy, cost, saving, improvement, difference and exit rates."""
    store, other, method, score, count = CONTRACTS[contract]
    assert_agrees(engine, store, other, method, score, count)


def tolerance_of(store):
    """Prices of each query are summed in another order."""
    is_priced = isinstance(store, cl.ScoreTable) and store.cost.ndim == 2
    return 1e-12 if is_priced else 0.0


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("steps", [7, 10_000])
def test_the_curve_of_a_slider_equals_evaluations_at_its_cuts(contract, steps, engine):
    """Cascades of two, three and four models, at every stage, on both splits."""
    store, other, method, score, _ = CONTRACTS[contract]
    choice, pack = packed_of(store, other, method, score)
    longest_last = sorted(positions(pack, 60, (2, 3, 4)), key=lambda row: len(row[0]))
    rows = [*longest_last[:2], longest_last[30], longest_last[-1]]
    packed = base64.b64encode(pack.to_bytes({})).decode()
    asked = {"packed": packed, "rows": rows, "cost": choice.cost, "steps": steps}
    for way in engine.evaluate(CURVES, asked):
        *both, cuts = zip(*way["points"])
        every = max(1, way["groups"] // steps)
        assert list(cuts) == [*range(0, way["groups"], every), way["groups"]]
        tolerance = tolerance_of(store)
        found = np.transpose(both)
        np.testing.assert_allclose(found, way["evaluated"], rtol=tolerance, atol=tolerance)


def packed_of(store, other, method, score):
    """Pack two splits with cascades of two, three and four models."""
    splits = ExploredSplits(store, other)
    choice = Choice((), method or splits.first, splits.costs[0], score)
    names = list(store.models.index)
    cascades = [tuple(names[i] for i in row) for row in ((0, 1), (1, 3), (0, 1, 2), (0, 1, 2, 3))]
    return choice, Packed(splits, choice, cascades)


def assert_agrees(engine, store, other, method, score, count):
    choice, pack = packed_of(store, other, method, score)
    rows = positions(pack, count, (2, 3, 4))
    packed = base64.b64encode(pack.to_bytes({})).decode()
    results = engine.evaluate(READ, {"packed": packed, "rows": rows, "cost": choice.cost})
    task = pack.tasks[0]
    points = []
    for (models, cuts), result in zip(rows, results):
        words = {"always": -np.inf, "never": np.inf}
        thresholds = [
            float(convert_units(task.metric, words[t])) if t in words else float(t)
            for t in result["thresholds"]
        ]
        chain = tuple(pack.names[model] for model in models)
        assert pack.cuts(chain, thresholds) == cuts == result["back"]
        # No finite number is above an infinite confidence.
        for key, cut, finite in zip(pack.keys(chain), cuts, result["finite"]):
            assert finite == cut or (cut == 0 and pack.falling[key][0] == LARGEST)
        point = cl.Point(chain, tuple(thresholds), method=task.method, score=score)
        points.append(replace(point, cost_kind=choice.cost))
    for position, at in enumerate((store, other)):
        runs = cl.evaluate(at, points)
        for run, result in zip(runs, results):
            vars(run)["baseline"] = runs[0].baseline  # computed once
            assert_equal(run, result["results"][position], tolerance_of(store))


def assert_equal(run, result, tolerance):
    """Assert that the page's result equals an evaluation."""
    for name in ("accuracy", "cost", "saving", "difference", "improvement", "exit_rates"):
        expected = np.array(getattr(run, name), np.float64)
        found = np.array(result[name], np.float64)
        if tolerance:
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        else:
            assert json.dumps(found.tolist()) == json.dumps(expected.tolist()), name
    if run.correct.dtype == bool and run.point.score != "f1":
        expected = cl.evaluation.share_interval(run.correct)
        np.testing.assert_allclose(result["interval"], expected, atol=1e-12)


def test_cascades_that_are_not_packed_have_no_cuts():
    splits = ExploredSplits(STORE, OTHER)
    choice = Choice(("m0", "m1"), "max_softmax_mean_logits_ts", "macs", "top1")
    pack = Packed(splits, choice, [("m0", "m1")])
    assert pack.holds(("m0", "m1")) and not pack.holds(("m0", "m2"))
    assert pack.cuts(("m0", "m2"), (0.5,)) is None
