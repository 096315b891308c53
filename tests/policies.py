"""Tables of scores, cascades of their models, and functions in place of the models."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from tiny_stores import three_scores

from cascadelib import Point, ScoreTable, evaluate

TIED = st.sampled_from([-math.inf, -1.0, 0.0, 0.25, 0.5, 1.0, math.inf])
ENDS = st.sampled_from([-math.inf, 0.0, 0.25, 0.5, math.inf])


@st.composite
def cascades(draw):
    """Draw a table and a Point of one to four of its models.

    Confidences have ties, and thresholds are ties or infinite. Correctness is boolean or graded.
    The cost is one number per model or one per query.
    """
    n = draw(st.integers(1, 4))
    k = draw(st.integers(1, 12))
    confidence = np.array(
        draw(st.lists(st.lists(TIED, min_size=k, max_size=k), min_size=n, max_size=n))
    )
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    correct = rng.random((n, k)) if draw(st.booleans()) else rng.random((n, k)) < 0.7
    cost = np.sort(1 + rng.random((n, k) if draw(st.booleans()) else n), axis=0)
    table = ScoreTable(correct, confidence, cost)
    thresholds = tuple(draw(st.lists(ENDS, min_size=n - 1, max_size=n - 1)))
    point = Point(
        table.names, thresholds, (1.0,) + (0.0,) * (n - 1), 0.5, 1.0, math.nan, cost_kind="cost"
    )
    return table, point


def call_of(table, model, seen=None):
    """Return a function that calls a model of a table on rows. It predicts (model, row)."""

    def call(rows):
        if seen is not None:
            seen.append((model, tuple(rows)))
        return [(model, row) for row in rows], table.confidence[model, rows]

    return call


TABLE = replace(three_scores(k=300), names=("m0", "m1", "m2"))
POINT = Point(TABLE.names, (0.6, 0.6), (1.0, 0.0, 0.0), 0.5, 1.0, math.nan, cost_kind="cost")
STAGES = evaluate(TABLE, POINT).exit_stage
CALLS = [call_of(TABLE, model) for model in range(3)]


def fails(rows):
    raise ConnectionError(f"no answer for {len(rows)}")


def decide_by_steps(policy, answers, confidences, **options):
    """Return the exit stages and the failures of all samples, by ``Policy.step`` at each stage."""
    stages = np.full(len(answers[0]), -1)
    failures = np.zeros((len(stages), len(answers)), int)
    rows = np.arange(len(stages))
    for stage in range(len(answers)):
        answer = answers[stage][rows]
        exits, failed = policy.step(stage, answer, confidences[stage][rows], **options)
        failures[rows, stage] = failed
        stages[rows[exits]] = stage
        rows = rows[~exits]
    return stages, failures


def same_decisions(store, point, decisions, tolerance=1e-5):
    """Count the decisions that equal those of the evaluator, and the others whose confidence is
    within ``tolerance`` of a threshold, since a batch of another size rounds differently."""
    expected = evaluate(store, point)
    same = decisions.exit_stage == expected.exit_stage
    same &= (decisions.predictions == store.labels) == expected.correct
    near = np.zeros(len(store), bool)
    for stage, threshold in enumerate(point.thresholds):
        is_close = np.abs(expected.confidences[stage] - threshold) <= tolerance
        near |= is_close & (expected.exit_stage >= stage)
    return {"same": same.sum(), "near": (~same & near).sum(), "other": (~same & ~near).sum()}
