"""Caution about what the data suggest against the assumptions of a guarantee.

Sound data may be cautioned. Nothing here refuses.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import mannwhitneyu

LEAST_PHI = 0.15  # least correlation of a model's correctness with that of the others
NEARLY_ALL = 0.98  # share of labels that are one model's answers
FEWEST = 20  # least number of labels, and of correct and of wrong answers, that show something
GRADE = 0.998  # least area under the ROC curve of a confidence that knows the label
ERRORS = 3  # standard errors by which answers that agree by chance differ from it
LEVEL = 1e-6  # probability with which a uniform draw of a table is cautioned


def cautions(
    answers: Mapping[str, Array],
    labels: Any,
    correct: Mapping[str, Array],
    confidences: Mapping[str, Array],
    *others: str,
) -> tuple[str, ...]:
    """Return cautions about k labelled samples as clauses, and issue a UserWarning if any.

    Parameters
    ----------
    answers : mapping of {model: array of shape (k,)}
    labels : array of shape (k,), or None
        None if there are no answers.
    correct : mapping of {model: array of shape (k,)}
        Correctness or graded scores. Empty if they are known for some samples only.
    confidences : mapping of {model: array of shape (k,)}
        Of models in `correct`. Empty if a metric computes them from outputs.
    *others : str
        Further clauses, or "".
    """
    found = [*others, caution_of_correlation(correct)]
    found += [caution_of_answers(*each, labels, bool(correct)) for each in answers.items()]
    found += [caution_of_grade(name, correct[name], each) for name, each in confidences.items()]
    clauses = tuple(filter(None, found))
    if clauses:
        caller = 4  # of certify or monitor
        warnings.warn(f"Caution: {'; '.join(clauses)}", stacklevel=caller)
    return clauses


def caution_of_answers(name: str, answers: Array, labels: Array, are_all: bool) -> str:
    """Caution if labels are (nearly) all a model's answers, or equal them as often as by chance.

    Only if ``are_all`` of the labels are known, equality by chance means anything.
    """
    if len(labels) < FEWEST:
        return ""
    agreeing = float(np.mean(answers == labels))
    if agreeing >= NEARLY_ALL:
        return f"{agreeing:.1%} of the labels are the answers of {name}"
    shares = [pd.Series(values).value_counts(normalize=True) for values in (answers, labels)]
    chance = float((shares[0] * shares[1]).sum())
    error = np.sqrt(chance * (1 - chance) / len(labels))
    is_constant = max(share.max() for share in shares) >= NEARLY_ALL
    if not are_all or is_constant or agreeing > chance + ERRORS * error:
        return ""
    return f"the answers of {name} agree with the labels by chance: are rows joined by sample id?"


def caution_of_correlation(correct: Mapping[str, Array]) -> str:
    """Caution if the correctness of models hardly correlates with that of the others.

    Models of one task find the same samples difficult. Constant models are left out.
    """
    varying = {name: values for name, values in correct.items() if len(np.unique(values)) > 1}
    if len(varying) < 2:
        return ""
    scores = np.array([*varying.values()], np.float64)
    others = scores.sum(axis=0) - scores
    phi = np.array([np.corrcoef(*pair)[0, 1] for pair in zip(scores, others)])
    is_lone = phi < LEAST_PHI - 2 / np.sqrt(scores.shape[1])
    if not is_lone.any():
        return ""
    names = " and ".join(np.array([*varying], object)[is_lone])
    return (
        f"the correctness of {names} correlates with that of the others by "
        f"{phi.min():.2f}, as if independent of it: are rows joined by sample id?"
    )


def caution_of_grade(name: str, correct: Array, confidence: Array) -> str:
    """Caution if confidences separate correct from wrong answers, as if they knew the label."""
    finite = np.isfinite(confidence)
    wrong, right = (confidence[finite & (correct == one)] for one in (0, 1))
    if min(len(wrong), len(right)) < FEWEST:
        return ""
    if mannwhitneyu(right, wrong).statistic < GRADE * len(right) * len(wrong):
        return ""
    return f"the confidences of {name} separate correct from wrong answers, as if they were graded"


def caution_of_draw(here: Mapping[Any, float], there: Mapping[Any, float], samples: int) -> str:
    """Caution if shares of samples differ from those of the table from which they were drawn.

    For a draw of k without replacement, a share differs by more than √(log(2 / level) / 2k) with a
    probability of at most the level (Hoeffding, 1963).
    """
    gap = max(abs(here[key] - there[key]) for key in here.keys() & there.keys())
    if gap <= np.sqrt(np.log(2 * len(here) / LEVEL) / 2 / samples):
        return ""
    return (
        "the samples are unlike the table that gave the thresholds, so hardly a uniform draw of "
        f"it: shares of exits or answers differ by {gap:.2f}"
    )
