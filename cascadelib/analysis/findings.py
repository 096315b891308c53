"""State in one sentence what cascades, fronts or tables show on held-out samples."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import norm

from ..evaluation.guarantee import AGREEMENT, Guarantee, certainty
from ..evaluation.intervals import LEVEL, with_ends
from ..evaluation.point import Point
from ..figures.cost_kinds import cost_of
from ..figures.tables import arrow, in_words
from ..fronts.front import Front
from ..store.protocol import Store
from .comparison import common_range, mean_cost_ratio, ratio_between, resampled_cost_ratio
from .shift import compare_with, front_on
from .uncertainty import bootstrap, interval, sample_counts

Ends = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """The saving of one cascade relative to a large model, with 95% intervals.

    Parameters
    ----------
    models : tuple of str
        The models of the cascade.
    reference : str
        The large model: the last one of the cascade, or the most accurate single model for a point
        of one model.
    cost_kind : str
        The kind of cost.
    measure : str
        What accuracy means: "accuracy", another score, or the agreement with the large model, if
        all labels are its answers.
    data : str
        Number and source of the samples, and number of candidate models.
    saving, exit_rate, difference : float
        Cost of the large model ÷ cost of the cascade, share of inputs that exit at the first model,
        and accuracy of the cascade minus accuracy of the large model.
    saving_ends, exit_rate_ends, difference_ends : tuple of float
        Their 95% intervals.
    accuracy, last_accuracy, cost : float
        Accuracy of the cascade and of the large model, and mean cost of the cascade.
    guarantee : Guarantee, optional
        The guarantee of a certified cascade.
    """

    models: tuple[str, ...]
    reference: str
    cost_kind: str
    measure: str
    data: str
    saving: float
    saving_ends: Ends
    exit_rate: float
    exit_rate_ends: Ends
    difference: float
    difference_ends: Ends
    accuracy: float
    last_accuracy: float
    cost: float
    guarantee: Guarantee | None = None

    @property
    def saved(self) -> str:
        """Return the saving and its interval: "4.23× fewer MACs than the large model (95% …)"."""
        low, high = self.saving_ends
        if self.models == (self.reference,):
            return f"No cascade: {self.models[0]} answers everything"
        if low < 1 < high:
            return f"No clear saving: factor {self.saving:.2f} (95% CI {low:.2f} to {high:.2f})"
        if self.saving >= 1:
            less = cost_of(self.cost_kind).less
            ends = f"95% CI {low:.2f} to {high:.2f}"
            return f"{self.saving:.2f}× {less} than the large model ({ends})"
        ends = f"95% CI {1 / high:.2f} to {1 / low:.2f}"
        return f"{1 / self.saving:.2f}× the cost of the large model ({ends})"

    @property
    def kept(self) -> str:
        """Return how the accuracy differs from that of the large model."""
        low, high = self.difference_ends
        words = "no difference found"
        if low > 0:
            words = "higher"
        if high < 0:
            words = "lower"
        ends = f"95% CI {points(low)} to {points(high)}"
        measure = self.measure[:1].upper() + self.measure[1:]
        return f"{measure}: {words} ({points(self.difference)} points, {ends})"

    @property
    def certified(self) -> str:
        """Return the bounds of the guarantee and their probability, "" without a guarantee."""
        if self.guarantee is None:
            return ""
        terms = self.guarantee
        if self.measure.startswith("agreement"):  # a lost agreement is an answer that differs
            terms = replace(terms, score=AGREEMENT)
        return f" Certified with probability at least {certainty(terms.delta)}: {terms.bounds}."

    @property
    def exits(self) -> str:
        """Return the share of inputs that exit at the first model, as a sentence."""
        low, high = self.exit_rate_ends
        ends = f"95% CI {low:.1%} to {high:.1%}"
        return f"{self.exit_rate:.0%} of the inputs need only the first model ({ends})"

    @property
    def source(self) -> str:
        """Return what was measured, and on which samples."""
        large = "the last model alone"
        exits = f" {self.exit_rate:.0%} of the inputs need only the first model."
        if len(self.models) == 1:
            large = self.reference
            exits = ""
        accuracies = f"{self.accuracy:.2%}, {large}: {self.last_accuracy:.2%}."
        return f"{arrow(self.models)}: {accuracies}{exits} {self.data}."

    def __str__(self) -> str:
        return f"{self.saved}. {self.kept}.{self.certified}\n{self.source}"


def points(share: float) -> str:
    """Format a difference of shares in percentage points: "−0.01"."""
    return f"{100 * share:+.2f}".replace("-", "−")


def data_of(other: Store, front: Front) -> str:
    """Return on what a front is measured: "10,000 held-out samples of a test, 9 candidates"."""
    selected_on = front.store.origin.fingerprint if front.store else None
    is_held_out = other.origin.fingerprint != selected_on
    kind = "held-out samples" if is_held_out else "samples that selected it (optimistic)"
    where = f"{other.origin.dataset} {other.origin.split}".strip()
    of_where = f" of {where}" if where else ""
    return f"{len(other):,} {kind}{of_where}, {len(front.candidates)} candidate models"


def finding(front: Front, other: Store, cascade: Point) -> Finding:
    """Evaluate a cascade or a single model of a front on a split that did not select it.

    Parameters
    ----------
    front : Front
        The front from which the cascade was picked.
    other : LogitStore or ScoreTable
        Labelled samples. If they are those of the front, the finding is named optimistic.
    cascade : Point
        The cascade. A single model is compared with the front's reference.

    Returns
    -------
    Finding
        What the cascade saves there. ``str`` of it is the title of a figure.

    Raises
    ------
    ValueError
        If `other` lacks a model of the cascade, or has no labels.

    See Also
    --------
    holds : The same for several splits, as a table.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> select, other = table.take(slice(0, None, 2)), table.take(slice(1, None, 2))
    >>> front = cl.search(select)
    >>> found = cl.analysis.finding(front, other, cl.pick(front, accuracy=0.98))
    >>> print(found.saved)
    1.83× lower cost than the large model (95% CI 1.75 to 1.91)
    >>> print(found.kept)
    Agreement with llama-3.3-70b: lower (−1.33 points, 95% CI −1.93 to −0.74)
    """
    *_, reference = front.reference.models if len(cascade.models) == 1 else cascade.models
    row = compare_with(reference, other, cascade, sample_counts(len(other), 2), LEVEL)
    ends: dict[str, Any] = {
        f"{name}_ends": (row[f"{name}_low"], row[f"{name}_high"]) for name in INTERVALS
    }
    measure = "accuracy" if cascade.score == "top1" else in_words(cascade.score)
    if cascade.score == "top1" and row["last_model_accuracy"] == 1:
        measure = f"agreement with {reference}"
    return Finding(
        models=cascade.models,
        reference=reference,
        cost_kind=cascade.cost_kind,
        measure=measure,
        data=data_of(other, front),
        **{name: row[name] for name in (*INTERVALS, "accuracy", "cost")},
        **ends,
        last_accuracy=row["last_model_accuracy"],
        guarantee=cascade.guarantee,
    )


PARTS = 5  # of the range of accuracies, in each of which two fronts are compared
INTERVALS = ("saving", "exit_rate", "difference")  # columns of `holds` with an interval


def price_of_accuracy(singles: Front, other: Store, points: float = 0.01) -> str:
    """State what the last points of accuracy cost on a split that did not select the models.

    Parameters
    ----------
    singles : Front
        Cascades of one model, by a search of length 1.
    other : LogitStore or ScoreTable
        Labelled samples.
    points : float, default=0.01
        The difference of accuracy below the most accurate model.

    Returns
    -------
    str
        The cost of the most accurate model ÷ the cost of this much less accuracy on the hull of the
        single models, with its 95% interval over resamples.
    """
    baseline = front_on(other, singles, ranges=False).baseline
    drawn = bootstrap(other, singles, 200).baselines
    value, *draws = (b.cost_at(b.best) / b.cost_at(b.best - points) for b in (baseline, *drawn))
    factor = np.exp(norm.isf((1 - LEVEL) / 2) * np.std(np.log(draws)))
    return (
        f"The last {'point' if points == 0.01 else f'{100 * points:g} points'} of accuracy, from "
        f"{baseline.best - points:.2%} to {baseline.best:.2%}, multiplies the cost by "
        f"{value:.1f} (95% CI {value / factor:.1f} to {value * factor:.1f}).\n"
        f"{in_words(singles.cost_kind)}, on the hull of single models. {data_of(other, singles)}."
    )


def cost_ratios(fronts: Mapping[str, Front], other: Store, resamples: int = 200) -> pd.DataFrame:
    """Compare fronts with the first one by their cost at equal accuracy on another split.

    Parameters
    ----------
    fronts : mapping of str to Front
        Two or more fronts of one split, score and kind of cost.
    other : LogitStore or ScoreTable
        Labelled samples that selected none of them.
    resamples : int, default=200
        Number of resamples of the bootstrap.

    Returns
    -------
    DataFrame
        One row per front except the first, whose label is the name of the index.

        - relative_cost: the cost ÷ that of the first front, with its ends relative_cost_low and
          relative_cost_high. The 95% intervals hold simultaneously (Bonferroni).
        - cheaper_at, dearer_at: where the cost clearly differs, as "87.2% to 93.7%" or "none":
          the fifths of the range of accuracies whose interval excludes an equal cost. The five
          intervals of a row hold simultaneously at 95%.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two fronts, or as for :func:`mean_cost_ratio`.

    See Also
    --------
    ratio_finding : The table in one sentence.

    Notes
    -----
    An interval is the estimate ± a quantile of the normal distribution × the standard error of its
    logarithm over resamples of the samples.
    """
    first, *others = fronts
    if not others:
        raise ValueError("pass two fronts or more: {label: Front}")
    drawn = {name: bootstrap(other, front, resamples) for name, front in fronts.items()}
    moved = {name: front_on(other, front, ranges=False) for name, front in fronts.items()}
    quantile = norm.isf((1 - LEVEL) / (2 * len(others)))
    rows: dict[str, dict[str, Any]] = {}
    for name in others:
        ratio = mean_cost_ratio(moved[name], moved[first])
        error = np.nanstd(np.log(resampled_cost_ratio(drawn[name], drawn[first])))
        factor = np.exp(quantile * error)
        rows[name] = with_ends(1 / ratio, (1 / ratio / factor, factor / ratio), "relative_cost")
        steps = moved[first].steps, moved[name].steps
        edges = np.linspace(*common_range(moved[first].baseline, *steps), PARTS + 1)
        parts = np.log([ratio_between(*part, *steps) for part in pairwise(edges)])
        pairs = list(zip(drawn[first].fronts, drawn[name].fronts))
        resampled = [[ratio_between(*part, *pair) for part in pairwise(edges)] for pair in pairs]
        errors = np.nanstd(np.log(resampled), axis=0)
        is_clear = np.abs(parts) > norm.isf((1 - LEVEL) / (2 * PARTS)) * errors
        rows[name]["cheaper_at"] = ranges_in_words(edges, is_clear & (parts < 0))
        rows[name]["dearer_at"] = ranges_in_words(edges, is_clear & (parts > 0))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(first)


def ranges_in_words(edges: Array, chosen: Array) -> str:
    """Return the chosen parts between edges as "87.2% to 93.7%", neighbours as one range."""
    runs = [list(run) for is_chosen, run in groupby(range(len(chosen)), chosen.item) if is_chosen]
    words = [f"{edges[run[0]]:.1%} to {edges[run[-1] + 1]:.1%}" for run in runs]
    return " and ".join(words) or "none"


def ratio_finding(ratios: pd.DataFrame, fronts: Mapping[str, Front], other: Store) -> str:
    """State which fronts are cheaper than the first one.

    Parameters
    ----------
    ratios : DataFrame
        Result of :func:`cost_ratios`.
    fronts, other
        Its arguments, which tell what was measured.

    Returns
    -------
    str
        The difference in cost of each front whose interval excludes an equal cost.
    """
    first, front = next(iter(fronts.items()))
    data = f"{in_words(front.cost_kind)}, mean at equal accuracy. {data_of(other, front)}."
    ends = ["relative_cost", "relative_cost_low", "relative_cost_high"]
    percents = ratios[ends].sub(1).map("{:+.1%}".format).replace("-", "−", regex=True)
    cheaper = ratios["relative_cost_high"] < 1
    expensive = ratios["relative_cost_low"] > 1
    if len(ratios) == 1:
        words = "no difference in cost found"
        if (cheaper | expensive).iloc[0]:
            words = "lower cost" if cheaper.iloc[0] else "higher cost"
        shown = "{} (95% CI {} to {})".format(*percents.iloc[0])
        cheaper_at, dearer_at = ratios[["cheaper_at", "dearer_at"]].iloc[0]
        return (
            f"With {ratios.index[0]} instead of {first}: {words}, {shown}. Clearly cheaper at "
            f"accuracies: {cheaper_at}; more expensive: {dearer_at}.\n{data} "
            "Clearly: the interval of a fifth of the range excludes an equal cost."
        )
    parts = []
    for chosen, word in ((cheaper, "cheaper"), (expensive, "more expensive")):
        differ = percents.loc[chosen, "relative_cost"]
        named = ", ".join(f"{name} {percent}" for name, percent in differ.items())
        parts.append(f"{len(differ)} clearly {word}" + f" ({named})" * bool(named))
    return (
        f"Of {len(ratios)} alternatives to {first}: {', '.join(parts)}.\n{data} Clearly: the "
        "interval excludes an equal cost. The 95% intervals hold simultaneously."
    )


SHIFTS = {  # column of `holds`: what is lower and what is higher on a split, and how it is found
    "difference": (
        "less accurate than the large model",
        "more accurate",
        "the interval of the difference excludes zero",
    ),
    "exit_rate": (
        "fewer inputs exit at the first model than held out",
        "more inputs",
        "the interval excludes the line",
    ),
    "improvement": (
        "worse than single models",
        "better",
        "the interval excludes an equal cost",
    ),
}


def shift_finding(
    held: pd.DataFrame, cascade: Point, column: str = "difference", line: float = 0
) -> str:
    """State on how many shifted splits a cascade does worse or better than a line.

    Parameters
    ----------
    held : DataFrame
        Result of :func:`holds`, a row per shifted split. Its level should be 1 − 0.05 ÷ the number
        of splits.
    cascade : Point
        The cascade.
    column : {"difference", "exit_rate", "improvement"}, default="difference"
        A column of `held` with an interval.
    line : float, default=0
        The value to compare with.

    Returns
    -------
    str
        The number of splits whose interval is below the line, and above it, and the range of the
        savings.
    """
    below = (held[f"{column}_high"] < line).sum()
    above = (held[f"{column}_low"] > line).sum()
    lower, higher, meaning = SHIFTS[column]
    least, most = held["saving"].agg(["min", "max"])
    samples = " or ".join(f"{size:,}" for size in held["samples"].unique())
    return (
        f"Clearly {lower} on {below} of {len(held)} shifted splits, clearly {higher} on {above}. "
        f"Saving: {least:.1f}× to {most:.1f}×.\n"
        f"{arrow(cascade.models)}, {samples} samples a split. Saving: cost of the large model ÷ "
        f"cost of the cascade, {in_words(cascade.cost_kind)}. Clearly: {meaning}. "
        "The 95% intervals hold simultaneously."
    )


def calibration_finding(table: pd.DataFrame) -> str:
    """Count the over- and underconfident models of a table.

    Parameters
    ----------
    table : DataFrame
        Result of :func:`calibration_table`.

    Returns
    -------
    str
        The numbers of models whose interval of the gap excludes zero.
    """
    over = (table["gap_low"] > 0).sum()
    under = (table["gap_high"] < 0).sum()
    found = (
        f"Of {len(table)} models, {over} are clearly overconfident, {under} clearly underconfident"
    )
    if len(table) == 1:
        found = f"{table.index[0]} is neither clearly over- nor clearly underconfident"
    if len(table) == 1 and over + under:
        found = f"{table.index[0]} is clearly {'over' if over else 'under'}confident"
    return (
        f"{found}.\nMean confidence − accuracy on held-out data. Clearly: the model's 95% "
        "interval excludes zero."
    )


def pair_trend(pairs: pd.DataFrame, column: str, other: str, resamples: int = 200) -> str:
    """State the rank correlation of two columns of a table of pairs.

    Parameters
    ----------
    pairs : DataFrame
        Result of :func:`cascadelib.pair_table`.
    column, other : str
        The columns.
    resamples : int, default=200
        Number of resamples of the models. Pairs with a common model are not independent.

    Returns
    -------
    str
        Whether the columns rise together, with the 95% interval of Spearman's correlation.
    """
    models = pd.unique(pairs[["first", "second"]].to_numpy().ravel())
    rng = np.random.default_rng(0)
    draws = []
    for times in rng.multinomial(len(models), np.full(len(models), 1 / len(models)), resamples):
        weight = pd.Series(times, models)
        repeats = pairs["first"].map(weight) * pairs["second"].map(weight)
        drawn = pairs.loc[pairs.index.repeat(repeats)]
        if drawn[column].nunique() > 1 < drawn[other].nunique():
            draws.append(drawn[column].corr(drawn[other], "spearman"))
    value = pairs[column].corr(pairs[other], "spearman")
    if np.isnan(value):
        return f"Too few pairs for a trend.\n{len(models)} models have no rank correlation."
    low, high = interval(np.array(draws)) if len(models) > 2 else (-1, 1)
    trend = "are not clearly related"
    if low > 0:
        trend = "rise together"
    if high < 0:
        trend = "go in opposite directions"
    names = " and ".join(name.replace("_", " ") for name in (column, other))
    shown = (f"{number:+.2f}".replace("-", "−") for number in (value, low, high))
    return (
        f"The {names} of pairs {trend}.\n"
        "Rank correlation {} (95% CI {} to {} over {} models).".format(*shown, len(models))
    )
