"""Summarize a policy in words and figures, for :func:`cascadelib.figures.card`."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import check_number
from ..cost_kinds import cost_of
from ..evaluation.point import Estimate, Point, kinds_of, single_point
from ..evaluation.run import Run, evaluate
from ..methods.confidence_metrics import metric_of
from ..origin import samples_in_common
from ..scoring import score_of
from ..tables import fraction, in_words, number, times
from .cascade_file import expected_figures
from .confidence_summary import HELD_OUT

MOST_EXAMPLES = 6
NO_GUARANTEE = (
    "This policy has no guarantee: no certificate was computed for its thresholds. Its figures are "
    "estimates. cascadelib.certify tests it on samples that it has not seen."
)


@dataclass(frozen=True)
class CardFigure:
    """A figure of a policy in words. The note names the samples and the reference."""

    name: str
    value: str
    note: str


@dataclass(frozen=True)
class PolicySummary:
    """Hold the statements of a card about a policy.

    Parameters
    ----------
    models : tuple of str
        The models that run, in their order.
    rule : str
        Which model answers which query, in one sentence.
    exit_rates : tuple of float
        The share of queries that each model answers, or empty if unknown.
    figures : tuple of CardFigure
    guarantee : str
        The guarantee of the certificate in words, or that there is none.
    premises : tuple of mapping
        Name, status and evidence of each premise of the guarantee.
    limits : tuple of str
        Cases that the guarantee does not cover.
    chosen, measured : (float, float)
        Cost and accuracy where the policy was chosen, and on a table. Unknown numbers are nan.
    examples : tuple of tuple of str
        Queries of a table that are deferred: the names of the columns, then a row per query. Empty
        without a table.
    """

    models: tuple[str, ...]
    rule: str
    exit_rates: tuple[float, ...]
    figures: tuple[CardFigure, ...]
    guarantee: str
    premises: tuple
    limits: tuple[str, ...]
    chosen: tuple[float, float]
    measured: tuple[float, float]
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Measurement:
    """Figures of a cascade on some samples, and the single model with which it is compared."""

    samples: str
    accuracy: Estimate
    cost: Estimate
    exit_rates: tuple[float, ...]
    reference: str = ""
    reference_cost: float = np.nan
    reference_accuracy: float = np.nan


def summarize(
    policy: Any, front: Any = None, table: Any = None, per_month: float | None = None
) -> PolicySummary:
    """Summarize a Point, Policy or Cascade. The arguments are those of the card."""
    point = single_point(policy)
    if front is not None:
        kinds_of([point, front])
    run = None if table is None else evaluate(table, point)
    measured = measure_cascade(point, front, run)
    figures = figures_of(point, measured)
    if per_month is not None:
        bounds = (1, np.finfo(float).max)
        queries = check_number(per_month, "per_month", "a number of queries, 1 or more", *bounds)
        figures.append(monthly_figure(point, measured, queries))
    is_certified = bool(point.guarantee) and point.chosen == (point.models, point.thresholds)
    premises = tuple(point.premises) if is_certified else ()
    on_table = (np.nan, np.nan) if run is None else (run.cost, run.accuracy)
    return PolicySummary(
        models=point.active_models,
        rule=describe_rule(point),
        exit_rates=measured.exit_rates[: len(point.active_models)],
        figures=tuple(figures),
        guarantee=point.guarantee if is_certified else NO_GUARANTEE,
        premises=premises,
        limits=limits_of(point.guarantee, premises) if is_certified else (),
        chosen=(point.cost, point.accuracy),
        measured=on_table,
        examples=() if run is None else deferred_examples(run),
    )


def describe_rule(point: Point) -> str:
    """Return in one sentence which model answers which query."""
    first, *later = point.active_models
    if not later:
        return f"{first} answers every query."
    metric = None if point.metric is None else metric_of(point.metric)
    name = "confidence" if metric is None else in_words(metric.name)
    side = "above" if metric is not None and metric.negated else "below"
    parts = []
    for model, threshold, inside in zip(later, point.thresholds, point.inside):
        condition = f"if its {name} is {side} {threshold:.4g}"
        if point.fitted:
            condition = f"if its fitted confidence is below {threshold:.4g}"
        if inside == np.inf:
            condition = "always"
        parts.append(f"defers it to {model} {condition}")
    return f"{first} receives each query first, and {', which '.join(parts)}."


def measure_cascade(point: Point, front: Any, run: Run | None) -> Measurement:
    """Return figures on a table, or else the expected ones of the policy's file.

    The reference is the most accurate single model of the table, or else of the front.
    """
    accuracy, cost = (Estimate(value, np.nan, np.nan) for value in (point.accuracy, point.cost))
    samples = "on the samples that chose it"
    rates = point.exit_rates
    expected = point.expected if run is None else expected_figures(point, run.store)
    if expected is not None:
        accuracy = expected.accuracy
        cost = expected.cost
        rates = tuple(rate.value for rate in expected.exit_rates)
        which = "which may have chosen it"
        shared = None if run is None else samples_in_common(point.origin, run.store.origin)
        if shared is not None:
            which = (
                f"{shared:,} of which chose or certified it" if shared else "none of which chose it"
            )
        elif run is None and expected.intervals == HELD_OUT:
            which = "held out"
        samples = f"on {len(expected.on):,} samples, {which}"
    if run is None and front is None:
        return Measurement(samples, accuracy, cost, rates)
    singles = (front if run is None else run).baseline.table
    name = singles["accuracy"].idxmax()
    best = singles.loc[name]
    return Measurement(samples, accuracy, cost, rates, name, best["cost"], best["accuracy"])


def figures_of(point: Point, measured: Measurement) -> list[CardFigure]:
    """Return saving, accuracy and cost in words. Unknown figures are left out."""
    found = []
    cost = measured.cost.value
    reference = measured.reference
    unit = cost_of(point.cost_kind).title
    if measured.reference_cost == measured.reference_cost and cost > 0:
        note = f"cost of {reference}, the most accurate single model, ÷ cost of the cascade"
        found.append(CardFigure("saving", f"{times(measured.reference_cost / cost)} ×", note))
    elif point.saving == point.saving:
        note = "cost of the most accurate single model ÷ cost, on the samples that chose it"
        found.append(CardFigure("saving", f"{times(point.saving)} ×", note))
    if measured.accuracy.value == measured.accuracy.value:
        note = f"{interval_text(measured.accuracy, fraction)}{measured.samples}"
        if reference:
            note += f"; {reference}: {fraction(measured.reference_accuracy)}"
        value = fraction(measured.accuracy.value)
        found.append(CardFigure(score_of(point.score).title, value, note))
    if cost == cost:
        note = f"{interval_text(measured.cost, number)}{measured.samples}"
        if unit != "cost":
            note = f"{unit}, {note}"
        if reference:
            note += f"; {reference}: {number(measured.reference_cost)}"
        found.append(CardFigure("cost of a query", number(cost), note))
    return found


def interval_text(estimate: Estimate, form: Any) -> str:
    """Return the interval of an estimate in words, or nothing if it has none."""
    if estimate.low != estimate.low:
        return ""
    return f"95% CI {form(estimate.low)} to {form(estimate.high)}, "


def monthly_figure(point: Point, measured: Measurement, queries: float) -> CardFigure:
    """Return the cost of a month with a number of queries, next to that of the reference."""

    def month(cost: float) -> str:
        total = queries * cost
        if cost_of(point.cost_kind).unit == "s":
            return f"{number(total / 3600)} hours"
        return f"{total:,.0f}" if 100 <= total < 1e9 else number(total)

    note = f"for {queries:,.0f} queries a month"
    value = month(measured.cost.value)
    if measured.reference:
        value = f"{month(measured.reference_cost)} → {value}"
        note += f": {measured.reference} alone → the cascade"
        more = queries * (measured.reference_accuracy - measured.accuracy.value)
        if point.score == "top1" and more == more:
            note += f", with {abs(more):,.0f} {'more' if more >= 0 else 'fewer'} wrong answers"
    return CardFigure("cost of a month", value, note)


def limits_of(guarantee: str, premises: tuple) -> tuple[str, ...]:
    """Return the cases that a guarantee does not cover."""
    limits = [
        "A single answer. The guarantee is about the mean over many queries.",
        "Queries from another source, or queries that change over time.",
        "Models that change under the same name, such as a new version of an API.",
    ]
    if " groups" not in guarantee:
        limits.append("Parts of the queries, such as one language or one customer.")
    if "costs at most" not in guarantee:
        limits.append("The cost, which rises with the share of deferred queries.")
    open_premises = [each["name"] for each in premises if each["status"] != "verified"]
    if open_premises:
        limits.append(
            f"Anything, if one of these premises is violated: {', '.join(open_premises)}."
        )
    return tuple(limits)


def deferred_examples(run: Run) -> tuple[tuple[str, ...], ...]:
    """Return up to six deferred samples, evenly spread by the first model's confidence.

    The columns are the sample, the first model's answer and confidence, and the final answer.
    """
    rows = np.flatnonzero(run.exit_stage > 0)
    confidence = run.confidences[0]
    rows = rows[np.argsort(-confidence[rows], kind="stable")]
    spread = np.linspace(0, len(rows) - 1, min(MOST_EXAMPLES, len(rows))).round().astype(int)
    rows = rows[spread]
    stages = run.exit_stage[rows]
    models = run.point.models
    native = confidence[rows]
    if run.point.metric is not None:
        native = metric_of(run.point.metric).convert(native)
    columns = {
        "query": run.store.origin.sample_ids[rows],
        f"confidence of {models[0]}": [f"{value:.4g}" for value in native],
        "answered by": [models[stage] for stage in stages],
    }
    if run.store.has_predictions:
        first = run.store.predicted(models[0])[rows]
        last = [run.store.predicted(models[stage])[row] for stage, row in zip(stages, rows)]
        columns |= {f"answer of {models[0]}": first, "final answer": last}
    return (tuple(columns), *zip(*(map(str, values) for values in columns.values())))
