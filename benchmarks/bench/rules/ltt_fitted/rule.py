"""Run Learn-then-Test on a fitted risk: exact binomial tests from the safest border on."""

import numpy as np
from bench.fitted_risk import fit_risk
from bench.task import Choice, Task
from scipy.stats import binom

NEEDS = "sklearn"
TITLE = "LTT, fitted"
INPUTS = "fitted"
ABOUT = (
    "Learn-then-Test, exact binomial, fixed sequence over a risk that a quarter of the labels fit"
)
QUANTILES = 401


def choose(task: Task) -> Choice:
    risk, certifying = fit_risk(task)
    risks = risk(task.confidence, task.predictions)
    lost = task.lost(certifying)
    most = None
    for border in np.unique(np.quantile(risks, np.linspace(0, 1, QUANTILES))):
        kept_and_lost = int(np.sum(lost & (risks[certifying] <= border)))
        if binom.cdf(kept_and_lost, len(certifying), task.epsilon) > task.delta:
            break
        most = border
    if most is None:
        return task.nothing()
    return task.keep(lambda confidence, predictions: risk(confidence, predictions) <= most)
