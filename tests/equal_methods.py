"""Methods that are equal: the same models, confidences with noise of their own."""

import numpy as np
import pandas as pd

from cascadelib import ScoreTable, bootstrap, search
from cascadelib.analysis import front_on
from tools import verdicts
from tools.evidence import Evidence, counts_of

COSTS = [1.0, 4.0, 20.0]
NAMES = ("a", "b", "c")
SAMPLES = 400


def scores(rng):
    """One split of three models by each of three methods, which differ in their noise alone."""
    skill = np.array([[0.4], [1.0], [1.6]])
    ease = skill + rng.normal(size=(3, SAMPLES)) + rng.normal(size=SAMPLES)
    correct = ease > 0
    found = {}
    for name in NAMES:
        confidence = np.abs(ease) + rng.normal(size=ease.shape)
        found[name] = ScoreTable(correct, confidence, COSTS, ["small", "middle", "large"])
    return found


def family():
    """Three statements on the methods: one is best, one is next, one is last."""
    rows = [("first", "a", "*"), ("second", "b", "* !a"), ("last", "a b", "c")]
    table = pd.DataFrame(rows, columns=["id", "better", "worse"]).set_index("id")
    return table.assign(rule="leads", over="samples", family="f")


def one_way(here, there):
    """Mean improvement by method, chosen on one split and judged on another."""
    counts = counts_of(SAMPLES)
    means = {}
    draws = {}
    for name in NAMES:
        front = front_on(there[name], search(here[name], 2))
        means[name] = front.mean_improvement()
        draws[name] = bootstrap(there[name], front, counts).mean_improvement()
    rows = [row for _, row in pd.DataFrame(draws).iterrows()]
    found = Evidence(pd.Series(means), rows, SAMPLES)
    return dict.fromkeys(family().index, found)


def decided_families(families, seed=0):
    """In how many of so many families a statement is called supported or contradicted, in both
    directions."""
    decided = 0
    for number in range(families):
        rng = np.random.default_rng((seed, number))
        first = scores(rng)
        second = scores(rng)
        sides = [
            verdicts.evaluate_claims(family(), one_way(*way))
            for way in ((first, second), (second, first))
        ]
        agreed = [verdicts.together([side[name] for side in sides]) for name in family().index]
        decided += any(verdict.word != verdicts.UNDETERMINED for verdict in agreed)
    return decided, families
