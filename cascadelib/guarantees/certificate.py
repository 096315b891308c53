"""A certificate: is the loss of a cascade at most ε, its cost within a budget?

Learn-then-Test over a front, for any number of samples, with labels only where they can matter.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import check_number
from ..evaluation.evaluation import check_store, correct_alone, costs_of
from ..evaluation.pareto import improvement_factor
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from ..labels import aligned, together
from ..scoring import F1, f1, score_of
from ..store.protocol import Store
from ..store.tables.score_checks import refuse_missing
from ..tables import arrow, fraction, number, times
from .few_labels import apply_labels, check_bounds, select_points
from .p_values import cluster_means, cost_p_value, f1_p_value, loss_p_value
from .premises import (
    Case,
    Premise,
    answered_by,
    checked_premises,
    count_certificate,
    premises_table,
    premises_text,
    unanswered,
)
from .repeats import size_of_table


@dataclass(frozen=True, eq=False)
class Certificate:
    """What :func:`certify` found. As text: the promise, and what ``point`` comes to here.

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
    clusters : int or None
        Of these samples.
    reference_cost : float
        Mean cost of the reference alone on these samples.
    table : DataFrame
        A row per tested point: models, thresholds, cost (where the point was chosen),
        accuracy_loss (reference − cascade on the certification split; negative: a gain; F1 under
        that score), lost and gained (share of samples on which only the reference, or only the
        cascade, is correct; graded: mean loss and gain), unlabelled (share that is in lost for want
        of a label), cost_here, group (of the largest p-value), p_value, certified.
    promise : str
        In words.
    checked : tuple of Premise
        The premises of the guarantee, as the checks found them (docs/premises.md).
    computed : int
        How many certificates this process has computed on these samples, this one included. Each
        of them may fail with probability delta.
    table_size : int
        Of the table that the promise is about: samples whose confidences gave the thresholds, those
        of the split among them; 0: it is about the source.
    remarks : tuple of str
        Further sentences of the text.
    """

    certified: tuple[Point, ...]
    reference: str
    epsilon: float | None
    delta: float
    samples: int
    table: pd.DataFrame
    promise: str
    checked: tuple[Premise, ...] = ()
    computed: int = 1
    table_size: int = 0
    clusters: int | None = None
    reference_cost: float = np.nan
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        tested = f"{len(self.certified)} of {len(self.table)} tested points certified"
        return f"<Certificate: {tested}; each {self.promise}>"

    @property
    def cascades(self) -> tuple[Point, ...]:
        """Those that are certified: what :func:`points_of` asks for."""
        return self.certified

    @property
    def premises(self) -> pd.DataFrame:
        """The premises of the guarantee: premise, status ("verified", "violated" or "not
        verifiable") and evidence. Violated ones were accepted (``accept=`` of :func:`certify`)."""
        table = premises_table(self.checked)
        if self.computed > 1:
            table.loc[table["premise"] == "independent", "evidence"] += (
                f"; this process has computed {self.computed} certificates on these samples, and "
                f"each of them may fail with probability {self.delta:.4g}"
            )
        return table

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
        return " ".join([self._statement, *self.remarks])

    @property
    def _statement(self) -> str:
        """The guarantee and the measured cost and loss, in words."""
        drawn = f"{self.samples} samples"
        if self.clusters is not None:
            drawn = f"{self.clusters} clusters of samples"
        premises = premises_text(self.checked)
        if self.point is None:
            return (
                f"Nothing is certified: {drawn} do not show at confidence "
                f"{1 - self.delta:.0%} that a cascade {self.promise}. Allow a larger loss or cost, "
                f"or bring more samples.{premises}"
            )
        draw = f"the {drawn.replace('samples', 'certification samples')}"
        where = "data from the same source"
        if self.table_size:
            draw += f" from the {self.table_size} whose confidences gave the thresholds"
            where = f"those {self.table_size}"
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of {draw}, "
            f"{arrow(self.point.active_models)} {self.promise}, on {where}. "
            f"{self._observed(self.point)}{premises}"
        )

    def _observed(self, point: Point) -> str:
        """What a certified point came to on the certification split, in words."""
        row = self.table[self.table["certified"]].iloc[self.certified.index(point)]
        saving = improvement_factor(self.reference_cost, row["cost_here"])
        saved = f"a saving of {times(saving)} ×" if saving > 1 else "no saving"
        cost = f"{point.chain} costs {number(row['cost_here'])} a sample"
        text = (
            f"{cost}, the reference {self.reference} alone {number(self.reference_cost)}: {saved}."
        )
        if self.epsilon is None:
            return text
        loss = fraction(row["accuracy_loss"])
        if is_alone(point, self.reference):
            loss = "0, it is the reference"
        return f"{text} Observed loss: {loss}."


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
    clusters: Any = None,
    max_price: float | None = None,
    accept: Iterable[str] = (),
) -> Certificate:
    """Certify cascades that were chosen elsewhere.

    Guarantee: if the certification samples are independent draws from the distribution on which the
    cascade will run, the probability that *any* certified point loses ε or more of expected
    accuracy against the reference (in any of the groups), or costs more than the budget in the
    mean, is at most δ. Fixed-sequence testing: each point's null hypothesis (it violates the
    promise) is tested at level δ, in order, until one is not rejected. The p-values are valid for
    any number of samples (:mod:`cascadelib.guarantees.p_values`; docs/guarantees.md in words); of
    several risks or groups the largest counts. The reference itself loses exactly 0: p = 0. No
    guarantee under distribution shift, nor per class or on cost unless ``groups=`` or ``budget=``
    asks for it.

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
    clusters : [k], optional
        The cluster of each sample, such as its user or document: then clusters are the independent
        draws, and what is promised is the loss and the cost of a cluster, the mean over its samples
        (of the group, where there are groups). Samples of one cluster may repeat each other.
    max_price : float, optional
        The most that all stages together can cost for any input, where prices differ by sample;
        without it a promise about cost holds for inputs that cost no more than the dearest here.
    accept : iterable of str
        Violated premises to certify with all the same: "independent", "overlap", "spelling",
        "labels complete", "reference complete", "confidences", "rows aligned", "likeness". The
        text of the certificate and the file of the policy name them.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        For ε or δ outside of their ranges, an unknown reference, labels or groups of other samples,
        a sample without a group or cluster, clusters under F1 or with ``drawn``, a price above
        ``max_price``, and a violated premise that ``accept`` does not name: samples that repeat
        others, samples on which a point was found or its method fitted, … (docs/premises.md).

    References
    ----------
    Angelopoulos, Bates, Candès, Jordan, Lei (2021), *Learn then test*; Laufer-Goldshtein, Fisch,
    Barzilay, Jaakkola (2023), *Efficiently controlling multiple risks with Pareto testing*; Berger
    (1982), intersection-union tests; Holm (1979).
    """
    check_promise(epsilon, delta, budget, max_price)
    check_store(store)
    points, reference = select_points(cascades, reference, epsilon, budget)
    table_size = size_of_table(points, store.origin) or 0
    parts = grouped(groups, store.origin.sample_ids)
    cluster = numbered_clusters(clusters, store.origin.sample_ids, points[0].score, drawn)
    labelled, differs, is_known = apply_labels(store, points, reference, labels, drawn)
    runs = evaluate(labelled, points)
    trial = Trial(
        store=labelled,
        reference=reference,
        score=points[0].score,
        epsilon=epsilon,
        budget=budget,
        max_price=max_price,
        level=delta / len(points) if at_once else delta,
        parts=parts,
        is_known=is_known,
        is_drawn=drawn,
        clusters=cluster,
    )
    promise = trial.promise(dearest_of(runs, max_price))
    case = Case(labelled, store.origin, runs, reference, cluster, differs, is_known, drawn)
    premises = checked_premises(case, accept)
    rows = []
    for run, can_differ in zip(runs, differs):
        rows.append(trial.row(run, can_differ))
        if not at_once and rows[-1]["p_value"] > delta:
            break
    table = pd.DataFrame(rows)
    table["certified"] = rejected(table["p_value"], delta, at_once)
    alone = costs_of(labelled, [reference], points[0].cost_kind)[0]
    written = tuple(asdict(premise) for premise in premises)
    return Certificate(
        certified=tuple(
            replace(
                points[row],
                found_on=together(points[row].found_on, store.origin),
                premises=written,
            )
            for row in np.flatnonzero(table["certified"])
        ),
        reference=reference,
        epsilon=epsilon,
        delta=delta,
        samples=len(store),
        table=table,
        promise=promise,
        checked=premises,
        computed=count_certificate(store.origin),
        table_size=table_size,
        clusters=None if cluster is None else int(cluster.max()) + 1,
        reference_cost=trial.mean(np.full(len(store), alone)),
    )


def is_alone(point: Point, reference: str) -> bool:
    """Whether a point is the reference; with an ensemble of one's own it may answer otherwise."""
    ensemble = getattr(point.method, "ensemble", None)
    return point.models == (reference,) and not callable(ensemble)


def dearest_of(runs: list[Run], max_price: float | None) -> float | None:
    """``max_price``, or the most that all stages cost for any sample, where costs differ by sample,
    else None. ValueError where a sample costs more than ``max_price``."""
    by_sample = [run.costs for run in runs if any(map(np.ndim, run.costs))]
    dearest = max((float(np.max(sum(costs))) for costs in by_sample), default=None)
    if dearest is None or max_price is None:
        return dearest
    if dearest > max_price:
        raise ValueError(
            f"max_price={max_price:g}, but all stages together cost {dearest:g} for one of the "
            "samples here: it must be the most that they can cost for any input"
        )
    return max_price


def check_promise(
    epsilon: float | None, delta: float, budget: float | None, max_price: float | None
) -> None:
    """ValueError unless something is promised, at levels that can be promised."""
    check_bounds(epsilon=epsilon, budget=budget, max_price=max_price)
    check_number(delta, "delta")
    if not 0 <= (epsilon or 0) < 1 or not 0 < delta < 1:
        raise ValueError(
            f"epsilon must lie in [0, 1) and delta in (0, 1), not {epsilon} and {delta}"
        )
    if epsilon is None and budget is None:
        raise ValueError(
            "give epsilon, the loss to stay below, or budget=, the mean cost to stay within"
        )
    if max_price is not None and budget is None:
        raise ValueError("max_price= is for budget=, the mean cost to stay within")


def name_of(score: str, correct: Array) -> str:
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
    store : LogitStore or ScoreTable
        The samples, labelled.
    reference, score : str
    epsilon, budget, max_price : float or None
    level : float
        At which a point is tested.
    parts : {group: bool [k]}
        Of all samples under None where there are no groups.
    is_known : bool [k]
        Whose labels are known.
    is_drawn : bool
        Whether those are a uniform draw of the samples whose labels can matter.
    clusters : int [k] or None
        The number of each sample's cluster.
    """

    store: Store
    reference: str
    score: str
    epsilon: float | None
    budget: float | None
    max_price: float | None
    level: float
    parts: Mapping[Any, Array]
    is_known: Array
    is_drawn: bool
    clusters: Array | None

    @cached_property
    def absent(self) -> Array | None:
        """Where the reference has no answer, bool [k]; None if it has all."""
        absent = unanswered(self.store, self.reference)
        return absent if absent is not None and absent.any() else None

    @cached_property
    def correct(self) -> Array:
        """Whether the reference is correct, [k]; where it has no answer, the worst case for a
        cascade: it is."""
        correct = correct_alone(self.store, self.reference, self.score)
        return (
            correct
            if self.absent is None
            else np.where(self.absent, correct.dtype.type(1), correct)
        )

    def losses(self, run: Run) -> Array:
        """What each sample loses against the reference, [k]: 0 where a cascade's answer is that of
        a reference without one."""
        counted_as = np.result_type(self.correct, run.correct, np.int8)
        losses = self.correct.astype(counted_as) - run.correct
        if self.absent is not None:
            losses[self.absent & answered_by(run, self.reference)] = 0
        return losses

    @cached_property
    def positive(self) -> Array | None:
        """The samples of class 1 under F1, bool [k]."""
        return self.store.positives() if self.score == F1 else None

    def promise(self, dearest: float | None) -> str:
        """What a certified cascade does, in words; dearest: what no input may cost more than, where
        prices differ."""
        promises = []
        if self.epsilon is not None:
            where = "" if None in self.parts else f" in each of {len(self.parts)} groups"
            what = f"{name_of(self.score, self.correct)} against {self.reference}{where}"
            promises.append(f"loses at most {self.epsilon:.2%} of {what}")
        if self.budget is not None:
            price = (
                "" if dearest is None else f" (if no input can cost more than {number(dearest)})"
            )
            promises.append(f"costs at most {number(self.budget)} a sample{price}")
        means = ", as the mean over clusters of what each has in the mean"
        return " and ".join(promises) + ("" if self.clusters is None else means)

    def row(self, run: Run, differs: Array) -> dict[str, Any]:
        """The row of a point in the certificate's table; differs: bool [k], where its label can
        matter."""
        point = run.point
        row: dict[str, Any] = {
            "models": point.models,
            "thresholds": point.thresholds,
            "cost": point.cost,
            "cost_here": self.mean(run.sample_costs),
        }
        p_values: dict[Any, float] = {}
        if self.epsilon is not None:
            row |= self.observed(run, differs)
            for name, part in self.parts.items():
                p_values[name] = self.p_value(run, differs, part, self.epsilon)
            if None not in p_values:
                row["group"] = max(p_values, key=p_values.__getitem__)
        if self.budget is not None:
            p_values["cost"] = cost_p_value(
                run.exit_stage, run.costs, self.budget, self.level, self.max_price, self.clusters
            )
        return row | {"p_value": max(p_values.values())}

    def mean(self, values: Array) -> float:
        """Of values [k]: over samples, or over the means of clusters."""
        return float(cluster_means(values, self.clusters).mean())

    def observed(self, run: Run, differs: Array) -> dict[str, float]:
        """What a point loses and gains against the reference."""
        losses = self.losses(run)
        loss = self.mean(losses)
        if self.positive is not None:
            loss = f1(self.correct, self.positive) - f1(run.correct, self.positive)
        return {
            "accuracy_loss": loss,
            "lost": self.mean(np.maximum(losses, 0)),
            "gained": self.mean(np.maximum(-losses, 0)),
            "unlabelled": self.mean(differs & ~self.is_known),
        }

    def p_value(self, run: Run, differs: Array, of: Array, epsilon: float) -> float:
        """Of the hypothesis that a point loses ε or more of some samples, bool [k]."""
        if is_alone(run.point, self.reference):
            return 0.0
        if self.positive is not None:
            correct = run.correct[of]
            return f1_p_value(self.correct[of], correct, self.positive[of], epsilon, self.level)
        clusters = None if self.clusters is None else self.clusters[of]
        return loss_p_value(
            self.losses(run)[of],
            differs[of],
            self.is_known[of],
            self.is_drawn,
            epsilon,
            self.level,
            clusters,
        )


def grouped(groups: Any, sample_ids: Array) -> dict[Any, Array]:
    """{group: bool [k]} of the groups that :func:`certify` is given; {None: all samples} where it
    is given none. ValueError for another shape, and where a sample has no group (None, nan): it
    would be in none of the promises."""
    if groups is None:
        return {None: np.ones(len(sample_ids), bool)}
    values = keys_of(groups, "group", sample_ids)
    return {name: values == name for name in np.unique(values).tolist()}


def keys_of(keys: Any, what: str, sample_ids: Array) -> Array:
    """The group or cluster of each sample [k]; ValueError as in :func:`grouped`."""
    keys = aligned(keys, f"{what}s", sample_ids)
    refuse_missing(keys, what, sample_ids)
    values = np.asarray(keys)
    if values.shape != sample_ids.shape:
        raise ValueError(
            f"{what}s must be [{len(sample_ids)}], the {what} of each sample, not "
            f"{list(values.shape)}"
        )
    if pd.api.types.infer_dtype(values) in ("mixed", "mixed-integer"):
        raise ValueError(f"{what}s must be all text or all numbers: name each as text")
    return values


def numbered_clusters(clusters: Any, sample_ids: Array, score: str, drawn: bool) -> Array | None:
    """The number of each sample's cluster, int [k]; None where none are given. ValueError where
    they can't be promised for."""
    if clusters is None:
        return None
    if score == F1 or drawn:
        raise ValueError(
            "clusters= is for mean scores and without drawn=True: F1 is no mean over clusters, and "
            "the labels that to_label draws are of samples"
        )
    return pd.factorize(keys_of(clusters, "cluster", sample_ids))[0]
