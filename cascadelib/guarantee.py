"""Thresholds with a guarantee: what was chosen on one part of the data is certified on another (risk control)."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .evaluation import check_store, right_alone
from .f1 import F1
from .fixed_cascades import point_list, run_cascades
from .front import Point
from .labels import samples_in_common
from .names import known
from .paired_tests import betting_p_value, paired_p_value
from .tables import arrow

UNCHECKED = (
    "This holds if none of the samples took part in finding the cascades, which was not checked: "
    "sample ids are not known for both (sample_ids=)."
)
STEPS = 100  # most points of a front that are tested, one after another


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` found: ``certified`` Points, the safest first; ``point``, the last of them, or None.

    ``table``: a row a tested point, up to the first that fails: models, thresholds, cost (where the point was chosen),
    accuracy_loss (reference − cascade on the certification split; negative: a gain), lost and gained (share of samples
    that only the reference, or only the cascade, gets right; graded: mean loss and gain), p_value, certified. samples:
    of the certification split. overlap_checked: whether it is known that none of them took part in finding the points.
    As text: the promise.
    """

    certified: tuple[Point, ...]
    reference: str
    epsilon: float
    delta: float
    samples: int
    table: pd.DataFrame
    overlap_checked: bool = False

    @property
    def point(self):
        """The cheapest certified Point, None where nothing is certified."""
        return self.certified[-1] if self.certified else None

    def __str__(self):
        if self.point is None:
            return (
                f"Nothing is certified: {self.samples} samples do not show a loss below {self.epsilon:.2%} against "
                f"{self.reference} at confidence {1 - self.delta:.0%}. Allow a larger loss, or bring more samples."
            )
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of the {self.samples} certification "
            f"samples, {arrow(self.point.models)} loses at most {self.epsilon:.2%} of accuracy "
            f"against {self.reference}, on data from the same source."
            + ("" if self.overlap_checked else f" {UNCHECKED}")
        )


def certify(points, store, epsilon, delta=0.05, reference=None):
    """Certify cascades that were chosen elsewhere: a :class:`Certificate` for the cheapest that passes.

    points: a Front, of which points are tried from the most accurate downwards (at most 100, evenly spread, up to a
    loss of ε where it was found), or Points in the order in which to try them. store: the certification split
    (LogitStore or ScoreTable), samples that had no part in choosing points, order or reference. reference: the model
    that ε refers to, by default the most accurate single model of the store on which the Front was found.

    Guarantee: if the certification samples are independent draws from the distribution on which the cascade will run,
    the probability that *any* certified point loses ε or more of expected accuracy against the reference is at most δ.
    Learn-then-Test (Angelopoulos, Bates, Candès, Jordan, Lei, 2021, *Learn then test*) with fixed-sequence testing:
    each point's hypothesis "the loss is ε or more" is tested at level δ in an order fixed beforehand, the first that
    is not rejected ends it, and the family-wise error is at most δ without a correction. Trying a Pareto front in this
    way is Pareto testing (Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, 2023). The p-values are valid for any number of
    samples: :func:`paired_p_value` where outcomes are right or wrong, :func:`betting_p_value` for graded scores.

    It says nothing of data that have drifted, of single classes, or of cost. Raises ValueError for ε outside [0, 1), δ
    outside (0, 1), an unknown reference, a store that is the very split on which the points were found, and one that
    has samples in common with a split on which one of them was found, as far as ids, names and files tell; where they
    do not, the certificate says so.
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
    name, score = known(reference, store.models.index, "model of this store"), points[0].score
    right = right_alone(store, name, score)
    rows = []
    for at, point in enumerate(points):
        rows.append(tested(point, outcomes[at][1], right, epsilon, delta))
        if not rows[-1]["certified"]:
            break
    table = pd.DataFrame(rows)
    return Certificate(tuple(points[: table["certified"].sum()]), reference, epsilon, delta, len(store), table, checked)


def descending(front, reference, epsilon):
    """At most STEPS points of a front, falling in accuracy, the last no more than ε below the reference there."""
    wanted = front.singles.loc[reference, "accuracy"] - epsilon
    rows = np.flatnonzero(front.table["accuracy"] >= wanted)[::-1]
    if not len(rows):
        raise ValueError(f"no cascade of the front comes within {epsilon:.2%} of {reference} even where it was found")
    return [front.point(int(rows[i])) for i in np.unique(np.linspace(0, len(rows) - 1, STEPS).astype(int))]


def refuse_shared_samples(points, origin):
    """ValueError where samples (:class:`Labels`) took part in finding a point; else whether that is known of all."""
    splits = {id(point.found_on): point.found_on for point in points}
    counts = [samples_in_common(found_on, origin) for found_on in splits.values()]
    if any(counts):
        name = f" ({origin.dataset} {origin.split})" if origin.dataset or origin.split else ""
        raise ValueError(
            f"{max(c or 0 for c in counts)} of the {len(origin)} samples took part in finding the cascades{name}; a "
            "guarantee needs samples that they have not seen: search on store.take(slice(0, None, 2)) and certify on "
            "store.take(slice(1, None, 2))"
        )
    return None not in counts


def refuse_same_split(points, outcomes):
    """ValueError where three cascades or more come out to the last sample as where they were found."""
    found = [(p.accuracy, *p.exit_rates) for p in points]
    here = [
        (np.mean(outcomes[i][1]), *np.bincount(outcomes[i][0], minlength=len(p.models)) / len(outcomes[i][0]))
        for i, p in enumerate(points)
    ]
    if len(points) >= 3 and all(np.allclose(a, b, rtol=0, atol=1e-12) for a, b in zip(found, here, strict=True)):
        raise ValueError(
            "this store is the split on which the cascades were found; a guarantee needs samples that they have not "
            "seen: search on store.take(one half) and certify on the other"
        )


def tested(point, correct, right, epsilon, delta):
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
