"""Make logits of ImageNet's shape with a planted truth, to rehearse a study of real logits.

    python data/imagenet-1k/rehearsal.py build/rehearsal      50,000 images, 1,000 classes: 8 GB
    … --samples 2000 --classes 50                             smaller, in seconds
    make imagenet LOGITS=build/rehearsal                      all notebooks on them, in one go

The models are the 43 of the paper's two fronts, with their published top-1 on ImageNet (``val``)
and ImageNetV2 (``held_out``), MACs and times. ``planted.json`` has the expected results in closed
form, none of them computed by the library.

An image has a difficulty that all models share. The competence of a model on an image is normal
with variance 1, and the competences of two models have the correlation ``SHARED``. The model is
correct on the images with the largest sums of competence and noise (``LUCK``). Their number follows
from its top-1 accuracy. Its largest probability rises exponentially with competence + noise, and 1
− second ÷ largest with competence − the same noise. Therefore

- the *softmax margin*, their product, orders by competence only. *Max softmax* has noise, and
  *entropy*, which follows 1 − largest − second, has more. A threshold on competence + noise is a
  random threshold on competence. So the expected front of a noisier method is never above the
  concave hull of the other front.
- the *logits margin* is as noisy as max softmax, with the other sign, so the methods are equal.
- the largest probability is on average ``GAPS`` below the accuracy: all models are underconfident,
  and on ImageNetV2 by another amount.
- ``PARTNERS`` have no luck: competence alone decides about their answers. They are not on the front
  of single models in MACs, but pairs that begin with them are better than those of the front.
"""

import argparse
import json
import sys
import zlib
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import multivariate_normal, norm

from cascadelib import LogitStore, published
from cascadelib.datasets.imagenet_1k import synsets

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))
from tools.claims.published_models import on_fronts, rounded  # noqa: E402 - beside the notebooks

SHARED = 0.85  # correlation of two models' competences
LUCK = 0.5  # standard deviation of the noise that, with competence, decides about correctness
NOISE = 0.8  # … of the noise in max softmax and logits margin
CLIP = 3.0  # standard deviations at which competence and noise are clipped
SLOPE = 0.04  # of log probability per unit of competence or noise
MOST = 0.9  # of 1 − second ÷ largest probability
TAIL = 0.15  # standard deviation of the other classes' logits
GAPS = {"val": 0.25, "held_out": 0.15}  # accuracy − mean max softmax
NEXT = 0.6  # share of the wrong answers whose second guess is right
TABLE_1 = (  # first model, second model, cost in the paper's Table 1: its exit rates follow
    ("tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil", 136.2e6),
    ("mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns", 732.4e6),
    ("tf_efficientnet_b4_ns", "beit_large_patch16_224", 14.39e9),
)
SPLITS = {  # data set, column of the published accuracy, images at full size
    "val": ("imagenet-1k", "top1", 50_000),
    "held_out": ("imagenetv2", "imagenetv2_top1", 10_000),
}
BETTER = (("softmax_margin", "max_softmax"), ("max_softmax", "entropy"))
EQUAL = ("max_softmax", "logits_margin")
PARTNERS = ("levit_128s", "convnext_base_in22ft1k")
BEST_AT = (4e8, 1e9, 2e10)  # MACs at which ``planted.json`` has the best pair
ROWS = 5000  # images in memory at a time, with the logits of one model


def front_models() -> pd.DataFrame:
    """The models on either of the paper's fronts: rows of the published table, cheapest first, with
    ``on_macs`` and ``on_seconds``.

    Costs have the four significant digits that the paper's Table 1 has.
    """
    rows = on_fronts(published.models())
    costs = {cost: rounded(rows[cost]) for cost in ("macs", "seconds")}
    return rows.assign(**costs)


def generator(*key: Any) -> np.random.Generator:
    """Return a generator of random numbers for a key of texts and numbers."""
    return np.random.default_rng([zlib.crc32(str(part).encode()) for part in key])


def luck_of(name: str) -> float:
    """Return the standard deviation of the noise that decides about a model's answers."""
    return 0.0 if name in PARTNERS else LUCK


class Behaviour:
    """Competence, noise (float64 [k]) and correctness (bool [k]) of one model on k images.

    difficulty: float64 [k], of all models; accuracy: of this one, exactly; gap: of the split.
    """

    def __init__(
        self,
        difficulty: np.ndarray,
        accuracy: float,
        rng: np.random.Generator,
        gap: float,
        luck: float = LUCK,
    ):
        k = len(difficulty)
        own = rng.standard_normal(k)
        competence = np.sqrt(SHARED) * difficulty + np.sqrt(1 - SHARED) * own
        noise = NOISE * np.clip(rng.standard_normal(k), -CLIP, CLIP)
        order = np.argsort(-(competence + luck * rng.standard_normal(k)))
        self.correct = np.zeros(k, bool)
        self.correct[order[: round(k * accuracy)]] = True
        self.competence = np.clip(competence, -CLIP, CLIP)
        self.above = self.competence + noise
        self.below = self.competence - noise
        self.accuracy = accuracy
        self.gap = gap

    @property
    def largest(self) -> np.ndarray:
        """The largest probability of each image, float64 [k]."""
        return largest_probability(self.accuracy, self.above, self.gap)

    @property
    def relative_margin(self) -> np.ndarray:
        """1 − second ÷ largest probability, float64 [k]."""
        return MOST * np.exp(SLOPE * (self.below - CLIP * (1 + NOISE)))


def largest_probability(accuracy: float, above: Any, gap: float) -> Any:
    """Return the largest probability for competence + noise, on average accuracy − gap."""
    variance = 1 + NOISE**2
    return (accuracy - gap) * np.exp(SLOPE * above - SLOPE**2 * variance / 2)


def guesses(
    labels: np.ndarray, correct: np.ndarray, classes: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(first, second) choice of each image, int64 [k] each; a wrong first has the label next in
    ``NEXT`` of the cases."""
    k = len(labels)
    step = rng.integers(1, classes, k)
    other = (labels + step) % classes
    third = (labels + 1 + (step - 1 + rng.integers(1, classes - 1, k)) % (classes - 1)) % classes
    second_if_wrong = np.where(rng.random(k) < NEXT, labels, third)
    return np.where(correct, labels, other), np.where(correct, other, second_if_wrong)


def logits_of(
    behaviour: Behaviour,
    labels: np.ndarray,
    classes: int,
    dtype: str,
    rng: np.random.Generator,
) -> np.ndarray:
    """The logarithms of a model's probabilities, [k, classes]."""
    first, second = guesses(labels, behaviour.correct, classes, rng)
    largest = behaviour.largest
    next_largest = largest * (1 - behaviour.relative_margin)
    logits = np.empty((len(labels), classes), dtype)
    for start in range(0, len(labels), ROWS):
        rows = slice(start, start + ROWS)
        part = TAIL * rng.standard_normal((len(labels[rows]), classes), np.float32)
        each = np.arange(len(part))
        part[each, first[rows]] = -np.inf
        part[each, second[rows]] = -np.inf
        rest = 1 - largest[rows] - next_largest[rows]
        part += np.log(rest / np.exp(part, dtype=np.float64).sum(axis=1))[:, None]
        part[each, first[rows]] = np.log(largest[rows])
        part[each, second[rows]] = np.log(next_largest[rows])
        logits[rows] = part
    return logits


def write_split(
    folder: Path, split: str, samples: int, classes: int, dtype: str, models: pd.DataFrame
) -> dict[str, Behaviour]:
    """Make one store of all models, and return the behaviour of each."""
    dataset, column, _ = SPLITS[split]
    rng = generator(split)
    labels = rng.permutation(np.arange(samples) % classes)
    difficulty = rng.standard_normal(samples)
    names = synsets()[:classes]
    ids = [f"{split}/{number:05d}" for number in range(samples)]
    store = LogitStore.create(folder / split, labels, ids, names, dataset, split)
    behaviours = {}
    for name, row in models.iterrows():
        own = generator(split, name)
        behaviour = Behaviour(difficulty, row[column], own, GAPS[split], luck_of(name))
        logits = logits_of(behaviour, labels, classes, dtype, own)
        facts = {
            "family": row["family"],
            "image_size": int(row["image_size"]),
            "parameters": int(row["parameters"]),
            "published_seconds": row["seconds"],
        }
        store.add(name, logits, macs=row["macs"], seconds=3 * row["seconds"], dtype=dtype, **facts)
        behaviours[name] = behaviour
    return behaviours


def exceeding(first: float, second: float, correlation: float) -> float:
    """Probability that two standard normal variables of a correlation exceed two bounds."""
    covariance = [[1, correlation], [correlation, 1]]
    return float(multivariate_normal.cdf([-first, -second], [0, 0], covariance))


MAX_SOFTMAX = 1 / np.sqrt(1 + NOISE**2)  # its correlation with competence, as of logits margin


def pair_accuracy(
    first: float,
    second: float,
    exit_rate: float,
    seen: float = MAX_SOFTMAX,
    luck: tuple[float, float] = (LUCK, LUCK),
) -> float:
    """Expected accuracy of a pair.

    Parameters
    ----------
    first, second : float
        The models' accuracies.
    exit_rate : float
        Share of the images that leave at the first.
    seen : float
        Correlation of the confidence with the first model's competence, 1 for softmax margin.
    luck : tuple of float
        Of the two models.
    """
    of_first, of_second = 1 / np.sqrt(1 + np.square(luck))  # correctness with competence
    bound = norm.isf(exit_rate)
    stay = exceeding(norm.isf(first), bound, of_first * seen)
    would = exceeding(norm.isf(second), bound, of_second * seen * SHARED)
    return second + stay - would


def accuracies_at(models: pd.DataFrame, macs: float) -> pd.Series:
    """Expected accuracies of all pairs by max softmax that cost as much, by (first, second)."""
    found = {}
    for first, second in permutations(models.index, 2):
        deferred = (macs - models["macs"][first]) / models["macs"][second]
        if 0 < deferred < 1:
            top1 = models["top1"][[first, second]]
            luck = luck_of(first), luck_of(second)
            found[first, second] = pair_accuracy(*top1, 1 - deferred, luck=luck)
    return pd.Series(found)


def best_pairs(models: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the best pair at each cost of ``BEST_AT``, of all models and of those on the front."""
    on_front = set(models.index[models["on_macs"]])
    rows = []
    for macs in BEST_AT:
        accuracies = accuracies_at(models, macs)
        of_front = accuracies[[on_front.issuperset(pair) for pair in accuracies.index]]
        row: dict[str, Any] = {"macs": macs}
        for candidates, part in (("all", accuracies), ("pareto", of_front)):
            row[candidates] = {"models": list(part.idxmax()), "accuracy": float(part.max())}
        rows.append(row)
    return rows


def planted(models: pd.DataFrame, val: dict[str, Behaviour]) -> dict[str, Any]:
    """Return the expected results of the folder, as in ``planted.json``.

    A pair's threshold is laid where the share of images that Table 1 implies is more confident.
    """
    macs = models["macs"]
    pairs = []
    for first, second, cost in TABLE_1:
        above = np.sort(val[first].above)[::-1]
        count = round(len(above) * (1 - (cost - macs[first]) / macs[second]))
        exit_rate = count / len(above)
        between = (above[count - 1] + above[count]) / 2
        accuracies = models["top1"][first], models["top1"][second]
        seconds = models["seconds"]
        pairs.append(
            {
                "models": [first, second],
                "threshold": float(largest_probability(accuracies[0], between, GAPS["val"])),
                "exit_rate": exit_rate,
                "macs": float(macs[first] + (1 - exit_rate) * macs[second]),
                "published_seconds": float(seconds[first] + (1 - exit_rate) * seconds[second]),
                "expected_accuracy": pair_accuracy(*accuracies, exit_rate),
            }
        )
    return {
        "pairs": pairs,
        "best_pairs": best_pairs(models),
        "drops": (models["top1"] - models["imagenetv2_top1"]).to_dict(),
        "gaps": {split: -gap for split, gap in GAPS.items()},
        "better": [list(methods) for methods in BETTER],
        "equal": list(EQUAL),
    }


def write(folder: Path, samples: int = 50_000, classes: int = 1000, dtype: str = "float16") -> dict:
    """Make the whole folder; the other splits shrink as ``val`` does. Returns what is planted."""
    models = front_models()
    share = samples / SPLITS["val"][2]
    behaviours = {}
    for split, (_, _, count) in SPLITS.items():
        k = samples if split == "val" else max(classes, round(share * count))
        behaviours[split] = write_split(folder, split, k, classes, dtype, models)
    content = planted(models, behaviours["val"])
    (folder / "planted.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return content


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=50_000, help="images of val")
    parser.add_argument("--classes", type=int, default=1000, help="50 or more")
    parser.add_argument("--dtype", default="float16", help="of the logits")
    options = parser.parse_args()
    write(options.folder, options.samples, options.classes, options.dtype)


if __name__ == "__main__":
    main()
