"""Other rules for choosing a cascade beside the exact search, in one run.

Measured are seconds, and the accuracy that each reaches at equal budget, held out and where it
chose. All are our code, written from what is published about each rule:

* the paper (Lebovitz et al., section 3, *Evaluation*): every threshold of a pair; of a triple every
  tenth first one;
* FrugalGPT (Chen et al., 2023, and its published code): every chain, a grid of 40 shares per stage
  that pass on and do not fall, then Nelder-Mead from the best of them; what is above the budget
  counts as infinitely bad. Not kept: its own scorer (max softmax instead), chains against the order
  of cost;
* cascade-routing (Dekoninck et al., 2024, and its published code; the thresholding baseline there):
  one threshold for all stages by 20 bisections. Different: every chain, where theirs is given, and
  no search by Parzen estimators from there;
* scikit-fallback: every chain, and every combination of its grids' thresholds;
* RouterBench (Hu et al., 2024): the non-decreasing hull of single models: random routing between
  two of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from typing import Any

import numpy as np
from measuring import RUNS, row, seconds
from scipy.optimize import fmin
from synthetic import Table

from cascadelib import Baseline, LogitStore, Method, Point, evaluate, search
from cascadelib.evaluation.pareto import pareto_front
from cascadelib.fronts.cascades import cascades_of
from cascadelib.fronts.exact import search_arrays

BUDGETS = (0.02, 0.1, 0.25)  # of the most accurate model's cost
SHARES = np.linspace(1e-5, 1 - 1e-5, 40)
BISECTIONS = 20


@dataclass(frozen=True, eq=False)
class Split:
    """The selection split: store, names, and their table.

    The table has correct bool [M, k], confidence float64 [M, k] and cost [M].
    """

    store: LogitStore
    names: list
    table: Table


def split_of(store: LogitStore, models: Sequence[str]) -> Split:
    """The max softmax of some models of a store."""
    front = search(store, 1, Method("max_softmax"), models=models)
    names = [name for name in front.singles.index if name in front.candidates]
    cost = front.singles.loc[names, "cost"].to_numpy(np.float64)
    stage = store.outcome(names, front.method, front.score)
    correct, confidence = zip(*(stage((m,)) for m in range(len(names))), strict=True)
    return Split(store, names, (np.array(correct, bool), np.array(confidence), cost))


class Best:
    """The most accurate cascade within each budget, of all that were offered: ``found`` has a list
    for each, of (weight, models, thresholds); ``accuracy`` what it has where chosen. Weights: of a
    random choice.
    """

    def __init__(self, budgets: Sequence[float]) -> None:
        self.budgets = budgets
        self.accuracy = [-1.0] * len(budgets)
        self.found: list[list] = [[] for _ in budgets]

    def offer(
        self,
        models: tuple[int, ...],
        costs: Any,
        accuracies: Any,
        thresholds: Any,
        only: int | None = None,
    ) -> None:
        """models: of one cascade; an entry a vector of thresholds; only: the one budget that these
        are for.
        """
        for i, budget in enumerate(self.budgets):
            within = np.where(np.asarray(costs) <= budget, accuracies, -1.0)
            j = int(np.argmax(within))
            if only in (None, i) and within[j] > self.accuracy[i]:
                self.accuracy[i] = float(within[j])
                self.found[i] = [(1.0, models, tuple(thresholds[j]))]


def run(table: Table, models: tuple[int, ...], thresholds: Sequence) -> tuple[float, float]:
    """(accuracy, cost) of a cascade: rows of the table, and the least confidence that exits at each
    stage but one.
    """
    correct, confidence, cost = table
    left = np.arange(correct.shape[1])
    total_correct = 0
    total = 0.0
    for m, threshold in zip(models, (*thresholds, -np.inf), strict=True):
        passes = confidence[m][left] < threshold
        total = total + cost[m] * len(left)
        total_correct += int(np.count_nonzero(correct[m][left[~passes]]))
        left = left[passes]
    return total_correct / correct.shape[1], total / correct.shape[1]


def exact(split: Split, n: int, budgets: Sequence[float]) -> Best:
    """Search every threshold of every cascade of n models."""
    points = search_arrays(*split.table, n)
    best = Best(budgets)
    for budget in budgets:
        i = np.searchsorted(points.cost, budget, side="right") - 1
        if i >= 0:
            best.offer(
                tuple(points.models[i]),
                [points.cost[i]],
                [points.accuracy[i]],
                [points.thresholds[i]],
            )
    return best


def paper(split: Split, n: int, budgets: Sequence[float]) -> Best:
    """Apply the paper's recipe literally."""
    best = Best(budgets)
    one = recipe_pair if n == 2 else recipe_triple
    for models in cascades_of(split.table[2], (n,)):
        costs, accuracies, thresholds = one(*split.table, *models)
        best.offer(models, costs, accuracies, thresholds.reshape(len(costs), -1))
    return best


def recipe_pair(
    correct: np.ndarray, confidence: np.ndarray, cost: np.ndarray, a: int, b: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cost, accuracy, threshold) of one pair at its boundaries: a k × 3 array, sorted, two
    cumulative sums.

    Boundaries between equal confidences are left out: no threshold gives them.
    """
    table = np.stack([confidence[a], correct[a], correct[b]], axis=1)
    table = table[np.argsort(table[:, 0])]
    k = len(table)
    second = np.concatenate([[0], np.cumsum(table[:, 2])])  # passes on: the least confident
    first = np.concatenate([np.cumsum(table[::-1, 1])[::-1], [0]])
    real = np.concatenate([[True], np.diff(table[:, 0]) != 0, [True]])
    exits = np.concatenate([[-np.inf], table[1:, 0], [np.inf]])
    return (
        (cost[a] + cost[b] * np.arange(k + 1) / k)[real],
        ((first + second) / k)[real],
        exits[real],
    )


def recipe_triple(
    correct: np.ndarray,
    confidence: np.ndarray,
    cost: np.ndarray,
    a: int,
    b: int,
    c: int,
    every: int = 10,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(cost, accuracy, thresholds) of one triple's non-dominated points: first thresholds at every
    tenth boundary, the rest as a pair on what is left.
    """
    k = correct.shape[1]
    order = np.argsort(confidence[a])
    first = []
    parts = []
    for passed in range(0, k + 1, every):
        left = order[:passed]
        if 0 < passed < k and confidence[a, order[passed - 1]] == confidence[a, order[passed]]:
            continue  # within a tie
        if passed:
            own, accuracy, later = recipe_pair(correct[:, left], confidence[:, left], cost, b, c)
            first.append(confidence[a, order[passed]] if passed < k else np.inf)
        else:
            own = accuracy = later = np.zeros(1)
            first.append(-np.inf)
        exits = correct[a, order[passed:]].sum()
        parts.append((cost[a] + own * passed / k, (accuracy * passed + exits) / k, later))
    costs = np.concatenate([part[0] for part in parts])
    accuracies = np.concatenate([part[1] for part in parts])
    keep = pareto_front(costs, accuracies)
    ends = np.cumsum([len(part[0]) for part in parts])
    rows = np.searchsorted(ends, keep, side="right")
    second = [
        parts[r][2][i - ends[r]] for r, i in zip(rows, keep, strict=True)
    ]  # counted from the row's end
    return costs[keep], accuracies[keep], np.column_stack([np.array(first)[rows], second])


def recipe_pairs(
    correct: np.ndarray, confidence: np.ndarray, cost: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The global front of all pairs by the recipe: (cost, accuracy)."""
    parts = [
        recipe_pair(correct, confidence, cost, a, b)[:2]
        for a, b in combinations(range(len(cost)), 2)
    ]
    costs, accuracies = (np.concatenate(part) for part in zip(*parts, strict=True))
    keep = pareto_front(costs, accuracies)
    return costs[keep], accuracies[keep]


def frugal_gpt(split: Split, n: int, budgets: Sequence[float]) -> Best:
    """A grid of shares that pass on, and Nelder-Mead from its best; the grid serves all budgets."""
    best = Best(budgets)
    for models in cascades_of(split.table[2], (n,)):
        passing = passing_shares(split.table, models)
        tried = [shares for shares in product(SHARES, repeat=n - 1) if np.all(np.diff(shares) >= 0)]
        ran = np.array([run(split.table, models, passing(shares)[0]) for shares in tried])
        best.offer(models, ran[:, 1], ran[:, 0], [passing(shares)[0] for shares in tried])
        for i, budget in enumerate(budgets):
            within = np.where(ran[:, 1] <= budget, ran[:, 0], -1.0)
            if within.max() > 0:
                shares = fmin(
                    loss_within,
                    tried[int(within.argmax())],
                    (split.table, models, passing, budget),
                    disp=False,
                )
                thresholds = passing(tuple(np.clip(shares, 0, 1)))[0]
                accuracy, cost = run(split.table, models, thresholds)
                best.offer(models, [cost], [accuracy], [thresholds], only=i)
    return best


def passing_shares(table: Table, models: tuple[int, ...]) -> Callable:
    """shares → (thresholds at which these shares of those who get there pass on, who passes the
    last).
    """
    _, confidence, _ = table

    @lru_cache(64)
    def passing(shares: tuple[float, ...]) -> tuple[tuple[float, ...], np.ndarray]:
        if not shares:
            return (), np.arange(confidence.shape[1])
        thresholds, left = passing(shares[:-1])
        values = confidence[models[len(shares) - 1]][left]
        last = np.quantile(values, shares[-1]) if len(values) else -np.inf
        return (*thresholds, float(np.nextafter(last, np.inf))), left[values <= last]

    return passing


def loss_within(
    shares: np.ndarray, table: Table, models: tuple[int, ...], passing: Callable, budget: float
) -> float:
    """−accuracy; 10,000 where the shares fall or the budget is exceeded."""
    if np.any(np.diff(shares) < 0):
        return 10_000
    accuracy, cost = run(table, models, passing(tuple(np.clip(shares, 0, 1)))[0])
    return -accuracy if cost <= budget else 10_000


def constant(split: Split, n: int, budgets: Sequence[float]) -> Best:
    """Set one threshold for all stages by bisection."""
    best = Best(budgets)
    for models in cascades_of(split.table[2], (n,)):
        for i, budget in enumerate(budgets):
            if split.table[2][models[0]] <= budget:
                threshold = bisected(split.table, models, budget)
                accuracy, cost = run(split.table, models, (threshold,) * (n - 1))
                best.offer(models, [cost], [accuracy], [(threshold,) * (n - 1)], only=i)
    return best


def bisected(table: Table, models: tuple[int, ...], budget: float) -> float:
    """The largest threshold, nearly, at which the cost is within the budget; at 0 all exit."""
    low = 0.0
    high = 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        within = run(table, models, (middle,) * (len(models) - 1))[1] <= budget
        low, high = (middle, high) if within else (low, middle)
    return low


def fallback(count: int) -> Callable:
    """Use the grid of scikit-fallback: thresholds for all stages, from 1 ÷ classes to 0.95."""

    def rule(split: Split, n: int, budgets: Sequence[float]) -> Best:
        grid = np.linspace(1 / split.store.output(split.names[0]).shape[1], 0.95, count)
        best = Best(budgets)
        for models in cascades_of(split.table[2], [n]):
            for thresholds in product(grid, repeat=n - 1):
                accuracy, cost = run(split.table, models, thresholds)
                best.offer(models, [cost], [accuracy], [thresholds])
        return best

    return rule


def hull(split: Split, n: int, budgets: Sequence[float]) -> Best:
    """Route at random between two single models."""
    correct, _, cost = split.table
    baseline = Baseline(cost, correct.mean(axis=1))
    best = Best(budgets)
    costs = cost[baseline.hull]
    accuracies = correct.mean(axis=1)[baseline.hull]
    for i, budget in enumerate(budgets):
        at = int(np.clip(np.searchsorted(costs, budget, side="right"), 1, len(costs) - 1))
        share = (min(budget, costs[at]) - costs[at - 1]) / (costs[at] - costs[at - 1])
        weights = (1 - share, share)
        best.accuracy[i] = float(np.dot(weights, accuracies[at - 1 : at + 1]))
        best.found[i] = [
            (w, (int(baseline.hull[j]),), ()) for w, j in zip(weights, (at - 1, at), strict=True)
        ]
    return best


EXACT = "exact search"
ROUTING = "RouterBench's hull of single models"
RULES = {
    EXACT: exact,
    "the paper's recipe": paper,
    "FrugalGPT's optimiser": frugal_gpt,
    "cascade-routing's constant": constant,
    "scikit-fallback's grid of 10": fallback(10),
    "scikit-fallback's grid of 30": fallback(30),
    ROUTING: hull,
}


def held_out(split: Split, store: LogitStore, found: list) -> np.ndarray:
    """Return (accuracy, cost) on another split, of a random choice by weight."""
    total = np.zeros(2)
    for weight, models, thresholds in found:
        names = tuple(split.names[m] for m in models)
        point = Point(
            names, tuple(map(float, thresholds)), (), np.nan, np.nan, np.nan, Method("max_softmax")
        )
        there = evaluate(store, point)
        total += weight * np.array([there.accuracy, there.cost])
    return total


def peers(quick: bool = False) -> list[dict]:
    """Rows of the table: the bundled images, chosen on ``val``, held out on ``test``; candidates
    are the models on the hull of single models on ``val``.
    """
    val, test = (LogitStore(f"data/fashion-mnist/{name}") for name in ("val", "test"))
    val = val.take(slice(0, 500)) if quick else val
    singles = search(val, 1)
    names = list(singles.singles.index[singles.baseline.hull])[-4 if quick else 0 :]
    split = split_of(val, names)
    table = []
    budgets = [share * split.table[2][-1] for share in BUDGETS]
    for n, kind in ((2, "pairs"), (3, "triples")):
        results = {}
        for label, rule in RULES.items():
            spent, results[label] = seconds(
                lambda rule=rule, n=n: rule(split, n, budgets), 1 if quick else RUNS
            )
            what = f"choosing for {len(budgets)} budgets, {len(names)} models, k = {len(val)}"
            table.append(row(f"{label}, {kind}: {what}", spent, "s"))
        for i, share in enumerate(BUDGETS):
            for label, best in results.items():
                accuracy, cost = held_out(split, test, best.found[i])
                there = f"(chosen {best.accuracy[i]:.4f}, spends {cost / budgets[i]:.2f} of it)"
                what = f"{label}, {kind}: held out at {share:.0%} of the best model's cost {there}"
                table.append(row(what, accuracy, "accuracy"))
        others = [best.accuracy for best in results.values() if best is not results[ROUTING]]
        lead = np.min(results[EXACT].accuracy - np.max(others, axis=0))
        table.append(
            row(
                f"{kind}: exact search, ahead of the best of these cascades where chosen",
                lead,
                "accuracy",
                "≥ 0",
            )
        )
    return table
