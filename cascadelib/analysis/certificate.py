"""A certificate: is the loss of a cascade at most ε, its cost within a budget?

Learn-then-Test over a front, for any number of samples, with labels only where they can matter.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import check_number, known, unmasked
from ..evaluation.evaluation import check_store, correct_alone
from ..evaluation.point import Point, points_of
from ..evaluation.run import Run, runs_of
from ..fronts.front import Front
from ..labels import Labels, as_text, together
from ..scoring import F1, f1, score_of
from ..store.protocol import Store
from ..tables import arrow, number
from .p_values import cost_p_value, f1_p_value, loss_p_value
from .repeats import (
    refuse_equal_rows,
    refuse_repeated_ids,
    refuse_same_split,
    refuse_shared_samples,
    size_of_table,
)

STEPS = 100  # most points of a front that are tested


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` found. As text: the promise.

    Parameters
    ----------
    certified : tuple of Point
        In the order in which they were tested; they say that they have seen the certification
        split.
    reference : str
        The model that losses are measured against.
    epsilon, delta : float
        Of :func:`certify`.
    samples : int
        Of the certification split.
    table : DataFrame
        A row per tested point: models, thresholds, cost (where the point was chosen),
        accuracy_loss (reference − cascade on the certification split; negative: a gain; F1 under
        that score), lost and gained (share of samples on which only the reference, or only the
        cascade, is correct; graded: mean loss and gain), unlabelled (share that is in lost for want
        of a label), cost_here, group (of the largest p-value), p_value, certified.
    promise : str
        In words.
    overlap_checked : bool
        Whether it is known that none of the samples took part in finding the points.
    table_size : int
        Of the table that the promise is about: samples whose confidences gave the thresholds, those
        of the split among them; 0: it is about the source.
    """

    certified: tuple[Point, ...]
    reference: str
    epsilon: float | None
    delta: float
    samples: int
    table: pd.DataFrame
    promise: str
    overlap_checked: bool = False
    table_size: int = 0

    @property
    def cascades(self) -> tuple[Point, ...]:
        """Those that are certified: what :func:`points_of` asks for."""
        return self.certified

    @property
    def point(self) -> Point | None:
        """The cheapest certified Point; for a budget alone the most accurate, or the last tested
        where no accuracy is known.

        None where nothing is certified.
        """
        last_first = reversed(self.certified)
        if self.epsilon is None:
            return max(
                last_first, key=lambda point: float(np.nan_to_num(point.accuracy)), default=None
            )
        return min(last_first, key=lambda point: point.cost, default=None)

    def __str__(self) -> str:
        if self.point is None:
            return (
                f"Nothing is certified: {self.samples} samples do not show at confidence "
                f"{1 - self.delta:.0%} that a cascade {self.promise}. Allow a larger loss or cost, "
                "or bring more samples."
            )
        unchecked = (
            " This holds if none of the samples took part in finding the cascades or in fitting "
            "their confidences, which was not checked: sample ids (sample_ids=) or the models' "
            "answers are not known for all of them."
        )
        draw = f"the {self.samples} certification samples"
        where = "data from the same source"
        if self.table_size:
            draw += f" from the {self.table_size} whose confidences gave the thresholds"
            where = f"those {self.table_size}"
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of {draw}, "
            f"{arrow(self.point.models)} {self.promise}, on {where}."
            + ("" if self.overlap_checked else unchecked)
        )


def certify(
    store: Store,
    cascades: Any,
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
    """Certify cascades that were chosen elsewhere.

    Guarantee: if the certification samples are independent draws from the distribution on which the
    cascade will run, the probability that *any* certified point loses ε or more of expected
    accuracy against the reference (in any of the groups), or costs more than the budget in the
    mean, is at most δ. Fixed-sequence testing: each point's null hypothesis (it violates the
    promise) is tested at level δ, in order, until one is not rejected. The p-values are valid for
    any number of samples (:mod:`cascadelib.analysis.p_values`; docs/guarantees.md in words); of
    several risks or groups the largest counts. No guarantee under distribution shift, nor per class
    or on cost unless ``groups=`` or ``budget=`` asks for it.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The certification split, samples that had no part in choosing points, order or reference.
    cascades : Front, Point, Policy, Cascade, Certificate, or a list of them
        Of a Front at most 100 points are tried, evenly spread among those that keep ε and the
        budget where they were found, those with most room first (for ε alone: the most accurate).
        Others are tried in their order.
    epsilon : float, optional
        The loss against ``reference`` to stay below, in [0, 1).
    delta : float
        Probability with which the promise may fail, in (0, 1).
    reference : str, optional
        A model; default: the most accurate single model where a Front was found.
    budget : float, optional
        The mean cost per sample to stay within. ``epsilon``, ``budget`` or both are needed.
    groups : [k], optional
        The group of each sample, such as its label: ε is then kept in each group that is there.
    labels : mapping, optional
        {sample id: label}, top-1 only, in place of the store's, which may have none. With those
        that :func:`to_label` names the p-values are those of all labels; one that is missing (None,
        nan) counts as the worst case, however the known ones were selected.
    drawn : bool
        The known labels are those of the first m samples that to_label named, m settled before any
        label was seen; a label that no model predicts then counts as both wrong.
    at_once : bool
        Test all points, by Holm's method.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        For ε or δ outside of their ranges, an unknown reference, labels or groups of other samples,
        a sample without a group, samples that repeat others (:mod:`cascadelib.analysis.repeats`),
        and a store that shares samples with a split on which a point was found or its method
        fitted, as far as ids, names, files and the models' answers tell (where ids do not, the
        certificate says so).

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan, Lei (2021), *Learn then test*; Laufer-Goldshtein, Fisch,
    Barzilay, Jaakkola (2023), *Efficiently controlling multiple risks with Pareto testing*; Berger
    (1982), intersection-union tests; Holm (1979).
    """
    check_promise(epsilon, delta, budget)
    check_store(store)
    points, reference = tried(cascades, reference, epsilon, budget)
    overlap_checked = refuse_shared_samples(points, store.origin, models_of(points, reference))
    table_size = size_of_table(points, store.origin)
    refuse_repeated_ids(store)
    parts = grouped(groups, len(store))
    labelled, differs, is_known = with_labels(store, points, reference, labels, drawn)
    score = points[0].score
    trial = Trial(
        correct=correct_alone(labelled, reference, score),
        positive=labelled.positives() if score == F1 else None,
        parts=parts,
        is_known=is_known,
        is_drawn=drawn,
        epsilon=epsilon,
        budget=budget,
        level=delta / len(points) if at_once else delta,
    )
    runs = dict(runs_of(labelled, points))
    refuse_same_split(points, runs)
    deciding = {name for point in points for name in point.models[:-1]}
    refuse_equal_rows(labelled, models_of(points, reference), deciding)
    rows: list[dict] = []
    for position in range(len(points)):
        row = trial.row(runs[position], differs[position])
        if groups is None:
            row.pop("group", None)
        rows.append(row)
        if not at_once and row["p_value"] > delta:
            break
    table = pd.DataFrame(rows)
    table["certified"] = rejected(table["p_value"], delta, at_once)
    where = f" in each of {len(parts)} groups" if groups is not None else ""
    return Certificate(
        certified=tuple(
            replace(points[row], found_on=together(points[row].found_on, store.origin))
            for row in np.flatnonzero(table["certified"])
        ),
        reference=reference,
        epsilon=epsilon,
        delta=delta,
        samples=len(store),
        table=table,
        promise=promise_of(epsilon, budget, name_of(score, trial.correct), reference, where),
        overlap_checked=overlap_checked and table_size is not None,
        table_size=table_size or 0,
    )


def check_promise(epsilon: float | None, delta: float, budget: float | None) -> None:
    """ValueError unless something is promised, at levels that can be promised."""
    check_bounds(epsilon, budget)
    check_number(delta, "delta")
    if not 0 <= (epsilon or 0) < 1 or not 0 < delta < 1:
        raise ValueError(
            f"epsilon must lie in [0, 1) and delta in (0, 1), not {epsilon} and {delta}"
        )
    if epsilon is None and budget is None:
        raise ValueError(
            "give epsilon, the loss to stay below, or budget=, the mean cost to stay within"
        )


def check_bounds(epsilon: float | None, budget: float | None) -> None:
    """ValueError unless each is None or a number: no cost is above nan."""
    for name, value in {"epsilon": epsilon, "budget": budget}.items():
        if value is not None:
            check_number(value, name)


def promise_of(
    epsilon: float | None, budget: float | None, what: str, reference: str, where: str
) -> str:
    """What a certified cascade does, in words; what: that it loses little of."""
    promises = []
    if epsilon is not None:
        promises.append(f"loses at most {epsilon:.2%} of {what} against {reference}{where}")
    if budget is not None:
        promises.append(f"costs at most {number(budget)} a sample")
    return " and ".join(promises)


def name_of(score: str, correct: np.ndarray) -> str:
    """What the mean of a score is called, given who is correct [k], bool or in [0, 1]."""
    if score == "top1" and correct.dtype.kind == "f":
        return "mean score"
    scored = score_of(score)
    return scored.title if scored.rank == 1 else f"top-{scored.rank} accuracy"


def rejected(p_values: pd.Series, delta: float, at_once: bool) -> pd.Series:
    """Which hypotheses "it breaks the promise" are rejected: those before the first that is not, by
    rising p-value; at_once: by Holm's method."""
    rising = p_values.sort_values()
    left = len(rising) - np.arange(len(rising)) if at_once else 1
    return pd.Series(np.logical_and.accumulate(rising * left <= delta), rising.index)


@dataclass(frozen=True, eq=False)
class Trial:
    """What each point is tested by, on k samples.

    Parameters
    ----------
    correct : [k]
        Whether the reference is correct.
    positive : bool [k] or None
        The samples of class 1 under F1.
    parts : {group: bool [k]}
    is_known : bool [k]
        Whose labels are known.
    is_drawn : bool
        Whether those are a uniform draw of the samples whose labels can matter.
    epsilon, budget : float or None
    level : float
        At which a point is tested.
    """

    correct: np.ndarray
    positive: np.ndarray | None
    parts: Mapping[Any, np.ndarray]
    is_known: np.ndarray
    is_drawn: bool
    epsilon: float | None
    budget: float | None
    level: float

    def row(self, run: Run, differs: np.ndarray) -> dict[str, Any]:
        """The row of a point in the certificate's table; differs: bool [k], where its label can
        matter."""
        point = run.point
        row: dict[str, Any] = {
            "models": point.models,
            "thresholds": point.thresholds,
            "cost": point.cost,
        }
        p_values: dict[Any, float] = {}
        if self.epsilon is not None:
            row |= self.losses(run, differs)
            p_values = {name: self.p_value(run, differs, name, self.epsilon) for name in self.parts}
            row["group"] = max(p_values, key=p_values.__getitem__)
        if self.budget is not None:
            row["cost_here"] = run.cost
            p_values["cost"] = cost_p_value(run.exit_stage, run.costs, self.budget, self.level)
        return row | {"p_value": max(p_values.values())}

    def losses(self, run: Run, differs: np.ndarray) -> dict[str, float]:
        """What a point loses and gains against the reference."""
        losses = self.correct.astype(np.float64) - run.correct
        loss = losses.mean()
        if self.positive is not None:
            loss = f1(self.correct, self.positive) - f1(run.correct, self.positive)
        return {
            "accuracy_loss": loss,
            "lost": np.maximum(losses, 0).mean(),
            "gained": np.maximum(-losses, 0).mean(),
            "unlabelled": (differs & ~self.is_known).mean(),
        }

    def p_value(self, run: Run, differs: np.ndarray, group: Any, epsilon: float) -> float:
        """Of the hypothesis that a point loses ε or more in a group."""
        of = self.parts[group]
        correct = run.correct
        if self.positive is not None:
            return f1_p_value(self.correct[of], correct[of], self.positive[of], epsilon, self.level)
        losses = self.correct[of].astype(np.float64) - correct[of]
        return loss_p_value(
            losses, differs[of], self.is_known[of], self.is_drawn, epsilon, self.level
        )


def to_label(
    store: Store,
    cascades: Any,
    reference: str | None = None,
    epsilon: float | None = None,
    budget: float | None = None,
) -> np.ndarray:
    """The samples whose labels :func:`certify` can use: those on which a point predicts another
    class than the reference.

    Parameters
    ----------
    store : LogitStore, or ScoreTable with predictions
        Labels are not read.
    cascades, reference, epsilon, budget
        As in :func:`certify`; they tell which points of a Front are tried, without ε or budget all.

    Returns
    -------
    array of str
        Their ids in the order of SHA-256 of the ids, so that the first m are a uniform draw, for
        any m.

    Raises
    ------
    ValueError
        For scores other than top-1, where equal predictions need not mean equal loss, and for
        samples that certify would refuse.
    """
    check_bounds(epsilon, budget)
    check_store(store)
    refuse_repeated_ids(store)
    points, reference = tried(cascades, reference, epsilon, budget)
    refuse_shared_samples(points, store.origin, models_of(points, reference))
    _, differs = agreeing(store, points, reference)
    return store.origin.sample_ids[in_order(differs.any(axis=0), store.origin)]


def agreeing(store: Store, points: Sequence[Point], reference: str) -> tuple[Store, np.ndarray]:
    """(the models of points and reference on a store, labelled by what the reference predicts; bool
    [points, k]: where each point predicts otherwise)."""
    if any(point.score != "top1" for point in points):
        raise ValueError(
            "without labels only top-1 predictions say that a loss is 0: search with score='top1'"
        )
    part = store.select(models_of(points, reference))
    agreed = part.labelled(part.predicted(reference))
    differs = np.empty((len(points), len(store)), bool)
    for position, run in runs_of(agreed, points):
        differs[position] = ~run.correct
    return agreed, differs


def models_of(points: Sequence[Point], reference: str) -> list[str]:
    """The reference and all models of the points, each once."""
    return list(dict.fromkeys([reference, *(name for point in points for name in point.models)]))


def in_order(rows: Any, origin: Labels) -> list[int]:
    """The rows of a mask [k] in the order of SHA-256 of their ids."""
    return sorted(
        np.flatnonzero(rows),
        key=lambda row: hashlib.sha256(str(origin.sample_ids[row]).encode()).digest(),
    )


def with_labels(
    store: Store, points: list[Point], reference: str, labels: Mapping | None, drawn: bool
) -> tuple[Store, np.ndarray, np.ndarray]:
    """(store whose labels are those that are known, elsewhere what the reference predicts; bool
    [points, k]: where a label can matter; bool [k]: whose labels are known). With the store's own
    labels all can matter, and are known."""
    if labels is None and not store.models["top1"].isna().any():
        return store, np.ones((len(points), len(store)), bool), np.ones(len(store), bool)
    told = {} if labels is None else labels
    # None, nan: not yet known
    given = {str(sample): label for sample, label in dict(told).items() if not pd.isna(label)}
    ids = store.origin.sample_ids
    if strangers := sorted(given.keys() - set(ids.tolist())):
        raise ValueError(
            f"labels: {len(strangers)} ids are not the store's, the first is {strangers[0]!r}"
        )
    agreed, differs = agreeing(store, points, reference)
    is_known = np.isin(ids, list(given))
    in_draw = is_known[in_order(differs.any(axis=0), store.origin)]
    if drawn and not in_draw[: np.count_nonzero(in_draw)].all():
        raise ValueError(
            "drawn=True: the labelled ones are not the first that to_label names for these points"
        )
    values = agreed.predicted(reference)
    if values.dtype.kind == "U":  # text, which has many spellings
        given = dict(zip(given, as_text(np.array(list(given.values()), object)).tolist()))
        classes = set(np.concatenate([agreed.predicted(name) for name in agreed.models.index]))
        check_spelling(given, classes, drawn)
    pairs = zip(ids.tolist(), values.tolist())
    known_or_agreed = [given.get(sample, own) for sample, own in pairs]
    return agreed.labelled(known_or_agreed), differs, is_known


def check_spelling(labels: Mapping[str, str], classes: set[str], drawn: bool) -> None:
    """ValueError for a label that no model predicts: it may be a class in another spelling.
    ``drawn``, where none can be left out, it says that neither model is correct, unless it differs
    from a class in case or spaces alone."""
    spelled = {name.strip().casefold() for name in classes}
    foreign = {sample: label for sample, label in labels.items() if label not in classes}
    for sample, label in foreign.items():
        if drawn and len(foreign) < len(labels) and label.strip().casefold() not in spelled:
            continue
        raise ValueError(
            f"labels: no model predicts {label!r}, the label of sample {sample!r}: write labels as "
            "predictions are written, and without drawn=True leave out those of classes that none "
            "predicts"
        )


def grouped(groups: Any, k: int) -> dict[Any, np.ndarray]:
    """{group: bool [k]} of the groups that :func:`certify` is given; one of all samples where it is
    given none. ValueError for another shape, and where a sample has no group (None, nan): it would
    be in none of the promises."""
    values = np.full(k, "") if groups is None else np.asarray(unmasked(groups, "groups"))
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        raise ValueError(
            f"groups: {len(missing)} samples have none (None or nan), the first is row "
            f"{missing[0]}: give them a group of their own, or leave them out with store.take"
        )
    if values.shape != (k,):
        raise ValueError(
            f"groups must be [{k}], the group of each sample, not {list(values.shape)}"
        )
    return {name: values == name for name in np.unique(values).tolist()}


def tried(
    cascades: Any, reference: str | None, epsilon: float | None, budget: float | None
) -> tuple[list[Point], str]:
    """(points in the order in which they are tested, reference; for a budget alone any model): see
    :func:`certify`."""
    if isinstance(cascades, Front):
        singles = cascades.singles
        reference = singles["accuracy"].idxmax() if reference is None else reference
        known(reference, singles.index, "model")
        return candidates(cascades, reference, epsilon, budget), reference
    points = points_of(cascades)
    if reference is None and (epsilon is not None or budget is None):
        raise ValueError("name the reference= model that epsilon refers to")
    if len(scores := {point.score for point in points}) > 1:
        raise ValueError(
            f"the points have different scores, {', '.join(sorted(scores))}: certify each score by itself"
        )
    return points, points[0].models[-1] if reference is None else reference


def candidates(
    front: Front, reference: str, epsilon: float | None = None, budget: float | None = None
) -> list[Point]:
    """At most STEPS points of a front that keep ε and a budget where they were found, those first
    that have most room to the nearer of the two, in standard deviations of a sample's loss and
    cost; without either, all."""
    table = front.table
    if epsilon is None and budget is None:
        return points_of(front)
    loss = (front.singles.loc[reference, "accuracy"] - table["accuracy"]).to_numpy()
    room = np.full(len(table), np.inf)
    if epsilon is not None:
        spread = np.sqrt(epsilon + np.maximum(loss, 0) + 1e-9)
        room = np.where(loss <= epsilon, (epsilon - loss) / spread, -1)
    if budget is not None:
        spread = cost_spread(front) + 1e-9 * budget
        room = np.minimum(room, (budget - table["cost"]) / spread)
    order = np.argsort(-room, kind="stable")[: np.count_nonzero(room >= 0)]
    if not len(order):
        asked = f"epsilon={epsilon} of {reference}, budget={budget}"
        raise ValueError(f"no cascade of the front comes within {asked}, even where it was found")
    steps = np.unique(np.linspace(0, len(order) - 1, STEPS).astype(int))
    return [front.point(int(order[step])) for step in steps]


def cost_spread(front: Front) -> np.ndarray:
    """Standard deviation of a sample's cost about its mean, for each point of a front: float64
    [P]."""
    paid = front.singles["cost"]
    spread = []
    for row in front.table.itertuples():
        excess = np.cumsum(paid[list(row.models)]) - row.cost
        spread.append(np.sqrt(np.average(excess**2, weights=row.exit_rates)))
    return np.array(spread)
