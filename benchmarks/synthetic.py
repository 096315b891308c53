"""Seeded scores at the paper's scale: what 27 ImageNet models look like to a search, without the
models.

Copied from the paper's setting: top-1 accuracies 66% … 88.6% on the single-model front, MACs over
four orders of magnitude, 50,000 samples. Assumed: models err on much the same samples (a common
difficulty; correctness of two models has a tetrachoric correlation of about 0.7) and confidences
tell correct from wrong with an AUROC of about 0.85, well calibrated up to a temperature of each
model's own.
"""

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

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
    ease, doubt = rng.normal(size=(2, samples))
    correct = np.empty((models, samples), bool)
    confidence = np.empty((models, samples))
    for m in range(models):
        mean = ndtri(accuracy[m])
        margin = mean + COMMON * ease + np.sqrt(1 - COMMON**2) * rng.normal(size=samples)
        seen = margin + NOISE * (0.6 * doubt + 0.8 * rng.normal(size=samples))
        posterior = ndtr(
            (mean + (seen - mean) / (1 + NOISE**2)) / np.sqrt(NOISE**2 / (1 + NOISE**2))
        )
        sharpened = expit(logit(np.clip(posterior, 1e-12, 1 - 1e-12)) * rng.uniform(0.8, 1.4))
        correct[m] = margin > 0
        confidence[m] = np.maximum(sharpened, 1e-3).astype(np.float32)
    return correct, confidence, np.sort(cost)
