"""The exit rule and its translations in the search and in JavaScript agree."""

import base64
import json
import shutil
import subprocess

import numpy as np
import pytest
from references import slow_stages

from cascadelib import Point, ScoreTable, search_arrays
from cascadelib.files import ROOT

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
