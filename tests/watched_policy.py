"""A policy of two models that is monitored, and inputs for it."""

import numpy as np

from cascadelib import Point, Policy, ScoreTable

WATCHED = ScoreTable(
    np.ones((2, 1000), bool), np.random.default_rng(9).random((2, 1000)), [1, 5], ["a", "b"]
)


def policy_watched():
    point = Point(("a", "b"), (0.5,), (0.5, 0.5), 1.0, 1.0, 1.0, cost_kind="cost")
    policy = Policy.from_point(point, store=WATCHED)
    policy.running.audit = 0.5
    return policy


def asked(policy, first, count, ids=None, shift=0.0):
    """Inputs whose confidences and answers depend on nothing but their number."""
    scores = np.random.default_rng(5).random((2, 4000)) - shift

    def call_of(model):
        return lambda rows: (
            [f"{row % (7 + model)}" for row in rows],
            scores[model, rows],
            [model + 1.0] * len(rows),
        )

    policy.run([call_of(0), call_of(1)], range(first, first + count), ids, batch_size=count)
