"""State in one sentence what cascades, fronts or tables show on samples that selected nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import norm

from ..cost_kinds import cost_of
from ..evaluation.evaluation import singles_correct
from ..evaluation.intervals import LEVEL, paired_difference_interval, with_ends
from ..evaluation.point import Point
from ..fronts.front import Front
from ..store.protocol import Store
from ..tables import arrow, in_words
from .comparison import mean_cost_ratio, resampled_cost_ratio
from .shift import front_on, holds
from .uncertainty import basic_interval, bootstrap, interval

Ends = tuple[float, float]


@dataclass(frozen=True)
class Finding:
    """The saving of one cascade relative to its last model, with 95% intervals.

    Parameters
    ----------
    models : tuple of str
        The models of the cascade.
    cost_kind : str
        The kind of cost.
    where : str
        Data set and split.
    samples : int
        Number of samples of the split.
    is_held_out : bool
        Whether the split did not select the cascade.
    saving, exit_rate, difference : float
        Cost of the last model ÷ cost of the cascade, share of inputs that exit at the first model,
        and accuracy of the cascade minus accuracy of the last model.
    saving_ends, exit_ends, difference_ends : tuple of float
        Their 95% intervals.
    accuracy, last_accuracy, cost : float
        Accuracy of the cascade and of its last model, and mean cost of the cascade.
    """

    models: tuple[str, ...]
    cost_kind: str
    where: str
    samples: int
    is_held_out: bool
    saving: float
    saving_ends: Ends
    exit_rate: float
    exit_ends: Ends
    difference: float
    difference_ends: Ends
    accuracy: float
    last_accuracy: float
    cost: float

    @property
    def saved(self) -> str:
        """Return the saving and its interval, such as "4.23× fewer MACs (95% CI 4.11 to 4.36)"."""
        cost = cost_of(self.cost_kind)
        low, high = self.saving_ends
        if low < 1 < high:
            return f"No clear saving: {self.saving:.2f}× (95% CI {low:.2f} to {high:.2f})"
        if self.saving >= 1:
            return f"{self.saving:.2f}× {cost.less} (95% CI {low:.2f} to {high:.2f})"
        return f"{1 / self.saving:.2f}× {cost.more} (95% CI {1 / high:.2f} to {1 / low:.2f})"

    @property
    def kept(self) -> str:
        """Return whether the cascade is as accurate as its last model."""
        low, high = self.difference_ends
        words = "as accurate as the large model, within the error"
        if low > 0:
            words = "more accurate than the large model"
        if high < 0:
            words = "less accurate than the large model"
        return f"{words} ({points(self.difference)} points, {points(low)} to {points(high)})"

    @property
    def exits(self) -> str:
        """Return the share of inputs that exit at the first model, as a sentence."""
        low, high = self.exit_ends
        ends = f"95% CI {low:.1%} to {high:.1%}"
        return f"{self.exit_rate:.0%} of the inputs need only the first model ({ends})"

    @property
    def source(self) -> str:
        """Return what was measured, and on which samples."""
        accuracies = f"{self.accuracy:.2%} instead of {self.last_accuracy:.2%}"
        kind = "held-out samples" if self.is_held_out else "samples that selected it (optimistic)"
        where = f" of {self.where}" if self.where else ""
        return f"{arrow(self.models)}: {accuracies} on {self.samples:,} {kind}{where}"

    def __str__(self) -> str:
        return f"{self.saved}, {self.kept}\n{self.source}"


def points(share: float) -> str:
    """Format a difference of shares in percentage points: "−0.01"."""
    return f"{100 * share:+.2f}".replace("-", "−")


def in_samples(other: Store, kind: str) -> str:
    """Return the size of a split and its name, if it has one: "10,000 samples of test"."""
    where = f" of {other.origin.split}" if other.origin.split else ""
    return f"{len(other):,} {kind}{where}"


def finding(front: Front, other: Store, cascade: Point) -> Finding:
    """Evaluate a cascade of a front on a split that did not select it.

    Parameters
    ----------
    front : Front
        The front from which the cascade was picked.
    other : LogitStore or ScoreTable
        Labelled samples. If they are those of the front, the finding is named optimistic.
    cascade : Point
        The cascade.

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
    1.83× lower cost (95% CI 1.75 to 1.91)
    >>> print(found.source)
    llama-3.1-8b → llama-3.3-70b: 98.67% instead of 100.00% on 1,500 held-out samples
    """
    selected_on = front.store.origin.fingerprint if front.store else None
    row = holds({"": other}, cascade, resamples=2).iloc[0]
    ends = {name: (row[f"{name}_low"], row[f"{name}_high"]) for name in INTERVALS}
    return Finding(
        models=cascade.models,
        cost_kind=cascade.cost_kind,
        where=f"{other.origin.dataset} {other.origin.split}".strip(),
        samples=len(other),
        is_held_out=other.origin.fingerprint != selected_on,
        saving=row["cost_ratio"],
        saving_ends=ends["cost_ratio"],
        exit_rate=row["exit_rate"],
        exit_ends=ends["exit_rate"],
        difference=row["difference"],
        difference_ends=ends["difference"],
        accuracy=row["accuracy"],
        last_accuracy=row["last_model_accuracy"],
        cost=row["cost"],
    )


INTERVALS = ("cost_ratio", "exit_rate", "difference")  # columns of `holds` with an interval


def front_finding(front: Front, other: Store, resamples: int = 200) -> str:
    """State the mean improvement of a front's cascades on a split that did not select them.

    Parameters
    ----------
    front : Front
        The cascades, with their thresholds.
    other : LogitStore or ScoreTable
        Labelled samples.
    resamples : int, default=200
        Number of resamples of the bootstrap.

    Returns
    -------
    str
        The mean improvement, with a 95% interval.

    See Also
    --------
    mean_improvement_moved : The value, with ``ranges=False``.
    """
    moved = front_on(other, front, ranges=False)
    if len(moved.baseline.front) == 1:
        return "The cheapest single model is also the most accurate one on held-out data"
    mean = moved.mean_improvement()
    low, high = basic_interval(bootstrap(other, front, resamples).mean_improvement(), mean)
    return (
        f"At equal accuracy, single models cost {mean:.2f}× as much as cascades on average "
        f"(95% CI {low:.2f} to {high:.2f})\n"
        f"{in_words(front.cost_kind)}, {in_samples(other, 'samples')}"
    )


def price_of_accuracy(singles: Front, other: Store, loss: float = 0.01) -> str:
    """State what the last bit of accuracy of the best single model costs.

    Parameters
    ----------
    singles : Front
        Single models, ``cl.search(store, 1)``, which selects both models.
    other : LogitStore or ScoreTable
        Labelled samples that measure their accuracies.
    loss : float, default=0.01
        The other model is the cheapest one that loses at most this share of accuracy.

    Returns
    -------
    str
        The ratio of the costs and the difference of the accuracies, with a 95% interval.
    """
    best = singles.reference.models[-1]
    least = singles.baseline.best - loss
    models = singles.singles[singles.singles["accuracy"] >= least]
    name = models["cost"].idxmin()
    costs = dict(zip(other.models.index, other.costs(singles.cost_kind)))
    correct = dict(zip(other.models.index, singles_correct(other, singles.score)))
    ends = paired_difference_interval(correct[name], correct[best])
    low, high = (points(end).removeprefix("+") for end in ends)
    difference = points(correct[best].mean() - correct[name].mean()).removeprefix("+")
    more = cost_of(singles.cost_kind).more
    return (
        f"The last {difference} points of accuracy (95% CI {low} to {high}) need "
        f"{costs[best] / costs[name]:.1f}× {more}\n"
        f"{best} instead of {name}, {in_samples(other, 'held-out samples')}"
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
        One row per front except the first, whose label is the name of the index: cost_ratio (below
        1: the front is cheaper), cost_ratio_low and cost_ratio_high. The 95% intervals hold
        simultaneously (Bonferroni).

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
    rows = {}
    for name in others:
        ratio = mean_cost_ratio(moved[name], moved[first])
        error = np.nanstd(np.log(resampled_cost_ratio(drawn[name], drawn[first])))
        factor = np.exp(quantile * error)
        rows[name] = with_ends(1 / ratio, (1 / ratio / factor, factor / ratio), "cost_ratio")
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(first)


def ratio_finding(ratios: pd.DataFrame) -> str:
    """State which fronts are cheaper than the first one.

    Parameters
    ----------
    ratios : DataFrame
        Result of :func:`cost_ratios`.

    Returns
    -------
    str
        For one front its difference in cost, for several fronts their number. A difference counts
        if its interval excludes zero.
    """
    first = in_words(str(ratios.index.name))
    cheaper = ratios["cost_ratio_high"] < 1
    expensive = ratios["cost_ratio_low"] > 1
    note = "Cost at equal accuracy, on samples that selected nothing"
    if len(ratios) > 1:
        return (
            f"Of {len(ratios)} alternatives, {cheaper.sum()} cost clearly less than {first}, "
            f"{expensive.sum()} clearly more\n{note} (simultaneous 95% intervals)"
        )
    name = in_words(str(ratios.index[0]))
    ratio, low, high = ratios.iloc[0]
    ends = f"95% CI {_percent(low)} to {_percent(high)}"
    words = "the cost is clearly lower" if cheaper.iloc[0] else "the cost is clearly higher"
    if not (cheaper | expensive).iloc[0]:
        words = "the cost does not clearly differ"
    return f"With {name} instead of {first}, {words}: {_percent(ratio)} ({ends})\n{note}"


def _percent(ratio: float) -> str:
    """Format a ratio as the difference from 1 in per cent: "−4.2%"."""
    return f"{ratio - 1:+.1%}".replace("-", "−")


def shift_finding(held: pd.DataFrame) -> str:
    """State on how many shifted splits a cascade follows its last model, and what it saves there.

    Parameters
    ----------
    held : DataFrame
        Result of :func:`holds`, a row per shifted split. Its level should be 1 − 0.05 ÷ the number
        of splits.

    Returns
    -------
    str
        The number of splits on which it is less or more accurate, and the range of the savings.
    """
    worse = (held["difference_high"] < 0).sum()
    better = (held["difference_low"] > 0).sum()
    ratio = held["cost_ratio"]
    return (
        f"Less accurate than the large model on {worse} of {len(held)} shifted splits, more "
        f"accurate on {better}, at {ratio.min():.1f}× to {ratio.max():.1f}× lower cost\n"
        "A split counts if its interval excludes zero (simultaneous 95% intervals)"
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
    return (
        f"{over} of {len(table)} models are overconfident, {under} are underconfident\n"
        "Mean confidence − accuracy on held-out data, with a 95% interval for each model"
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
        return f"Too few pairs for a trend\n{len(models)} models have no rank correlation"
    low, high = interval(np.array(draws)) if len(models) > 2 else (-1, 1)
    trend = "are not clearly related"
    if low > 0:
        trend = "rise together"
    if high < 0:
        trend = "go in opposite directions"
    names = " and ".join(name.replace("_", " ") for name in (column, other))
    shown = (f"{number:+.2f}".replace("-", "−") for number in (value, low, high))
    return (
        f"The {names} of pairs {trend}\n"
        "Rank correlation {} (95% CI {} to {} over {} models)".format(*shown, len(models))
    )
