"""Run MAPIE's controller on a fitted score."""

import numpy as np
from bench.fitted_risk import fit_risk
from bench.rules.mapie.rule import controlled
from bench.task import Choice, Task

NEEDS = "mapie"
TITLE = "MAPIE, fitted"
INPUTS = "fitted"
ABOUT = "MAPIE, the same controller on a risk that a quarter of the labels fit"


def choose(task: Task) -> Choice:
    risk, certifying = fit_risk(task)

    def score(confidence: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        return 1 - risk(confidence, predictions)

    return controlled(task, score, slice(certifying[0], None))
