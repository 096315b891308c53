"""Worlds of methods with known differences: the same models, with different noise."""

import numpy as np
import pandas as pd

from cascadelib import ScoreTable, bootstrap, search
from cascadelib.analysis import front_on
from tools.claims import verdicts
from tools.claims.evidence import Evidence, counts_of

COSTS = [1.0, 4.0, 20.0]
SAMPLES = 400
EQUAL = {"a": 1.0, "b": 1.0, "c": 1.0}  # method: the standard deviation of its noise
BOUNDARY = {"a": 0.3, "b": 0.3, "c": 2.2}  # two methods are equal, every other claim is true
ORDERED = {"a": 0.3, "b": 1.0, "c": 2.2}
REVERSED = {"a": 2.2, "b": 1.0, "c": 0.3}


def scores(rng, noise):
    """Return one split of three models by each method."""
    skill = np.array([[0.4], [1.0], [1.6]])
    ease = skill + rng.normal(size=(3, SAMPLES)) + rng.normal(size=SAMPLES)
    correct = ease > 0
    found = {}
    for name, spread in noise.items():
        confidence = np.abs(ease) + spread * rng.normal(size=ease.shape)
        found[name] = ScoreTable(correct, confidence, COSTS, ["small", "middle", "large"])
    return found


def family():
    """Return three claims on the methods: a is best, b is next, c is last."""
    rows = [("first", "a", "*"), ("second", "b", "* !a"), ("last", "a b", "c")]
    table = pd.DataFrame(rows, columns=["id", "better", "worse"]).set_index("id")
    return table.assign(rule="leads", over="samples", family="f")


def one_way(here, there):
    """Return the mean improvement by method, selected on one split and evaluated on another."""
    means = {}
    draws = {}
    for name in here:
        front = front_on(there[name], search(here[name], 2))
        means[name] = front.mean_improvement()
        draws[name] = bootstrap(there[name], front, counts_of(there[name])).mean_improvement()
    rows = [row for _, row in pd.DataFrame(draws).iterrows()]
    return Evidence(pd.Series(means), rows, SAMPLES)


def words_of(noise, seed):
    """Return {claim: its verdict} of one draw of two splits."""
    rng = np.random.default_rng(seed)
    first = scores(rng, noise)
    second = scores(rng, noise)
    found = one_way(first, second)
    found = verdicts.evaluate_claims(family(), dict.fromkeys(family().index, found))
    return {name: verdict.word for name, verdict in found.items()}


def correct_words(noise):
    """Return {claim: the verdict that is not false}. A claim with equal methods has none but
    "undetermined"."""
    words = {}
    for name, claim in family().iterrows():
        spread = np.array(list(noise.values()))
        ahead = verdicts.match_names(claim["better"], list(noise))
        behind = verdicts.match_names(claim["worse"], list(noise)) & ~ahead
        leads = np.subtract.outer(spread[behind], spread[ahead]).ravel()
        word = verdicts.SUPPORTED if min(leads) > 0 else verdicts.UNDETERMINED
        words[name] = verdicts.CONTRADICTED if min(leads) < 0 else word
    return words


def false_families(families, noise, seed=0):
    """Count the families in which a verdict is false."""
    correct = correct_words(noise)
    false = 0
    for number in range(families):
        words = words_of(noise, (seed, number))
        false += any(words[m] not in (verdicts.UNDETERMINED, correct[m]) for m in correct)
    return false


def decided_claims(families, noise, seed=0):
    """Return {claim: the share of families in which its verdict is correct and decided}."""
    correct = correct_words(noise)
    found = [words_of(noise, (seed, number)) for number in range(families)]
    decided = {}
    for name, word in correct.items():
        if word != verdicts.UNDETERMINED:
            decided[name] = np.mean([words[name] == word for words in found])
    return decided
