"""Estimate the number of images that would decide the paper's main comparisons.

Two assumptions are made. The published difference is the true one. The standard error of that
difference is that of this run's models, relative to their values, and falls with the square root of
the number of images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import norm

from tools.evidence import EvidenceByClaim, known_draws
from tools.ranges import ratio

LEVEL = 0.05  # of a two-sided test of one comparison
POWER = 0.8

# comparison: (ids of the claim with its values, published difference, its value in this run)
COMPARISONS: dict[str, tuple[Sequence[str], float, Callable]] = {
    "mean factor of pairs: softmax margin ÷ max softmax − 1": (
        ("first",),
        1.502 / 1.497 - 1,
        lambda v: ratio(v["softmax_margin"], v["max_softmax"]) - 1,
    ),
    "mean factor in time above 86%: max softmax ÷ mean logits − 1": (
        ("time-86", "own-time-86"),
        2.618 / 2.203 - 1,
        lambda v: ratio(v["max_softmax"], v["max_softmax_mean_logits"]) - 1,
    ),
    "highest accuracy of pairs: mean logits − max softmax": (
        ("logits-top",),
        0.8903 - 0.8890,
        lambda v: v["max_softmax_mean_logits"] - v["max_softmax"],
    ),
    "accuracy: the most accurate pair − the best single model": (
        ("pairs-top",),
        0.00306,
        lambda v: v,
    ),
}


def images_to_decide(*directions: EvidenceByClaim) -> pd.DataFrame:
    """Return the number of images at which a test of a published difference succeeds.

    directions: evidence of held-out data by claim, one mapping for each selection split. Columns:
    published (the paper's difference), this run (mean over directions), standard error (of one
    direction with this run's number of images), images, for an even chance, and images, for a power
    of 80%.
    """
    quantile = norm.isf(LEVEL / 2)
    rows = {}
    for label, (names, published, difference) in COMPARISONS.items():
        found = [side[name] for side in directions for name in names if name in side]
        draws = [known_draws(each, difference) for each in found]
        if not draws or not all(draws):
            continue
        error = float(np.sqrt(np.mean([np.var(values, ddof=1) for values in draws])))
        samples = min(each.samples for each in found)
        even, likely = (
            samples * ((quantile + norm.ppf(power)) * error / published) ** 2
            for power in (0.5, POWER)
        )
        rows[label] = {
            "published": published,
            "this run": float(np.mean([difference(each.value) for each in found])),
            "standard error": error,
            "images, even chance": even,
            f"images, power {POWER:.0%}": likely,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("comparison")


def in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Format :func:`images_to_decide` for reading, with two significant digits of the numbers of
    images."""
    shown = table.copy().astype(object)
    for column in table:
        is_count = column.startswith("images")
        shown[column] = [
            f"{float(f'{value:.1e}'):,.0f}" if is_count else f"{value:+.2%}"
            for value in table[column]
        ]
    return shown
