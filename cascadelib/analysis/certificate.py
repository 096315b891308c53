"""A certificate: is the loss of a cascade at most ε, its cost within a budget? Learn-then-Test over a front, for any
number of samples, with labels only where they can matter."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..evaluation.evaluation import check_store, mean_cost, point_list, right_alone, run_cascades
from ..fronts.front import Front, Point
from ..labels import Labels, as_text
from ..scoring import F1, f1
from ..tables import arrow, number
from .p_values import cost_p_value, f1_p_value, loss_p_value
from .repeats import refuse_equal_rows, refuse_repeated_ids, samples_seen

STEPS = 100  # most points of a front that are tested
UNSEEN = (
    "a guarantee needs samples that they have not seen: search on store.take(slice(0, None, 2)) and certify on "
    "store.take(slice(1, None, 2))"
)


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` found: ``certified`` Points in the order in which they were tested. As text: the promise.

    ``table``: a row a tested point: models, thresholds, cost (where the point was chosen), accuracy_loss (reference −
    cascade on the certification split; negative: a gain; F1 under that score), lost and gained (share of samples that
    only the reference, or only the cascade, gets right; graded: mean loss and gain), unlabelled (share that is in lost
    for want of a label), cost_here, group (of the largest p-value), p_value, certified. samples: of the certification
    split. promise: in words. overlap_checked: whether it is known that none of them took part in finding the points.
    """

    certified: tuple[Point, ...]
    reference: str
    epsilon: float | None
    delta: float
    samples: int
    table: pd.DataFrame
    promise: str
    overlap_checked: bool = False

    @property
    def point(self) -> Point | None:
        """The cheapest certified Point; for a budget alone the most accurate. None where nothing is certified."""
        if self.epsilon is None:
            return max(self.certified, key=lambda point: point.accuracy, default=None)
        return min(reversed(self.certified), key=lambda point: point.cost, default=None)

    def __str__(self) -> str:
        if self.point is None:
            return (
                f"Nothing is certified: {self.samples} samples do not show at confidence {1 - self.delta:.0%} that a "
                f"cascade {self.promise}. Allow a larger loss or cost, or bring more samples."
            )
        unchecked = (
            " This holds if none of the samples took part in finding the cascades or in fitting their confidences, "
            "which was not checked: sample ids are not known for all of them (sample_ids=)."
        )
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of the {self.samples} certification "
            f"samples, {arrow(self.point.models)} {self.promise}, on data from the same source."
            + ("" if self.overlap_checked else unchecked)
        )


def certify(
    points: Any,
    store: Any,
    epsilon: float | None = None,
    delta: float = 0.05,
    reference: str | None = None,
    *,
    budget: float | None = None,
    groups: Any = None,
    labels: Mapping | None = None,
    drawn: bool = False,
    at_once: bool = False,
) -> Certificate:
    """Certify cascades that were chosen elsewhere: a :class:`Certificate`.

    points: a Front, of which at most 100 are tried, evenly spread among those that keep ε and the budget where they
    were found, those with most room first (for ε alone: the most accurate); or Points in the order in which to try
    them. store: the certification split, samples that had no part in choosing points, order or reference. epsilon: the
    loss against ``reference`` to stay below, by default the most accurate single model where the Front was found;
    budget: the mean cost a sample to stay within; one of the two, or both. groups: [k], the group of each sample, such
    as its label: ε is then kept in each group that is there.

    Guarantee: if the certification samples are independent draws from the distribution on which the cascade will run,
    the probability that *any* certified point loses ε or more of expected accuracy against the reference (in any of the
    groups), or costs more than the budget in the mean, is at most δ. Learn-then-Test (Angelopoulos, Bates, Candès,
    Jordan, Lei, 2021, *Learn then test*) with fixed-sequence testing: each point's hypothesis "it breaks the promise"
    is tested at level δ, and the first that is not rejected ends it (along a front: Pareto testing, Laufer-Goldshtein,
    Fisch, Barzilay, Jaakkola, 2023); at_once: all points, by Holm's (1979) method. The p-values are valid for any
    number of samples (:mod:`cascadelib.analysis.p_values`; docs/guarantees.md in words); of several risks or groups the
    largest counts (intersection-union; Berger, 1982). Nothing is said of data that have drifted, nor of what was not
    asked: classes, cost.

    labels: {sample id: label}, top-1 only, in place of the store's, which may have none. With those that
    :func:`to_label` names the p-values are those of all labels; one that is missing (None, nan) counts as it hurts
    most, whoever chose which are known. drawn: known are the first m that to_label named, m settled before any label
    was seen; a label that no model predicts then says that neither is correct.

    Raises ValueError for ε outside [0, 1), δ outside (0, 1), an unknown reference, labels or groups of other samples,
    a sample without a group, samples that repeat others (:mod:`cascadelib.analysis.repeats`), and a store that shares
    samples with a split on which a point was found or its method fitted, as far as ids, names, files and the models'
    answers tell (where ids do not, the certificate says so).
    """
    if not 0 <= (epsilon or 0) < 1 or not 0 < delta < 1:
        raise ValueError(
            f"epsilon must lie in [0, 1) and delta in (0, 1), not {epsilon} and {delta}"
        )
    if epsilon is None and budget is None:
        raise ValueError(
            "give epsilon, the loss to stay below, or budget=, the mean cost to stay within"
        )
    check_store(store)
    points, reference = tried(points, reference, epsilon, budget)
    checked, score = refuse_shared_samples(points, store.origin, reference), points[0].score
    refuse_repeated_ids(store)
    parts = grouped(groups, len(store))
    store, differs, there = with_labels(store, points, reference, labels, drawn)
    right = right_alone(store, reference, score)
    positive = store.positives() if score == F1 else None
    outcomes = {run[0]: run[1:] for run in run_cascades(store, points)}
    refuse_same_split(points, outcomes)
    refuse_equal_rows(store, models_of(points, reference))
    level, rows = delta / len(points) if at_once else delta, []
    for at, point in enumerate(points):
        (exits, correct, costs), p_values = outcomes[at], {}
        losses = right.astype(np.float64) - correct
        row = {"models": point.models, "thresholds": point.thresholds, "cost": point.cost}
        if epsilon is not None:
            loss = (
                losses.mean() if positive is None else f1(right, positive) - f1(correct, positive)
            )
            row |= {"accuracy_loss": loss, "lost": np.maximum(losses, 0).mean()}
            row |= {
                "gained": np.maximum(-losses, 0).mean(),
                "unlabelled": (differs[at] & ~there).mean(),
            }
            for name, of in parts.items():
                if positive is not None:
                    p_values[name] = f1_p_value(
                        right[of], correct[of], positive[of], epsilon, level
                    )
                else:
                    p_values[name] = loss_p_value(
                        losses[of], differs[at][of], there[of], drawn, epsilon, level
                    )
            row |= {} if groups is None else {"group": max(p_values, key=p_values.__getitem__)}
        if budget is not None:
            row["cost_here"] = mean_cost(costs, exits)
            p_values["cost"] = cost_p_value(exits, costs, budget, level)
        rows.append(row | {"p_value": max(p_values.values())})
        if not at_once and rows[-1]["p_value"] > delta:
            break
    table = pd.DataFrame(rows)
    falling, left = (
        table["p_value"].sort_values(),
        len(points) - np.arange(len(points)) if at_once else 1,
    )
    table["certified"] = pd.Series(
        np.logical_and.accumulate(falling * left <= delta), falling.index
    )
    found = tuple(points[row] for row in np.flatnonzero(table["certified"]))
    where = f" in each of {len(parts)} groups" if groups is not None else ""
    what = "accuracy" if positive is None else "F1"
    promise = (
        []
        if epsilon is None
        else [f"loses at most {epsilon:.2%} of {what} against {reference}{where}"]
    )
    promise += [] if budget is None else [f"costs at most {number(budget)} a sample"]
    return Certificate(
        found, reference, epsilon, delta, len(store), table, " and ".join(promise), checked
    )


def to_label(
    points: Any,
    unlabelled: Any,
    reference: str | None = None,
    epsilon: float | None = None,
    budget: float | None = None,
) -> np.ndarray:
    """Ids of the samples whose labels :func:`certify` can use: those on which a point predicts another class than the
    reference, in the order of SHA-256 of their ids, so that the first m are a uniform draw, for any m.

    points, reference, epsilon, budget: as there; they tell which points of a Front are tried, without ε or budget all.
    unlabelled: a LogitStore, or a ScoreTable with predictions; labels are not read. ValueError for scores other than
    top-1, where equal predictions need not mean equal loss, and for samples that certify would refuse.
    """
    check_store(unlabelled)
    refuse_repeated_ids(unlabelled)
    points, reference = tried(points, reference, epsilon, budget)
    refuse_shared_samples(points, unlabelled.origin, reference)
    _, differs = agreeing(unlabelled, points, reference)
    return unlabelled.origin.sample_ids[in_order(differs.any(axis=0), unlabelled.origin)]


def agreeing(store: Any, points: list[Point], reference: str) -> tuple[Any, np.ndarray]:
    """(the models of points and reference on a store, labelled by what the reference predicts; bool [points, k]: where
    each point predicts otherwise)."""
    if any(point.score != "top1" for point in points):
        raise ValueError(
            "without labels only top-1 predictions say that a loss is 0: search with score='top1'"
        )
    part = store.select(models_of(points, reference))
    agreed, differs = (
        part.labelled(part.predicted(reference)),
        np.empty((len(points), len(store)), bool),
    )
    for at, _, right, _ in run_cascades(agreed, points):
        differs[at] = ~right
    return agreed, differs


def models_of(points: list[Point], reference: str) -> list[str]:
    """The reference and all models of the points, each once."""
    return list(dict.fromkeys([reference, *(name for point in points for name in point.models)]))


def in_order(rows: Any, origin: Labels) -> list[int]:
    """The rows of a mask [k] in the order of SHA-256 of their ids."""
    return sorted(
        np.flatnonzero(rows),
        key=lambda row: hashlib.sha256(str(origin.sample_ids[row]).encode()).digest(),
    )


def with_labels(
    store: Any, points: list[Point], reference: str, labels: Mapping | None, drawn: bool
) -> tuple[Any, np.ndarray, np.ndarray]:
    """(store whose labels are those that are known, elsewhere what the reference predicts; bool [points, k]: where a
    label can matter; bool [k]: whose labels are known). With the store's own labels all can matter, and are known."""
    if labels is None and not store.models["top1"].isna().any():
        return store, np.ones((len(points), len(store)), bool), np.ones(len(store), bool)
    told = dict(() if labels is None else labels)
    given = {
        str(sample): label for sample, label in told.items() if not pd.isna(label)
    }  # None, nan: not yet known
    ids = store.origin.sample_ids
    if strangers := sorted(given.keys() - set(ids.tolist())):
        raise ValueError(
            f"labels: {len(strangers)} ids are not the store's, the first is {strangers[0]!r}"
        )
    (agreed, differs), there = agreeing(store, points, reference), np.isin(ids, list(given))
    in_draw = there[in_order(differs.any(axis=0), store.origin)]
    if drawn and not in_draw[: np.count_nonzero(in_draw)].all():
        raise ValueError(
            "drawn=True: the labelled ones are not the first that to_label names for these points"
        )
    values = agreed.predicted(reference)
    if values.dtype.kind == "U":  # text, which has many spellings
        given = dict(zip(given, as_text(np.array(list(given.values()), object)).tolist()))
        classes = set(np.concatenate([agreed.predicted(name) for name in agreed.models.index]))
        check_spelling(given, classes, drawn)
    values = values.tolist()
    return (
        agreed.labelled([given.get(sample, own) for sample, own in zip(ids.tolist(), values)]),
        differs,
        there,
    )


def check_spelling(labels: Mapping[str, str], classes: set[str], drawn: bool) -> None:
    """ValueError for a label that no model predicts: it may be a class in another spelling. ``drawn``, where none can
    be left out, it says that neither model is correct, unless it differs from a class in case or spaces alone."""
    spelled = {name.strip().casefold() for name in classes}
    foreign = {sample: label for sample, label in labels.items() if label not in classes}
    for sample, label in foreign.items():
        if drawn and len(foreign) < len(labels) and label.strip().casefold() not in spelled:
            continue
        raise ValueError(
            f"labels: no model predicts {label!r}, the label of sample {sample!r}: write labels as predictions are "
            "written, and without drawn=True leave out those of classes that none predicts"
        )


def grouped(groups: Any, k: int) -> dict[Any, np.ndarray]:
    """{group: bool [k]} of the groups that :func:`certify` is given; one of all samples where it is given none.
    ValueError for another shape, and where a sample has no group (None, nan): it would be in none of the promises."""
    values = np.full(k, "") if groups is None else np.asarray(groups)
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise ValueError(
            f"groups: {len(missing)} samples have none (None or nan), the first is row {missing[0]}: give them a "
            "group of their own, or leave them out with store.take"
        )
    if values.shape != (k,):
        raise ValueError(
            f"groups must be [{k}], the group of each sample, not {list(values.shape)}"
        )
    return {name: values == name for name in np.unique(values).tolist()}


def tried(
    points: Any, reference: str | None, epsilon: float | None, budget: float | None
) -> tuple[list[Point], str]:
    """(points in the order in which they are tested, reference; for a budget alone any model): see :func:`certify`."""
    if hasattr(points, "table"):
        reference = points.singles["accuracy"].idxmax() if reference is None else reference
        return candidates(
            points, known(reference, points.singles.index, "model"), epsilon, budget
        ), reference
    if reference is None and (epsilon is not None or budget is None):
        raise ValueError("name the reference= model that epsilon refers to")
    points = point_list(points)
    if len(scores := {point.score for point in points}) > 1:
        raise ValueError(
            f"the points have different scores, {', '.join(sorted(scores))}: certify them apart"
        )
    return points, reference or points[0].models[-1]


def candidates(
    front: Front, reference: str, epsilon: float | None = None, budget: float | None = None
) -> list[Point]:
    """At most STEPS points of a front that keep ε and a budget where they were found, those first that have most room
    to the nearer of the two, in standard deviations of a sample's loss and cost; without either, all."""
    table, paid = front.table, front.singles["cost"]
    if epsilon is None and budget is None:
        return point_list(front)
    loss, room = (
        (front.singles.loc[reference, "accuracy"] - table["accuracy"]).to_numpy(),
        np.full(len(table), np.inf),
    )
    if epsilon is not None:
        room = np.where(
            loss <= epsilon, (epsilon - loss) / np.sqrt(epsilon + np.maximum(loss, 0) + 1e-9), -1
        )
    if budget is not None:
        spent = [
            np.cumsum(paid[list(models)]) - cost
            for models, cost in zip(table["models"], table["cost"])
        ]
        spread = [np.sqrt(np.average(s**2, weights=r)) for s, r in zip(spent, table["exit_rates"])]
        room = np.minimum(room, (budget - table["cost"]) / (np.array(spread) + 1e-9 * budget))
    order = np.argsort(-room, kind="stable")[: np.count_nonzero(room >= 0)]
    if not len(order):
        asked = f"epsilon={epsilon} of {reference}, budget={budget}"
        raise ValueError(f"no cascade of the front comes within {asked}, even where it was found")
    return [
        front.point(int(order[i]))
        for i in np.unique(np.linspace(0, len(order) - 1, STEPS).astype(int))
    ]


def refuse_shared_samples(points: list[Point], origin: Labels, reference: str) -> bool:
    """ValueError where samples (:class:`Labels`) took part in finding a point; else whether that is known of all."""
    seen = [point.seen for point in points]
    shared = samples_seen(seen, origin, models_of(points, reference))
    if shared:
        name = f" ({origin.dataset} {origin.split})" if origin.dataset or origin.split else ""
        raise ValueError(
            f"{shared} of the {len(origin)} samples took part in finding the cascades{name}, by "
            f"their ids or by what the models said of them; {UNSEEN}"
        )
    return shared is not None


def refuse_same_split(points: list[Point], outcomes: dict[int, tuple]) -> None:
    """ValueError where three cascades or more come out to the last sample as where they were found."""
    for at, point in enumerate(points):
        exits, correct, _ = outcomes[at]
        here = (np.mean(correct), *np.bincount(exits, minlength=len(point.models)) / len(exits))
        if len(points) < 3 or not np.allclose(
            here, (point.accuracy, *point.exit_rates), rtol=0, atol=1e-12
        ):
            return
    raise ValueError(f"this store is the split on which the cascades were found; {UNSEEN}")
