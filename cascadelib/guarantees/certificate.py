"""Certify that cascades lose at most ε of accuracy, or that their mean cost is within a budget.

The points of a front are tested by Learn-then-Test. Certificates are valid for any number of
samples. Only labels that can matter are needed.
"""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import check_count, checked_share
from ..evaluation.evaluation import check_store, costs_by_model
from ..evaluation.guarantee import (
    CALLER,
    Design,
    Guarantee,
    certainty,
    draw_seed,
    premises_text,
)
from ..evaluation.label_draw import LabelDraw
from ..evaluation.pareto import improvement_factor
from ..evaluation.point import Point
from ..front_end import without_tex
from ..origin import join_origins
from ..store.protocol import Store
from ..store.tables.answers import refuse_unreadable
from ..tables import fraction, number, percentage_points, times
from .case import (
    Case,
    labels_after_choice,
    models_of,
    prepare_case,
    samples_after_choice,
)
from .few_labels import check_bounds, select_points
from .premises import checked_premises, premises_table
from .trial import Trial


@dataclass(frozen=True, eq=False)
class Certificate:
    """The result of :func:`certify`.

    ``str(certificate)`` is the guarantee in words, with the measured cost and loss of ``point``.

    Parameters
    ----------
    certified : tuple of Point
        Certified points in the order of the tests, each with its ``guarantee``. Their
        ``selected_on`` includes the certification split.
    reference_alone : Point
        The model relative to which losses are measured, with its mean cost on these samples.
    terms : Guarantee
        The guarantee without its cascade: bounds, design of the draw, premises.
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
    reference_alone: Point
    terms: Guarantee
    table: pd.DataFrame
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        tested = f"{len(self.certified)} of {len(self.table)} tested points certified"
        return f"<Certificate: {tested}; each {self.promise}>"

    @property
    def cascades(self) -> tuple[Point, ...]:
        """The certified points, which :func:`points_of` reads."""
        return self.certified

    @property
    def reference(self) -> str:
        """The model relative to which losses are measured."""
        return self.terms.reference

    @property
    def promise(self) -> str:
        """The guaranteed bounds in words."""
        return self.terms.bounds

    @property
    def samples(self) -> int:
        """The number of independent draws."""
        return self.terms.design.draws

    @property
    def premises(self) -> pd.DataFrame:
        """The premises of the guarantee, as a DataFrame with premise, status and evidence.

        The status is "verified", "violated" or "not verifiable". Violated premises were accepted
        (``accept=`` of :func:`certify`).
        """
        return premises_table(self.terms.premises)

    @property
    def point(self) -> Point:
        """The cheapest certified Point on these samples, or the reference if none is cheaper.

        Without epsilon, it is the most accurate certified point that is cheaper than the reference.
        If no accuracy is known, it is the last one that was tested.
        """
        costs = self.table["cost_here"][self.table["certified"]].to_numpy()
        cheaper = np.flatnonzero(costs < self.reference_alone.cost)[::-1]  # the last of equal ones
        if not len(cheaper):
            return self.reference_alone
        worth = -costs
        if self.terms.epsilon is None:
            worth = np.nan_to_num([point.accuracy for point in self.certified])
        return self.certified[cheaper[worth[cheaper].argmax()]]

    @property
    def guarantee(self) -> Guarantee | None:
        """The guarantee of ``point``, None if it is the reference."""
        return self.point.guarantee

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """Return the text for a notebook, as a paragraph, which wraps between words."""
        text = str(self)
        return {"text/plain": text, "text/html": f"<p>{without_tex(html.escape(text))}</p>"}

    def __str__(self) -> str:
        point = self.point
        cost = number(self.reference_alone.cost)
        if point is self.reference_alone:
            text = (
                f"Nothing cheaper holds: {self.samples} {self.terms.design.unit} do not show at "
                f"confidence {certainty(self.terms.delta)} that a cascade which is cheaper than "
                f"the reference {self.promise}. The point is {self.reference} alone, for {cost} a "
                "sample. Allow a larger loss or cost, or bring more samples. If few samples have "
                "labels, cl.ladder lets all of them certify. If labels are missing, cl.to_label "
                "returns the samples that need one (with draw=, more labels are for another "
                f"certificate). They were labelled by {self.terms.design.labelled_by}."
            )
        else:
            row = self.table[self.table["certified"]].iloc[self.certified.index(point)]
            saving = improvement_factor(self.reference_alone.cost, row["cost_here"])
            text = (
                f"{point.guarantee} It costs {number(row['cost_here'])} a sample, the reference "
                f"{self.reference} alone {cost}: a saving of {times(saving)}×."
            )
            if self.terms.epsilon is not None:
                text += f" Observed loss: {percentage_points(row['accuracy_loss'])}"
                if row["unlabelled"]:
                    text += f", with the {fraction(row['unlabelled'])} without a label as lost"
                text += "."
        return " ".join([text + premises_text(self.terms.premises), *self.remarks])


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
    draw: LabelDraw | None = None,
    simultaneous: bool = False,
    clusters: Any = None,
    max_price: float | None = None,
    certificates: int = 1,
    accept: Iterable[str] = (),
    seed: int | None = None,
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
        searched. Without a Front, it defaults to the most expensive model of the cascades.
    budget : float, optional
        Maximum mean cost per sample. At least one of ``epsilon`` and ``budget`` is needed.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, such as its label. The loss is then at most epsilon in each
        group that occurs.
    labels : mapping, optional
        {sample id: label}, only for the score "top1". These labels replace those of the store,
        which may have none. It is enough to label the samples that :func:`to_label` returns: the
        p-values are the same as with all labels. A missing label (None, nan or blank) counts as
        the worst case, so the guarantee holds for any choice of labelled samples.
    draw : LabelDraw, optional
        The result of ``to_label(store, models=…)`` on the same store, if `labels` are those of its
        first ids. The samples that chose the cascades are left out, with their labels. The labels
        that follow are a uniform draw, and certify. Their number must be fixed before any of them
        is seen. A label that no model predicts counts as an error of both the cascade and the
        reference.
    simultaneous : bool, default=False
        Whether to test all points by Holm's method instead of in sequence.
    clusters : array-like of shape (n_samples,), optional
        Cluster of each sample, such as its user or document. Clusters are then the independent
        draws. The guarantee is about the loss and the cost of a cluster, which are means over the
        samples of the cluster. With groups, only its samples in the group are averaged. Samples of
        one cluster may repeat each other. If whole clusters were drawn from the table of a
        :func:`ladder`, {id: cluster} must name the cluster of each row of that table.
    max_price : float, optional
        Upper bound on the total cost of all stages for any one input, if costs differ between
        samples. Without it, a guarantee on cost holds for inputs that cost no more than the most
        expensive sample in ``store``.
    certificates : int, default=1
        The number of certificates that will be computed on these samples. They share delta: each is
        tested at delta ÷ certificates, and all of them hold with probability 1 − delta.
    accept : iterable of str, default=()
        Violated premises that do not raise an error: "independent", "overlap", "spelling",
        "labels complete", "reference complete", "confidences", "rows aligned". The text of the
        certificate and the policy file name them.
    seed : int, optional
        Seed of a recorded certificate, which is repeated. Graded scores, F1, clusters, and costs of
        more than two stages or by sample are tested in a random order of the samples. By default,
        the operating system gives its seed, and the text of the certificate states it.

    Returns
    -------
    Certificate
        The certified cascades, the cheapest of them as ``point``, and the p-values of all. If none
        is cheaper than the reference, ``point`` is the reference and ``guarantee`` is None.

    Raises
    ------
    ValueError
        If epsilon or delta is out of range, the reference is unknown, or labels or groups belong to
        other samples. If a cascade or the reference has a model that is not in ``draw``. If a
        sample has no group or no cluster, if clusters are combined with F1 or ``draw``, or if a
        price exceeds ``max_price``. If a premise is violated and ``accept`` does not name it
        (docs/premises.md). For example, some samples may repeat others, or may have been used to
        select a point or to fit its method.

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
    'loses at most 2 points of accuracy against llama-3.3-70b'
    >>> certificate.point.models
    ('llama-3.1-8b', 'llama-3.3-70b')
    """
    epsilon = check_bounds(epsilon, budget, max_price)
    delta = checked_share(delta, "delta")
    certificates = check_count(certificates, "certificates")
    check_aim(epsilon, budget, max_price, delta)
    check_store(store)
    points, reference = select_points(store, cascades, reference, epsilon, budget)
    refuse_unreadable(store, models_of(points, reference))
    rest = samples_after_choice(store, points, reference, draw)
    if draw is not None:
        labels = labels_after_choice(store, rest, labels, draw)
    store = rest
    case = prepare_case(store, points, reference, labels, draw, groups, clusters)
    costs = costs_by_model(store, points[0].cost_kind)
    mean_costs = {name: float(np.mean(cost)) for name, cost in costs.items()}
    most_expensive = max(mean_costs, key=mean_costs.__getitem__)
    is_cheaper = mean_costs[reference] < mean_costs[most_expensive]
    seed, order_by = draw_seed(seed)
    trial = Trial(case, epsilon, budget, max_price, delta / certificates, simultaneous, seed)
    if trial.is_ordered and case.frame and groups is not None:
        raise ValueError(
            "groups= of rows of the table that gave the thresholds: the sizes of the groups in the "
            "table are unknown, and this test needs them. Take the thresholds from other samples"
        )
    terms = Guarantee(
        cascade="",
        chain="",
        reference=reference,
        score=trial.score_in_words,
        epsilon=epsilon,
        budget=budget,
        delta=delta,
        design=design_of(case, labels, order_by if trial.is_ordered else ""),
        premises=checked_premises(case, accept, certificates),
        certificates=certificates,
        groups=0 if None in case.parts else len(case.parts),
        max_price=trial.largest_price,
        most_expensive=most_expensive if is_cheaper else "",
    )
    table = trial.table()
    table["certified"] &= case.is_usable[: len(table)]
    alone = Point(
        (reference,),
        (),
        (1.0,),
        cost=trial.mean(np.full(len(store), costs[reference])),
        method=None if points[0].fitted else points[0].method,
        score=points[0].score,
        cost_kind=points[0].cost_kind,
        selected_on=join_origins(points[0].selected_on, store.origin),
    )
    holding = [points[row] for row in np.flatnonzero(table["certified"])]
    certified = tuple(with_guarantee(point, terms, store) for point in holding)
    return Certificate(certified, alone, terms, table)


def check_aim(
    epsilon: float | None, budget: float | None, max_price: float | None, delta: float
) -> None:
    """Raise a ValueError if there is nothing to certify, or if no error is allowed."""
    if not delta:
        raise ValueError("delta must be above 0, such as 0.05: no certificate is certain")
    if epsilon is None and budget is None:
        raise ValueError("give epsilon=, the maximum loss, or budget=, the maximum mean cost")
    if max_price is not None and budget is None:
        raise ValueError("max_price= is for budget=, the maximum mean cost: give both")


def with_guarantee(point: Point, terms: Guarantee, store: Store) -> Point:
    """Return a certified cascade with its guarantee, which these samples gave."""
    seen = replace(point, selected_on=join_origins(point.selected_on, store.origin))
    return replace(seen, certified=replace(terms, cascade=seen.digest, chain=seen.chain))


def design_of(case: Case, labels: Mapping | None, order_by: str) -> Design:
    """Return how the samples were drawn and labelled, as far as the arguments state it."""
    draw = case.draw
    labelled_by = CALLER
    if labels is not None:
        matter = case.differs.any(axis=0)
        known = f"{np.count_nonzero(matter & case.is_known)} of {np.count_nonzero(matter)}"
        first = "" if draw is None else f", the first ones in the order of {draw.drawn_by}"
        labelled_by += f" ({known} labels that can matter{first})"
    return Design(
        len(case.first_of_clusters),
        "samples" if case.clusters is None else "clusters of samples",
        case.frame,
        labelled_by=labelled_by,
        candidates=() if draw is None else draw.models,
        order_by=order_by,
    )
