"""Certificates that cascades lose at most ε of accuracy or stay within a budget.

They use Learn-then-Test on the points of a front. They are valid for any number of samples, and
need only labels that can matter.
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
from ..labels import aligned
from ..origin import join_origins
from ..scoring import F1, f1, score_of
from ..store.protocol import Store
from ..store.tables.score_checks import refuse_missing
from ..tables import arrow, fraction, number, times
from .few_labels import apply_labels, check_bounds, select_points
from .judged import judged_p_value
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
    """The result of :func:`certify`.

    ``str(certificate)`` is the guarantee in words, with the measured cost and loss of ``point``.

    Parameters
    ----------
    certified : tuple of Point
        Certified points in the order of the tests. Their ``selected_on`` includes the certification
        split.
    reference : str
        The model relative to which losses are measured.
    epsilon, delta : float
        As for :func:`certify`.
    samples : int
        The number of certification samples.
    clusters : int or None
        The number of clusters of these samples.
    reference_cost : float
        Mean cost of the reference on these samples.
    table : DataFrame
        A row per tested point, with these columns:

        - models, thresholds, p_value, certified
        - cost: on the selection split
        - cost_here: on the certification split
        - accuracy_loss: reference minus cascade on the certification split (negative for a gain),
          or the loss of F1 under that score
        - lost, gained: share of samples on which only the reference, or only the cascade, is
          correct, or the mean loss and gain of graded scores
        - unlabelled: share of samples that count as lost because their label is missing
        - group: the group with the largest p-value
    promise : str
        The guaranteed bounds in words.
    checked : tuple of Premise
        The premises of the guarantee with the results of their checks (docs/premises.md).
    computed : int
        The number of certificates that this process has computed on these samples, including this
        one. Each of them may fail with probability delta.
    table_size : int
        The size of the table that the guarantee is about. Its confidences gave the thresholds, and
        the certification samples are a part of it. 0 if the guarantee is about the source.
    remarks : tuple of str
        Further sentences of the text.

    See Also
    --------
    certify : Compute a certificate.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> tuning, held_out = table.take(slice(0, None, 2)), table.take(slice(1, None, 2))
    >>> certificate = cl.certify(held_out, cl.search(tuning), epsilon=0.02)
    >>> certificate.premises.set_index("premise")["status"]["overlap"]
    'verified'
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
        """The certified points, which :func:`points_of` reads."""
        return self.certified

    @property
    def premises(self) -> pd.DataFrame:
        """The premises of the guarantee, as a DataFrame with premise, status and evidence.

        The status is "verified", "violated" or "not verifiable". Violated premises were accepted
        (``accept=`` of :func:`certify`).
        """
        table = premises_table(self.checked)
        if self.computed > 1:
            table.loc[table["premise"] == "independent", "evidence"] += (
                f"; this process has computed {self.computed} certificates on these samples, and "
                f"each of them may fail with probability {self.delta:.4g}"
            )
        return table

    @property
    def point(self) -> Point | None:
        """The cheapest certified Point, or None if nothing is certified.

        Without epsilon it is the most accurate one, or the last tested one if no accuracy is known.
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
        """Return the cost and loss of a certified point on the certification split, in words."""
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
    judge: Mapping | None = None,
    labels_in_order: bool = False,
    simultaneous: bool = False,
    clusters: Any = None,
    max_price: float | None = None,
    accept: Iterable[str] = (),
) -> Certificate:
    """Certify that cascades lose little accuracy or stay within a cost budget.

    If the certification samples are independent draws from the distribution on which the cascades
    will run, then *all* certified cascades satisfy the bounds with probability at least 1 − δ. Each
    of them loses less than ε of expected accuracy relative to the reference (in every group) and
    costs at most the budget in the mean. The guarantee does not cover distribution shift. It covers
    groups only with ``groups``, and cost only with ``budget``.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Certification samples. They must not have been used to choose the points, their order or the
        reference.
    cascades : Front, Point, Policy, Cascade, Certificate, or a list of them
        Cascades to test, in this order. Of a Front, at most 100 evenly spaced points are tested
        that satisfied the bounds on the selection split. Those with the largest margin come first,
        which for epsilon alone are the most accurate ones.
    epsilon : float, optional
        Maximum loss of accuracy relative to ``reference``, in [0, 1).
    delta : float, default=0.05
        Probability with which the guarantee may fail, in (0, 1).
    reference : str, optional
        Reference model. Defaults to the most accurate single model on the split where a Front was
        searched.
    budget : float, optional
        Maximum mean cost per sample. At least one of ``epsilon`` and ``budget`` is needed.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, such as its label. The loss is then less than epsilon in each
        group that occurs.
    labels : mapping, optional
        {sample id: label}, top-1 only. They replace the labels of the store, which may have none.
        The labels of the samples that :func:`to_label` returns give the same p-values as all
        labels. A missing label (None or nan) counts as the worst case, whichever labels are known.
    judge : mapping, optional
        {sample id: label} by a model that grades answers, top-1 only, for all samples that
        :func:`to_label` returns. The guarantee is about the true labels. `labels` are those of the
        first m of these samples, as with `labels_in_order`, and measure the errors of the judge.
    labels_in_order : bool, default=False
        Whether the known labels are those of the first m samples that to_label returns, with m
        fixed before any label was seen. A label that no model predicts then counts as wrong for
        cascade and reference.
    simultaneous : bool, default=False
        Whether to test all points by Holm's method instead of in sequence.
    clusters : array-like of shape (n_samples,), optional
        Cluster of each sample, such as its user or document. Clusters are then the independent
        draws. The guarantee is about the loss and the cost of a cluster, which are means over its
        samples (of the group, if there are groups). Samples of one cluster may repeat each other.
    max_price : float, optional
        Upper bound on the cost of all stages together for any input, if costs differ between
        samples. Without it, a guarantee on cost holds for inputs that cost no more than the most
        expensive sample in ``store``.
    accept : iterable of str, default=()
        Violated premises that do not raise an error: "independent", "overlap", "spelling",
        "labels complete", "reference complete", "confidences", "rows aligned", "likeness". The
        text of the certificate and the policy file name them.

    Returns
    -------
    Certificate

    Raises
    ------
    ValueError
        If epsilon or delta is out of range, the reference is unknown, or labels or groups belong to
        other samples. If a sample has no group or cluster, clusters are combined with F1 or
        ``labels_in_order``, or a price exceeds ``max_price``. If a premise is violated that
        ``accept`` does not name, such as samples that repeat others or on which a point was found
        or its method fitted (docs/premises.md).

    See Also
    --------
    to_label : Samples whose labels can matter.
    ladder : Cascades that need no labels for selection.
    search : Find the front of cascades on other samples.

    Notes
    -----
    The points are tested in sequence [1]_, [2]_. The null hypothesis of a point is that it violates
    a bound. It is tested at level δ until one hypothesis is not rejected, or with Holm's method
    [4]_. P-values are valid for any number of samples (:mod:`cascadelib.guarantees.p_values`). Of
    several bounds or groups, the largest p-value counts [3]_. The reference itself loses exactly 0,
    so its p-value is 0. docs/guarantees.md explains the argument.

    References
    ----------
    .. [1] Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then test", 2021.
    .. [2] Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, "Efficiently controlling multiple risks
       with Pareto testing", 2023.
    .. [3] Berger, 1982: intersection-union tests.
    .. [4] Holm, 1979.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> tuning, held_out = table.take(slice(0, None, 2)), table.take(slice(1, None, 2))
    >>> certificate = cl.certify(held_out, cl.search(tuning), epsilon=0.02)
    >>> certificate.promise
    'loses at most 2.00% of accuracy against llama-3.3-70b'
    >>> certificate.point.models
    ('llama-3.1-8b', 'llama-3.3-70b')
    """
    check_promise(epsilon, delta, budget, max_price)
    check_store(store)
    labels_in_order = labels_in_order or judge is not None
    points, reference = select_points(cascades, reference, epsilon, budget)
    table_size = size_of_table(points, store.origin) or 0
    parts = grouped(groups, store.origin.sample_ids)
    cluster = numbered_clusters(clusters, store.origin.sample_ids, points[0].score, labels_in_order)
    labelled, differs, is_known = apply_labels(store, points, reference, labels, labels_in_order)
    if judge is not None:
        all_labels = dict(judge) | dict({} if labels is None else labels)
        labelled = apply_labels(store, points, reference, all_labels, True)[0]
    runs = evaluate(labelled, points)
    trial = Trial(
        store=labelled,
        reference=reference,
        score=points[0].score,
        epsilon=epsilon,
        budget=budget,
        max_price=max_price,
        level=delta / len(points) if simultaneous else delta,
        parts=parts,
        is_known=is_known,
        in_order=labels_in_order,
        clusters=cluster,
    )
    judged: list[Array | None] = [None] * len(points)
    remarks: tuple[str, ...] = ()
    if judge is not None:
        by_judge = apply_labels(store, points, reference, judge, True)[0]
        seen_by_judge = replace(trial, store=by_judge)
        judged = [seen_by_judge.losses(run) for run in evaluate(by_judge, points)]
        known = np.count_nonzero(is_known)
        remarks = (f"A judge labelled the samples, and {known} true labels bound its errors.",)
    promise = trial.describe_bounds(highest_price(runs, max_price))
    case = Case(
        labelled, store.origin, runs, reference, cluster, differs, is_known, labels_in_order
    )
    premises = checked_premises(case, accept)
    rows = []
    for run, can_differ, losses_by_judge in zip(runs, differs, judged):
        rows.append(trial.row(run, can_differ, losses_by_judge))
        if not simultaneous and rows[-1]["p_value"] > delta:
            break
    table = pd.DataFrame(rows)
    table["certified"] = rejected(table["p_value"], delta, simultaneous)
    alone = costs_of(labelled, [reference], points[0].cost_kind)[0]
    written = tuple(asdict(premise) for premise in premises)
    return Certificate(
        certified=tuple(
            replace(
                points[row],
                selected_on=join_origins(points[row].selected_on, store.origin),
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
        remarks=remarks,
    )


def is_alone(point: Point, reference: str) -> bool:
    """Return whether a point is the reference. With a custom ensemble its answers may differ."""
    ensemble = getattr(point.method, "ensemble", None)
    return point.models == (reference,) and not callable(ensemble)


def highest_price(runs: list[Run], max_price: float | None) -> float | None:
    """Return ``max_price``, or by default the largest cost of all stages for any sample.

    None if costs do not differ between samples. Raise ValueError if a sample costs more than
    ``max_price``.
    """
    by_sample = [run.costs for run in runs if any(map(np.ndim, run.costs))]
    highest = max((float(np.max(sum(costs))) for costs in by_sample), default=None)
    if highest is None or max_price is None:
        return highest
    if highest > max_price:
        raise ValueError(
            f"max_price={max_price:g}, but all stages together cost {highest:g} for one of the "
            "certification samples: max_price must be an upper bound for any input"
        )
    return max_price


def check_promise(
    epsilon: float | None, delta: float, budget: float | None, max_price: float | None
) -> None:
    """Raise ValueError unless there is a bound, and all bounds and levels are in range."""
    check_bounds(epsilon=epsilon, budget=budget, max_price=max_price)
    check_number(delta, "delta")
    if not 0 <= (epsilon or 0) < 1 or not 0 < delta < 1:
        raise ValueError(
            f"epsilon must be in [0, 1) and delta in (0, 1), not {epsilon} and {delta}"
        )
    if epsilon is None and budget is None:
        raise ValueError("give epsilon=, the maximum loss, or budget=, the maximum mean cost")
    if max_price is not None and budget is None:
        raise ValueError("max_price= is for budget=, the maximum mean cost: give both")


def describe_score(score: str, correct: Array) -> str:
    """Return the name of the mean of a score, for correctness [k] that is bool or in [0, 1]."""
    if score == "top1" and correct.dtype.kind == "f":
        return "mean score"
    scored = score_of(score)
    return scored.title if scored.rank == 1 else f"top-{scored.rank} accuracy"


def rejected(p_values: pd.Series, delta: float, simultaneous: bool) -> pd.Series:
    """Return which null hypotheses are rejected, by rising p-value.

    These are all before the first one that is not rejected. simultaneous: by Holm's method.
    """
    rising = p_values.sort_values()
    left = len(rising) - np.arange(len(rising)) if simultaneous else 1
    return pd.Series(np.logical_and.accumulate(rising * left <= delta), rising.index)


@dataclass(frozen=True, eq=False)
class Trial:
    """The test of each point on k samples.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The labelled samples.
    reference, score : str
    epsilon, budget, max_price : float or None
    level : float
        The level of each test.
    parts : dict of {group: bool array of shape (k,)}
        Without groups, all samples under the key None.
    is_known : bool array of shape (k,)
        Whether the label is known.
    in_order : bool
        Whether the known labels are a uniform draw of those that can matter.
    clusters : int array of shape (k,) or None
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
    in_order: bool
    clusters: Array | None

    @cached_property
    def absent(self) -> Array | None:
        """Whether the reference has no answer, bool [k], or None if it has all answers."""
        absent = unanswered(self.store, self.reference)
        return absent if absent is not None and absent.any() else None

    @cached_property
    def correct(self) -> Array:
        """Whether the reference is correct, [k]. A missing answer counts as correct, the worst case
        for a cascade."""
        correct = correct_alone(self.store, self.reference, self.score)
        if self.absent is None:
            return correct
        return np.where(self.absent, correct.dtype.type(1), correct)

    def losses(self, run: Run) -> Array:
        """Return the loss of each sample relative to the reference, [k].

        It is 0 if the cascade's answer is the missing answer of the reference.
        """
        counted_as = np.result_type(self.correct, run.correct, np.int8)
        losses = self.correct.astype(counted_as) - run.correct
        if self.absent is not None:
            losses[self.absent & answered_by(run, self.reference)] = 0
        return losses

    @cached_property
    def positive(self) -> Array | None:
        """The samples of class 1 under F1, bool [k]."""
        return self.store.positives() if self.score == F1 else None

    def describe_bounds(self, highest: float | None) -> str:
        """Return the bounds of a certified cascade in words.

        ``highest`` is the largest price of an input, if prices differ.
        """
        bounds = []
        if self.epsilon is not None:
            groups = "" if None in self.parts else f" in each of {len(self.parts)} groups"
            loss = f"{self.epsilon:.2%} of {describe_score(self.score, self.correct)}"
            bounds.append(f"loses at most {loss} against {self.reference}{groups}")
        if self.budget is not None:
            bounds.append(f"costs at most {number(self.budget)} a sample")
            if highest is not None:
                bounds[-1] += f" (if no input can cost more than {number(highest)})"
        means = ", as the mean over clusters of what each has in the mean"
        return " and ".join(bounds) + ("" if self.clusters is None else means)

    def row(self, run: Run, differs: Array, judged: Array | None) -> dict[str, Any]:
        """Return the row of a point in the certificate's table.

        differs, bool [k], is True for samples whose labels can matter. judged, int [k], are the
        losses by the labels of a judge.
        """
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
                p_values[name] = self.p_value(run, differs, part, self.epsilon, judged)
            if None not in p_values:
                row["group"] = max(p_values, key=p_values.__getitem__)
        if self.budget is not None:
            p_values["cost"] = cost_p_value(
                run.exit_stage, run.costs, self.budget, self.level, self.max_price, self.clusters
            )
        return row | {"p_value": max(p_values.values())}

    def mean(self, values: Array) -> float:
        """Return the mean of values [k] over samples, or over the means of clusters."""
        return float(cluster_means(values, self.clusters).mean())

    def observed(self, run: Run, differs: Array) -> dict[str, float]:
        """Return the loss and gain of a point relative to the reference."""
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

    def p_value(
        self, run: Run, differs: Array, part: Array, epsilon: float, judged: Array | None
    ) -> float:
        """Return the p-value of a loss of ε or more on the samples ``part``, bool [k]."""
        if is_alone(run.point, self.reference):
            return 0.0
        if self.positive is not None:
            correct = run.correct[part]
            return f1_p_value(self.correct[part], correct, self.positive[part], epsilon, self.level)
        if judged is not None:
            at = part & differs
            losses = self.losses(run)[at]
            drawn = self.is_known[at]
            samples = int(np.count_nonzero(part))
            return judged_p_value(losses, judged[at], drawn, samples, epsilon, self.level)
        clusters = None if self.clusters is None else self.clusters[part]
        return loss_p_value(
            self.losses(run)[part],
            differs[part],
            self.is_known[part],
            self.in_order,
            epsilon,
            self.level,
            clusters,
        )


def grouped(groups: Any, sample_ids: Array) -> dict[Any, Array]:
    """Return {group: bool [k]}, or {None: all samples} without groups.

    Raise ValueError for another shape, or if a sample has no group (None, nan), since no bound
    would cover it.
    """
    if groups is None:
        return {None: np.ones(len(sample_ids), bool)}
    values = keys_of(groups, "group", sample_ids)
    return {name: values == name for name in np.unique(values).tolist()}


def keys_of(keys: Any, what: str, sample_ids: Array) -> Array:
    """Return the group or cluster of each sample [k], or raise ValueError as in :func:`grouped`."""
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


def numbered_clusters(clusters: Any, sample_ids: Array, score: str, in_order: bool) -> Array | None:
    """Return the number of each sample's cluster, int [k], or None without clusters.

    Raise ValueError if the score or the draw of labels does not support clusters.
    """
    if clusters is None:
        return None
    if score == F1 or in_order:
        raise ValueError(
            "clusters= supports mean scores without labels_in_order=True: F1 is not a mean over "
            "clusters, and to_label draws the labels of samples"
        )
    return pd.factorize(keys_of(clusters, "cluster", sample_ids))[0]
