"""Certify that cascades lose at most ε of accuracy, or that their mean cost is within a budget.

The points of a front are tested by Learn-then-Test. Certificates are valid for any number of
samples. Only labels that can matter are needed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import checked_share
from ..evaluation.evaluation import check_store, costs_by_model
from ..evaluation.pareto import improvement_factor
from ..evaluation.point import Point
from ..origin import join_origins
from ..store.protocol import Store
from ..store.tables.answers import refuse_unreadable
from ..tables import arrow, fraction, number, times
from .case import models_of, prepare_case
from .few_labels import check_bounds, select_points
from .premises import (
    Premise,
    checked_premises,
    count_certificate,
    premises_table,
    premises_text,
)
from .trial import Trial, is_alone


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
        The number of rows of the table whose confidences gave the thresholds, if the certification
        samples are a part of that table. The guarantee is then about the table. Otherwise 0, and
        the guarantee is about the source.
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

        Without epsilon, the point is the most accurate one. If no accuracy is known, the point is
        the last one that was tested and certified.
        """
        reversed_points = reversed(self.certified)
        if self.epsilon is None:
            return max(
                reversed_points,
                key=lambda point: float(np.nan_to_num(point.accuracy)),
                default=None,
            )
        return min(reversed_points, key=lambda point: point.cost, default=None)

    def __str__(self) -> str:
        point = self.point
        text = (
            f"Nothing is certified: {self._drawn} do not show at confidence {1 - self.delta:.0%} "
            f"that a cascade {self.promise}. Allow a larger loss or cost, or bring more samples. "
            "If few samples have labels, cl.ladder lets all of them certify."
        )
        if point is not None:
            row = self.table[self.table["certified"]].iloc[self.certified.index(point)]
            saving = improvement_factor(self.reference_cost, row["cost_here"])
            saved = f"a saving of {times(saving)} ×" if saving > 1 else "no saving"
            text = (
                f"{self._guarantee_of(point)} {point.chain} costs {number(row['cost_here'])} a "
                f"sample, the reference {self.reference} alone {number(self.reference_cost)}: "
                f"{saved}."
            )
            if self.epsilon is not None:
                is_reference = is_alone(point, self.reference)
                loss = "0, it is the reference" if is_reference else fraction(row["accuracy_loss"])
                text += f" Observed loss: {loss}."
        return " ".join([text + premises_text(self.checked), *self.remarks])

    @property
    def _drawn(self) -> str:
        """Return the number of certification samples, or of their clusters, in words."""
        if self.clusters is None:
            return f"{self.samples} samples"
        return f"{self.clusters} clusters of samples"

    def _guarantee_of(self, point: Point) -> str:
        """Return the guarantee about a certified point in one sentence."""
        draw = f"the {self._drawn.replace('samples', 'certification samples')}"
        where = "data from the same source"
        if self.table_size:
            draw += f" from the {self.table_size} whose confidences gave the thresholds"
            where = f"those {self.table_size}"
        return (
            f"With probability at least {1 - self.delta:.0%} over the draw of {draw}, "
            f"{arrow(point.active_models)} {self.promise}, on {where}."
        )


def certify(
    store: Store,
    cascades: Any,
    epsilon: float | str | None = None,
    delta: float | str = 0.05,
    reference: str | None = None,
    *,
    budget: float | None = None,
    groups: Any = None,
    labels: Mapping | None = None,
    labels_in_order: bool = False,
    simultaneous: bool = False,
    clusters: Any = None,
    max_price: float | None = None,
    accept: Iterable[str] = (),
) -> Certificate:
    """Certify that cascades lose little accuracy or stay within a cost budget.

    If the certification samples are independent draws from the distribution on which the cascades
    will run, then *all* certified cascades satisfy the bounds with probability at least 1 − δ. Each
    of them loses at most ε of expected accuracy relative to the reference (in every group) and
    costs at most the budget in the mean. The guarantee does not cover distribution shift. It covers
    groups only with ``groups``, and cost only with ``budget``.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Certification samples. They must not have been used to choose the points, their order or the
        reference.
    cascades : Front, Point, Policy, Cascade, Certificate, or a list of them
        Cascades to test, in this order. If a Front is passed, the candidates are its points that
        satisfy the bounds on the selection split. They are sorted by margin, the largest first. If
        only epsilon is set, these are the most accurate points. At most 100 of them, evenly spaced,
        are tested.
    epsilon : float or str, optional
        Maximum loss of accuracy relative to ``reference``, in [0, 1), such as 0.02 or "2%".
    delta : float or str, default=0.05
        Probability with which the guarantee may fail, in (0, 1).
    reference : str, optional
        Reference model. Defaults to the most accurate single model on the split where a Front was
        searched.
    budget : float, optional
        Maximum mean cost per sample. At least one of ``epsilon`` and ``budget`` is needed.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, such as its label. The loss is then at most epsilon in each
        group that occurs.
    labels : mapping, optional
        {sample id: label}, only for the score "top1". These labels replace those of the store,
        which may have none. It is enough to label the samples that :func:`to_label` returns: the
        p-values are the same as with all labels. A missing label (None or nan) counts as the worst
        case, so the guarantee holds for any choice of labelled samples.
    labels_in_order : bool, default=False
        Whether `labels` are the labels of the first m samples that :func:`to_label` returns, where
        m was fixed before any label was seen. If so, a label that no model predicts counts as an
        error of both the cascade and the reference.
    simultaneous : bool, default=False
        Whether to test all points by Holm's method instead of in sequence.
    clusters : array-like of shape (n_samples,), optional
        Cluster of each sample, such as its user or document. Clusters are then the independent
        draws. The guarantee is about the loss and the cost of a cluster, which are means over the
        samples of the cluster. With groups, only its samples in the group are averaged. Samples of
        one cluster may repeat each other.
    max_price : float, optional
        Upper bound on the total cost of all stages for any one input, if costs differ between
        samples. Without it, a guarantee on cost holds for inputs that cost no more than the most
        expensive sample in ``store``.
    accept : iterable of str, default=()
        Violated premises that do not raise an error: "independent", "overlap", "spelling",
        "labels complete", "reference complete", "confidences", "rows aligned", "likeness". The
        text of the certificate and the policy file name them.

    Returns
    -------
    Certificate
        The certified cascades, the cheapest of them as ``point``, and the p-values of all.

    Raises
    ------
    ValueError
        If epsilon or delta is out of range, the reference is unknown, or labels or groups belong to
        other samples. If a sample has no group or no cluster, if clusters are combined with F1 or
        ``labels_in_order``, or if a price exceeds ``max_price``. If a premise is violated and
        ``accept`` does not name it (docs/premises.md). For example, some samples may repeat others,
        or may have been used to select a point or to fit its method.

    See Also
    --------
    to_label : Samples whose labels can matter.
    ladder : Cascades that need no labels for selection.
    search : Find the front of cascades on other samples.

    Notes
    -----
    The null hypothesis of a point is that it violates a bound. The points are tested in sequence,
    each at level δ, until one hypothesis is not rejected [1]_, [2]_. With ``simultaneous=True``
    they are tested by Holm's method instead [4]_. P-values are valid for any number of samples
    (:mod:`cascadelib.guarantees.p_values`). If there are several bounds or groups, the largest of
    their p-values is used [3]_. The reference itself loses exactly 0, so its p-value is 0.
    docs/guarantees.md explains the argument.

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
    epsilon = check_bounds(epsilon, budget, max_price)
    delta = checked_share(delta, "delta")
    if not delta:
        raise ValueError("delta must be above 0, such as 0.05: no certificate is certain")
    if epsilon is None and budget is None:
        raise ValueError("give epsilon=, the maximum loss, or budget=, the maximum mean cost")
    if max_price is not None and budget is None:
        raise ValueError("max_price= is for budget=, the maximum mean cost: give both")
    check_store(store)
    points, reference = select_points(cascades, reference, epsilon, budget)
    refuse_unreadable(store, models_of(points, reference))
    case = prepare_case(store, points, reference, labels, labels_in_order, groups, clusters)
    trial = Trial(case, epsilon, budget, max_price, delta, simultaneous)
    promise = trial.promise
    premises = checked_premises(case, accept)
    table = trial.table()
    reference_costs = costs_by_model(case.store, points[0].cost_kind)[reference]
    premises_as_dicts = tuple(asdict(premise) for premise in premises)
    certificate = Certificate(
        certified=tuple(
            replace(
                points[row],
                selected_on=join_origins(points[row].selected_on, store.origin),
                premises=premises_as_dicts,
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
        table_size=case.table_size,
        clusters=None if case.clusters is None else int(case.clusters.max()) + 1,
        reference_cost=trial.mean(np.full(len(store), reference_costs)),
    )
    with_guarantees = [
        replace(p, guarantee=certificate._guarantee_of(p)) for p in certificate.certified
    ]
    return replace(certificate, certified=tuple(with_guarantees))
