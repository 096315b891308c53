"""A certificate: is the loss of accuracy of a cascade at most ε? Learn-then-Test over a front, with exact p-values
from paired outcomes, for any number of samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import beta, binom

from ..checks import known
from ..evaluation.evaluation import check_store, evaluate, point_list, quality, right_alone, run_cascades
from ..fronts.front import Front, Point
from ..labels import Labels, samples_in_common
from ..scoring import F1
from ..tables import arrow
from .uncertainty import plug_in_bets

NUISANCE = 1 / 500  # of the level: what the confidence set of the nuisance parameter may miss
NEGLIGIBLE = 1e-12  # probability that a sum may leave out at each end; it is added to the result
GRIDS = (25, 100, 400, 1600)  # finer where a coarser one does not tell
STEPS = 100  # most points of a front that are tested, one after another
UNSEEN = (
    "a guarantee needs samples that they have not seen: search on store.take(slice(0, None, 2)) and certify on "
    "store.take(slice(1, None, 2))"
)


def paired_p_value(lost: int, gained: int, samples: int, epsilon: float, level: float = 0.05) -> float:
    """p-value of the hypothesis "the loss is ε or more" from counts of samples on which exactly one side is right.

    lost, gained: those that only the reference, or only the cascade, gets right, of ``samples`` independent draws. The
    loss is P(lost) − P(gained). level: the value, valid at any, is worked out until it lies on one side of this one.

    An exact unconditional test. Outcomes are ordered by the studentized loss. Their distribution depends on the loss
    and on the nuisance ψ = P(lost) + P(gained); at given ψ the probability of an outcome as extreme is largest at a
    loss of exactly ε (the number of discordant samples depends on ψ only, and given it ``lost`` is binomial). That is
    maximized over Clopper and Pearson's interval for ψ at confidence 1 − γ, and γ = level / 500 is added (Berger and
    Boos, 1994, *P values maximized over a confidence set for the nuisance parameter*). The maximum is bounded, not
    sampled: between points of a grid the probability of an event A moves by at most √(P(A) χ²) (Cauchy and Schwarz),
    where 1 + χ² = (1 + χ₁²)^samples for independent draws.
    """
    discordant, gamma = lost + gained, level * NUISANCE
    low = beta.ppf(gamma / 2, discordant, samples - discordant + 1) if discordant else 0.0
    high = beta.isf(gamma / 2, discordant + 1, samples - discordant) if discordant < samples else 1.0
    if high < epsilon:
        return gamma
    for points in GRIDS:
        ends = np.linspace(max(low, epsilon, 1e-300), high, points + 1)
        middle, half = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
        p = probability_as_extreme(lost - gained, discordant, samples, epsilon, middle)
        parts = np.stack([(middle + epsilon) / 2, (middle - epsilon) / 2, 1 - middle])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = np.nan_to_num(np.stack([half / 2, half / 2, half]) ** 2 / parts, nan=0.0).sum(axis=0)
            bound = p + np.sqrt(p * np.expm1(samples * np.log1p(moved)))
        largest = min(1.0, float(bound.max()) + gamma)
        if largest <= level or p.max() + gamma > level:
            break
    return largest


def probability_as_extreme(s: int, discordant: int, samples: int, loss: float, psi: np.ndarray) -> np.ndarray:
    """P(an outcome with a studentized loss no larger than that of s = lost − gained) for each ψ, float64 [G]."""
    spread = np.sqrt(np.maximum(np.arange(samples + 1), samples * loss) + 1 - samples * loss**2)
    studentized = (s - samples * loss) / spread[discordant]
    first = int(binom.ppf(NEGLIGIBLE, samples, psi.min()))
    last = int(binom.ppf(1 - NEGLIGIBLE, samples, psi.max()))
    d = np.arange(first, last + 1)
    most_lost = np.floor((d + samples * loss + studentized * spread[d]) / 2 + 1e-9)
    share_lost = np.minimum(1.0, (1 + loss / psi) / 2)[:, None]
    terms = binom.pmf(d, samples, psi[:, None]) * binom.cdf(most_lost, d, share_lost)
    return np.minimum(1.0, terms.sum(axis=1) + 2 * NEGLIGIBLE)


def betting_p_value(losses: np.ndarray, epsilon: float, level: float = 0.05) -> float:
    """p-value of the hypothesis "the mean loss is ε or more" from losses in [−1, 1], float [k], for graded scores.

    Capital of a gambler who bets against the hypothesis: each loss d multiplies it by 1 + λ (ε − d), where λ in
    [0, 1 / (1 + |ε|)] is chosen from the losses before. Under the hypothesis that is a nonnegative supermartingale, so
    1 ÷ its maximum is a p-value (Ville, 1939; Waudby-Smith and Ramdas, 2024, *Estimating means of bounded random
    variables by betting*, section 4). Losses must come in an order that does not depend on their values.
    """
    losses = np.asarray(losses, np.float64)
    bets = np.minimum(plug_in_bets(losses, 1 / level, 0.0), 0.75 / (1 + abs(epsilon)))
    capital = np.cumsum(np.log1p(bets * (epsilon - losses)))
    return float(min(1.0, np.exp(-max(0.0, capital.max()))))


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` found: ``certified`` Points, the safest first. As text: the promise.

    ``table``: a row a tested point, up to the first that fails: models, thresholds, cost (where the point was chosen),
    accuracy_loss (reference − cascade on the certification split; negative: a gain), lost and gained (share of samples
    that only the reference, or only the cascade, gets right; graded: mean loss and gain), p_value, certified. samples:
    of the certification split. overlap_checked: whether it is known that none of them took part in finding the points.
    """

    certified: tuple[Point, ...]
    reference: str
    epsilon: float
    delta: float
    samples: int
    table: pd.DataFrame
    overlap_checked: bool = False

    @property
    def point(self) -> Point | None:
        """The cheapest certified Point, None where nothing is certified."""
        return self.certified[-1] if self.certified else None

    def __str__(self) -> str:
        if self.point is None:
            return (
                f"Nothing is certified: {self.samples} samples do not show a loss below {self.epsilon:.2%} against "
                f"{self.reference} at confidence {1 - self.delta:.0%}. Allow a larger loss, or bring more samples."
            )
        unchecked = (
            " This holds if none of the samples took part in finding the cascades, which was not checked: "
            "sample ids are not known for both (sample_ids=)."
        )
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of the {self.samples} certification "
            f"samples, {arrow(self.point.models)} loses at most {self.epsilon:.2%} of accuracy "
            f"against {self.reference}, on data from the same source." + ("" if self.overlap_checked else unchecked)
        )


def certify(points: Any, store: Any, epsilon: float, delta: float = 0.05, reference: str | None = None) -> Certificate:
    """Certify cascades that were chosen elsewhere: a :class:`Certificate`.

    points: a Front, tried from the most accurate point downwards (at most 100, evenly spread, up to a loss of ε where
    it was found), or Points in the order in which to try them. store: the certification split, samples that had no
    part in choosing points, order or reference. reference: the model that ε refers to, by default the most accurate
    single model where the Front was found.

    Guarantee: if the certification samples are independent draws from the distribution on which the cascade will run,
    the probability that *any* certified point loses ε or more of expected accuracy against the reference is at most δ.
    Learn-then-Test (Angelopoulos, Bates, Candès, Jordan, Lei, 2021, *Learn then test*) with fixed-sequence testing:
    each point's hypothesis "the loss is ε or more" is tested at level δ in an order fixed beforehand, and the first
    that is not rejected ends it (along a front: Pareto testing, Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, 2023).
    The p-values are valid for any number of samples: :func:`paired_p_value` where outcomes are right or wrong,
    :func:`betting_p_value` for graded scores. Nothing is said of data that have drifted, of single classes, or of cost.

    Raises ValueError for ε outside [0, 1), δ outside (0, 1), an unknown reference, and a store that shares samples with
    a split on which a point was found, as far as ids, names and files tell (else the certificate says so).
    """
    if not 0 <= epsilon < 1 or not 0 < delta < 1:
        raise ValueError(f"epsilon must lie in [0, 1) and delta in (0, 1), not {epsilon} and {delta}")
    check_store(store)
    if hasattr(points, "table"):
        reference = points.singles["accuracy"].idxmax() if reference is None else reference
        points = descending(points, known(reference, points.singles.index, "model"), epsilon)
    elif reference is None:
        raise ValueError("name the reference= model that epsilon refers to")
    points = point_list(points)
    checked = refuse_shared_samples(points, store.origin)
    outcomes = {at: (exits, correct) for at, exits, correct, _ in run_cascades(store, points)}
    refuse_same_split(points, outcomes)
    if any(point.score == F1 for point in points):
        raise ValueError("F1 is no mean over samples, so its loss cannot be certified: use score='top1'")
    right, rows = right_alone(store, reference, points[0].score), []
    for at, point in enumerate(points):
        rows.append(tested(point, outcomes[at][1], right, epsilon, delta))
        if not rows[-1]["certified"]:
            break
    table = pd.DataFrame(rows)
    return Certificate(tuple(points[: table["certified"].sum()]), reference, epsilon, delta, len(store), table, checked)


def promise_table(
    front: Front, store: Any, held_out: Any, losses: Sequence[float], delta: float = 0.05
) -> pd.DataFrame:
    """What a promise costs, a row an allowed loss: accuracy_loss_allowed (ε), models and cost of what :func:`certify`
    finds for it on ``store`` ("–" and nan: nothing), and accuracy_loss_held_out, against the same reference."""
    rows = []
    for epsilon in losses:
        found = certify(front, store, epsilon, delta)
        row = {"accuracy_loss_allowed": epsilon, "models": ("–",), "cost": np.nan, "accuracy_loss_held_out": np.nan}
        if found.point is not None:
            alone = quality(held_out, right_alone(held_out, found.reference, front.score), front.score)
            row |= {"models": found.point.models, "cost": found.point.cost}
            row["accuracy_loss_held_out"] = alone - evaluate(held_out, found.point).accuracy
        rows.append(row)
    return pd.DataFrame(rows)


def descending(front: Front, reference: str, epsilon: float) -> list[Point]:
    """At most STEPS points of a front, falling in accuracy, the last no more than ε below the reference there."""
    wanted = front.singles.loc[reference, "accuracy"] - epsilon
    rows = np.flatnonzero(front.table["accuracy"] >= wanted)[::-1]
    if not len(rows):
        raise ValueError(f"no cascade of the front comes within {epsilon:.2%} of {reference} even where it was found")
    return [front.point(int(rows[i])) for i in np.unique(np.linspace(0, len(rows) - 1, STEPS).astype(int))]


def refuse_shared_samples(points: list[Point], origin: Labels) -> bool:
    """ValueError where samples (:class:`Labels`) took part in finding a point; else whether that is known of all."""
    counts = [samples_in_common(found_on, origin) for found_on in {point.found_on for point in points}]
    if any(counts):
        shared = max(count or 0 for count in counts)
        name = f" ({origin.dataset} {origin.split})" if origin.dataset or origin.split else ""
        raise ValueError(f"{shared} of the {len(origin)} samples took part in finding the cascades{name}; {UNSEEN}")
    return None not in counts


def refuse_same_split(points: list[Point], outcomes: dict[int, tuple[np.ndarray, np.ndarray]]) -> None:
    """ValueError where three cascades or more come out to the last sample as where they were found."""
    for at, point in enumerate(points):
        exits, correct = outcomes[at]
        here = (np.mean(correct), *np.bincount(exits, minlength=len(point.models)) / len(exits))
        if len(points) < 3 or not np.allclose(here, (point.accuracy, *point.exit_rates), rtol=0, atol=1e-12):
            return
    raise ValueError(f"this store is the split on which the cascades were found; {UNSEEN}")


def tested(point: Point, correct: np.ndarray, right: np.ndarray, epsilon: float, delta: float) -> dict:
    """One test as a row of the table; correct, right [k]: outcomes of the cascade and of the reference."""
    losses = right.astype(np.float64) - correct
    lost, gained = np.maximum(losses, 0), np.maximum(-losses, 0)
    if np.isin(losses, (-1, 0, 1)).all():
        p = paired_p_value(int(lost.sum()), int(gained.sum()), len(losses), epsilon, delta)
    else:
        p = betting_p_value(losses, epsilon, delta)
    means = {"accuracy_loss": losses.mean(), "lost": lost.mean(), "gained": gained.mean()}
    row = {"models": point.models, "thresholds": point.thresholds, "cost": point.cost, **means}
    return row | {"p_value": p, "certified": p <= delta}
