"""Seeded scores at the paper's scale, of two kinds: what 27 ImageNet models look like to a search,
without the models.

Copied from the paper's setting: top-1 accuracies 66% … 88.6% on the single-model front, MACs over
four orders of magnitude, 50,000 samples. Assumed: models err on much the same samples (a common
difficulty; correctness of two models has a tetrachoric correlation of about 0.7) and confidences
tell correct from wrong with an AUROC of about 0.89.

:func:`scores` has smooth accuracies, and confidences rounded as a softmax in float32 rounds them,
so that some tie. :func:`published_scores` has the accuracies and MACs of the models on the front
that timm published when the paper was written, and no two confidences alike: as many thresholds as
there are samples. Which is harder differs from search to search, so targets hold for both.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

import cascadelib as cl

COMMON = 0.84
NOISE = 0.8
LOWEST = 0.66
HIGHEST = 0.886
CHEAPEST = 22e6
DEAREST = 400e9

# (correct [M, k], confidence [M, k], cost [M])
Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def scores(
    models: int = 27,
    samples: int = 50_000,
    seed: int = 0,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
) -> Table:
    """(correct bool [M, k], confidence float64 [M, k], cost float64 [M]) of models in order of
    rising cost.

    A model's margin on a sample is normal, made of the common ease and its own luck; it is correct
    where the margin is positive. Its confidence is the probability of that given a noisy look at
    the margin, sharpened or flattened by a temperature and rounded to float32, so that values near
    1 tie as those of a softmax do.
    """
    rng = np.random.default_rng(seed)
    step = np.linspace(0, 1, models)
    accuracy = lowest + (highest - lowest) * step**0.8
    cost = CHEAPEST * (DEAREST / CHEAPEST) ** step * np.exp(rng.normal(0, 0.1, models))
    correct = np.empty((models, samples), bool)
    confidence = np.empty((models, samples))
    for m, (is_correct, evidence) in enumerate(looks(accuracy, samples, rng)):
        posterior = np.clip(ndtr(evidence), 1e-12, 1 - 1e-12)
        sharpened = expit(logit(posterior) * rng.uniform(0.8, 1.4))
        correct[m] = is_correct
        confidence[m] = np.maximum(sharpened, 1e-3).astype(np.float32)
    return correct, confidence, np.sort(cost)


def published_scores(models: int = 27, samples: int = 50_000, seed: int = 0) -> Table:
    """As :func:`scores`, of the models on the published front of 2022 (all but its least accurate:
    27; of another number, what lies evenly along that front).

    A confidence is the noisy look itself, in float64: no two samples tie.
    """
    table = cl.published.models()
    front = table.iloc[cl.pareto_front(table["macs"], table["top1"])[1:]]
    place = np.linspace(0, len(front) - 1, models)
    accuracy = np.interp(place, np.arange(len(front)), front["top1"])
    cost = np.exp(np.interp(place, np.arange(len(front)), np.log(front["macs"])))
    found = list(looks(accuracy, samples, np.random.default_rng(seed)))
    correct = np.array([is_correct for is_correct, _ in found])
    return correct, np.array([evidence for _, evidence in found]), cost


def listed_scores(models: int, samples: int, seed: int = 0, planted: int = 0) -> Table:
    """As :func:`published_scores`, of models like all that timm published, on its front or not.

    Accuracies and MACs are drawn from the list, with small changes. `planted` triples of models
    have a hundredth of their cost, so that cascades of other models cost more.
    """
    table = cl.published.models()
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(table), models)
    accuracy = np.clip(table["top1"].to_numpy()[rows] + rng.normal(0, 0.004, models), 0.4, 0.9)
    cost = table["macs"].to_numpy()[rows] * np.exp(rng.normal(0, 0.05, models))
    cost[rng.choice(models, 3 * planted, replace=False)] /= 100
    order = np.argsort(cost)
    correct = np.empty((models, samples), bool)
    confidence = np.empty((models, samples))
    for m, (is_correct, evidence) in enumerate(looks(accuracy[order], samples, rng)):
        correct[m] = is_correct
        confidence[m] = evidence
    return correct, confidence, cost[order]


def looks(
    accuracy: np.ndarray, samples: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(correct bool [k], the evidence for it float64 [k]) of models of some accuracies, one after
    another: the normal quantile of the probability of being correct, given a noisy look at the
    margin.
    """
    ease, doubt = rng.normal(size=(2, samples))
    for mean in ndtri(accuracy):
        margin = mean + COMMON * ease + np.sqrt(1 - COMMON**2) * rng.normal(size=samples)
        seen = margin + NOISE * (0.6 * doubt + 0.8 * rng.normal(size=samples))
        spread = np.sqrt(NOISE**2 / (1 + NOISE**2))
        yield margin > 0, (mean + (seen - mean) / (1 + NOISE**2)) / spread


# Of whose models: what makes a table of them.
KINDS: dict[str, Callable[..., Table]] = {
    "smooth accuracies": scores,
    "published accuracies": published_scores,
}
