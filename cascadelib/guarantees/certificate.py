"""Certify that cascades lose at most ε of accuracy, or that their mean cost is within a budget.

The points of a front are tested by Learn-then-Test. Certificates are valid for any number of
samples. Only labels that can matter are needed.
"""

import html
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import checked_share
from ..evaluation.evaluation import check_store, costs_by_model, outcomes_of
from ..evaluation.guarantee import ONLY, UNCHANGED, UNFITTED, Guarantee, certainty, draw_seed
from ..evaluation.pareto import improvement_factor
from ..evaluation.point import Point, bind, record_of
from ..figures.front_end import without_tex
from ..figures.tables import fraction, number, percentage_points, times
from ..methods.method import Method
from ..origin import join_origins
from ..store.protocol import Store, answered_by_models
from ..store.tables.comparison import describe_comparison, describe_errors, describe_gaps
from .case import Case, models_of, prepare_case
from .cautions import caution_of_draw, cautions
from .few_labels import check_bounds, select_points
from .quantiles import shares_of
from .refusals import refuse_labels_of_model, refuse_overlap, refuse_repeats
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
        The guarantee without its cascade: bounds, draw and assumptions.
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
    >>> print(certificate.terms.assumes[-1])
    this is the only certificate tried on them
    """

    certified: tuple[Point, ...]
    reference_alone: Point
    terms: Guarantee
    table: pd.DataFrame

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
        return self.terms.draws

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
            return (
                f"Nothing cheaper holds: {self.samples} samples do not show at "
                f"confidence {certainty(self.terms.delta)} that a cascade which is cheaper than "
                f"the reference {self.promise}. The point is {self.reference} alone, for {cost} a "
                "sample. Allow a larger loss or cost, or bring more samples. If few samples have "
                "labels, cl.ladder lets all of them certify. If labels are missing, cl.to_label "
                f"returns the samples that need one.{self.terms.context}"
            )
        row = self.table[self.table["certified"]].iloc[self.certified.index(point)]
        saving = improvement_factor(self.reference_alone.cost, row["cost_here"])
        claim = replace(self.terms, chain=point.chain).claim
        text = (
            f"{claim} It costs {number(row['cost_here'])} a sample, the reference {self.reference} "
            f"alone {cost}: a saving of {times(saving)}×. "
        )
        if self.terms.epsilon is not None:
            text += f"Observed loss: {percentage_points(row['accuracy_loss'])}"
            if row["unlabelled"]:
                text += f", with the {fraction(row['unlabelled'])} without a label as lost"
            text += ". "
        return text + self.terms.assumption


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
        Probability with which the guarantee may fail, in (0, 1). For n certificates on the same
        samples that shall all hold, pass delta ÷ n to each.
    reference : str, optional
        Reference model. Defaults to the most accurate single model on the split where a Front was
        searched. Without a Front, it defaults to the most expensive model of the cascades.
    budget : float, optional
        Maximum mean cost per sample. At least one of ``epsilon`` and ``budget`` is needed. If costs
        differ between samples, the guarantee is for inputs that cost no more than the most
        expensive sample in ``store``.
    groups : array-like of shape (n_samples,), optional
        Group of each sample, such as its label. The loss is then at most epsilon in each
        group that occurs.
    labels : mapping, optional
        {sample id: label}, only for the score "top1". These labels replace those of the store,
        which may have none. It is enough to label the samples that :func:`to_label` returns: the
        p-values are the same as with all labels. A missing label (None, nan or blank) counts as
        the worst case, so the guarantee holds for any choice of labelled samples.
    seed : int, optional
        Seed of a recorded certificate, which is repeated. Graded scores, F1, and costs of
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
        other samples. If a sample has no group. If the samples contradict what a certificate
        assumes: an id occurs twice or took part in finding the cascades, all labels are the answers
        of one model, confidences separate correct from wrong answers, or samples of the table of a
        ladder are no uniform draw from it.

    Warns
    -----
    UserWarning
        If the correctness of a model does not correlate with that of the others.

    See Also
    --------
    to_label : Samples whose labels can matter.
    ladder : Cascades that need no labels for selection.
    search : Find the front of cascades on other samples.

    Notes
    -----
    The null hypothesis of a point is that it violates a bound. The points are tested in sequence,
    each at level δ, until one hypothesis is not rejected [1]_, [2]_. P-values are valid for any
    number of samples (:mod:`cascadelib.guarantees.p_values`). If there are several bounds or
    groups, the largest of their p-values is used [3]_. The reference itself loses exactly 0, so its
    p-value is 0. docs/guarantees.md explains the argument.

    References
    ----------
    .. [1] Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then test", 2021.
    .. [2] Laufer-Goldshtein, Fisch, Barzilay, Jaakkola, "Efficiently controlling multiple risks
       with Pareto testing", 2023.
    .. [3] Berger, 1982: intersection-union tests.

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
    epsilon, budget = check_bounds(epsilon, budget)
    delta = checked_share(delta, "delta")
    if not delta:
        raise ValueError("delta must be above 0, such as 0.05: no certificate is certain")
    if epsilon is None and budget is None:
        raise ValueError("give epsilon=, the maximum loss, or budget=, the maximum mean cost")
    check_store(store)
    points, reference = select_points(store, cascades, reference, epsilon, budget)
    refuse_repeats(store)
    are_compared = refuse_overlap(points, store, models_of(points, reference))
    case = prepare_case(store, points, reference, labels, groups)
    refuse_labels_of_model(case)
    seed = draw_seed(seed)
    trial = Trial(case, epsilon, budget, delta, seed)
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
        draws=len(store),
        assumes=assumptions(case, are_compared, seed if trial.is_ordered else None),
        remarks=remarks_about(case, trial.score_in_words),
        cautions=cautions_about(case),
        frame=case.frame,
        groups=0 if None in case.parts else len(case.parts),
        largest_price=trial.largest_price,
    )
    table = trial.table()
    alone = Point(
        (reference,),
        (),
        (1.0,),
        cost=float(np.mean(costs_by_model(store, points[0].cost_kind)[reference])),
        method=None if points[0].fitted else points[0].method,
        score=points[0].score,
        cost_kind=points[0].cost_kind,
        selected_on=join_origins(points[0].selected_on, store.origin),
    )
    holding = [points[row] for row in np.flatnonzero(table["certified"])]
    certified = tuple(with_guarantee(point, terms, store) for point in holding)
    return Certificate(certified, alone, terms, table)


def with_guarantee(point: Point, terms: Guarantee, store: Store) -> Point:
    """Return a certified cascade with its guarantee, which these samples gave."""
    records = tuple(record_of(store, name) for name in point.models)
    seen_on = join_origins(point.selected_on, store.origin)
    return bind(replace(point, selected_on=seen_on, records=records), terms)


def assumptions(case: Case, are_compared: bool, seed: int | None) -> tuple[str, ...]:
    """Return what a certificate assumes, as clauses."""
    source = "independently from the data on which the cascade will run"
    if case.frame:
        source = f"uniformly from the {case.frame} rows of the table that gave the thresholds"
    compared = "" if are_compared else " (there are no ids by which to compare)"
    records = [record_of(case.store, name) for name in case.models]
    has_digests = all("weights_sha256" in record for record in records)
    unrecorded = "" if has_digests else " (no digest of their weights is recorded)"
    clauses = [
        f"the samples were drawn {source}",
        f"the cascade was chosen without them{compared} and {UNFITTED}",
        f"{UNCHANGED}{unrecorded}" if case.store.class_count else UNCHANGED,
    ]
    if seed is not None:
        clauses.append(f"seed {seed} of the order of the samples was not chosen by its result")
    return (*clauses, ONLY)


def remarks_about(case: Case, score: str) -> tuple[str, ...]:
    """Return what the score means on these samples, and what counts as the worst case."""
    store: Any = case.store
    meaning = "agreement with these labels"
    if getattr(store, "labels", None) is None:
        meaning = "the correctness in this table"
    remarks = [f"{score[:1].upper()}{score[1:]} means {meaning}"]
    matter = case.differs.any(axis=0)
    if not matter.all():
        remarks.append(
            f"Labels are needed for the {np.count_nonzero(matter)} samples on which a cascade and "
            "the reference differ"
        )
    if missing := np.count_nonzero(matter & ~case.is_known):
        remarks[-1] += f", and the {missing} of them without one count as lost"
    if case.absent.any():
        share = f"{case.absent.mean():.1%} of the samples"
        remarks.append(f"The reference has no answer on {share}, which count as the worst case")
    if dropped := getattr(store, "dropped", 0):
        remarks.append(f"{dropped} samples with missing rows were left out")
    remarks += [
        describe_comparison(store),
        describe_errors(store, case.reference),
        describe_gaps(store, case.models),
    ]
    return tuple(filter(None, remarks))


def cautions_about(case: Case) -> tuple[str, ...]:
    """Return the cautions of a certificate, and warn of them."""
    store: Any = case.store
    known = case.is_known
    labels = getattr(store, "labels", None)
    answers = {}
    if labels is not None and store.has_predictions:
        answers = {name: store.predicted(name)[known] for name in case.models}
        labels = labels[known]
    correct = {}
    confidences = {}
    rows = answered_by_models(store, case.models).all(axis=0)
    for name in case.models if known.all() else ():
        outcome = outcomes_of(store, [name], Method(), case.score)[0]
        correct[name] = outcome[0][rows]
        if store.class_count is None:
            confidences[name] = outcome[1][rows]
    unlike = ""
    if case.table:
        unlike = caution_of_draw(shares_of(store, case.runs), case.table.shares, len(store))
    return cautions(answers, labels, correct, confidences, unlike)
