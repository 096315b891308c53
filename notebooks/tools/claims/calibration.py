"""The paper's claims on calibration and temperature scaling (figures 13 and 14)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, sem, t

import cascadelib as cl
from cascadelib.analysis import calibration_table
from tools.claims.catalogue import ids_in_scope
from tools.claims.evidence import (
    Evidence,
    EvidenceByClaim,
    correlations,
    draw_models,
    normal_draws,
)
from tools.claims.views import Claims
from tools.designs import DESIGNS
from tools.figures.calibration import scaling_table, threshold_table
from tools.paper import Paper

CLAIMS = frozenset(
    "underconfident large-families rising scaling-curves perfect scaling-fronts".split()
)
MODELS = Claims()  # of a table of models
WINDOWS = 50  # windows of a moving average that share no sample
LEAST_ERRORS = 10  # wrong answers per window, so that windows differ by more than chance
LEAST_MODELS = 8  # of each group of which a mean is compared
PARTS = 10  # disjoint parts of the samples, of which half choose models


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    if not paper.has("metrics") or not CLAIMS & ids_in_scope(paper):
        return {}
    names = paper.candidates(DESIGNS["Figure 13"])
    selection = paper.selection.select(names)
    unseen = paper.unseen.select(names)
    claims = {name: cl.analysis.claims_of(unseen, name) for name in names}
    found = {"rising": rising(claims, len(unseen))}
    if not paper.has("logits"):
        return found
    parts = [unseen.take(slice(part, None, PARTS)) for part in range(PARTS)]
    effects = [threshold_table(part, selection) for part in (unseen, *parts)]
    found |= of_models(calibration_table(unseen, selection), effects[0])
    found["perfect"] = perfect(effects[1:], len(unseen))
    scaled = scaling_table(paper.selection, paper.unseen)
    found["scaling-fronts"] = scaling_fronts(scaled, len(unseen))
    return found


def of_models(table: pd.DataFrame, effects: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence over models.

    table: ``calibration_table``. effects: ``threshold_table``.
    """
    large = table.index.str.contains("beit|convnext|deit3")
    models = calibrated(table, effects).assign(large=large)
    found = MODELS.measure(draw_models(models), len(models))
    group = int(min(large.sum(), (~large).sum()))  # the smaller one has the larger error
    draws = found["large-families"].draws if group >= LEAST_MODELS else ()
    found["large-families"] = replace(found["large-families"], draws=draws, samples=group)
    return found


def calibrated(table: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Return the columns gap, verdict and scaled of each model."""
    verdict = pd.Series("neither", table.index)
    verdict = verdict.mask(table["gap_high"] < 0, "underconfident")
    verdict = verdict.mask(table["gap_low"] > 0, "overconfident")
    return table[["gap"]].assign(verdict=verdict, scaled=effects["above_scaled_size"])


@MODELS.add()
def underconfident(models: pd.DataFrame) -> list[int]:
    counted = models["verdict"].value_counts()
    return [counted.get(f"{side}confident", 0) for side in ("under", "over")]


@MODELS.add()
def large_families(models: pd.DataFrame) -> float:
    gap = models["gap"].abs()
    return gap[models["large"]].mean() / gap.mean()


@MODELS.add()
def scaling_curves(models: pd.DataFrame) -> float:
    return models["scaled"].mean()


def rising(claims: dict[str, tuple[Any, Any]], samples: int) -> Evidence:
    """Return the rank correlations of accuracy and confidence, from {model: ``claims_of``}.

    The error does not depend on the number of samples, but windows with few wrong answers are too
    noisy to test it.
    """
    averages = [cl.analysis.moving_average(*claim) for claim in claims.values()]
    found = []
    errors = []
    for rows in averages:
        accuracy = rows["accuracy"]
        found.append(accuracy.corr(rows["confidence"], "spearman"))
        errors.append(1 - accuracy.mean())
    is_tested = min(errors, default=0.0) * samples / WINDOWS >= LEAST_ERRORS
    return correlations(found, WINDOWS if is_tested else 0)


def perfect(parts: Sequence[pd.DataFrame], samples: int) -> Evidence:
    """Return the gains of the model that gains most by perfect calibration, above and below the
    threshold, and the losses of the one that loses most.

    The first half of the parts chooses the models, by the smaller of both sides. The other parts
    measure them, so the effects are not those of the luckiest models.
    """
    sides = ["above_perfect", "below_perfect"]
    gains = np.array([part[sides].to_numpy().T for part in parts])
    gains[:, 1] *= -1
    half = len(gains) // 2
    chosen = gains[:half].mean(axis=0)
    best = chosen.min(axis=0).argmax()
    worst = (-chosen).min(axis=0).argmax()
    others = gains[half:]
    measured = np.hstack([others[:, :, best], -others[:, :, worst]])
    value = measured.mean(axis=0)
    error = sem(measured)
    factor = t.isf(0.025, len(measured) - 1) / norm.isf(0.025)
    inflated = error * factor
    return Evidence(value, list(normal_draws(value, inflated)), samples)


def scaling_fronts(table: pd.DataFrame, samples: int) -> Evidence:
    """Return costs with temperature scaling ÷ without, from ``scaling_table``."""
    ratios = table["cost_ratio"].to_numpy()
    return Evidence(ratios, list(normal_draws(ratios, table["error"])), samples)
