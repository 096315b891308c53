"""A policy of two models, and inputs of it that a monitor counts."""

import numpy as np
from deciding import decided
from virtual_time import run

from cascadelib import Point, Policy, ScoreTable
from cascadelib.serve import Record

TABLE = ScoreTable(
    np.ones((2, 1000), bool), np.random.default_rng(9).random((2, 1000)), [1, 5], ["a", "b"]
)
PAIR = Point(("a", "b"), (0.5,), (0.5, 0.5), 1.0, 1.0, 1.0, cost_kind="cost")
WATCHED = Policy.from_point(PAIR, store=TABLE)


def count_inputs(monitor, first, count, ids=None, shift=0.0):
    """Inputs whose confidences and answers depend on nothing but their number; half are audited."""
    scores = np.random.default_rng(5).random((2, 4000)) - shift

    async def answer(model, rows):
        answers = [f"{row % (7 + model)}" for row in rows]
        return answers, scores[model, rows], [model + 1.0] * len(rows)

    async def small(rows):
        return await answer(0, rows)

    async def large(rows):
        return await answer(1, rows)

    options = {"batch_size": count, "monitor": monitor, "audit": 0.5}
    run(decided(WATCHED, [small, large], range(first, first + count), ids, **options))


def record_of(name, confidences, failures=None, **fields):
    """The record of an input that reached a stage per confidence."""
    reached = len(confidences)
    failures = failures or ["none"] * reached
    lists = (["yes"] * reached, confidences, failures, [1.0] * reached, [0.1] * reached)
    return Record(name, "yes", "ab"[reached - 1], failures[-1], reached - 1, *lists, **fields)
