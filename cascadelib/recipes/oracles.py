"""What an exit rule that knows the answers could do with the same models: a floor under the cost of any cascade."""

import numpy as np
import pandas as pd

from ..evaluation.pareto import pareto_front
from ..fronts.cascades import cascades_of
from ..fronts.exact import search
from ..scoring import F1


def pool(store, method, score, cost, models):
    """The candidate models of a store, cheapest first: (names, cost float64 [M], stage function over ``names``).
    Arguments as :func:`cascadelib.search` takes them."""
    if score == F1:
        raise ValueError("F1 is known along two-model sweeps only (cascadelib.search); use score='top1' here")
    front = search(store, 1, method, score=score, cost=cost, models=models)
    names = [name for name in front.singles.index if name in front.candidates]
    costs = front.singles.loc[names, "cost"].to_numpy(np.float64)
    return names, costs, store.outcome(names, front.method, front.score)


def frontier(points):
    """The non-dominated rows of a table with columns accuracy and cost, cheapest first."""
    return points.iloc[pareto_front(points["cost"], points["accuracy"])].reset_index(drop=True)


def rescue_costs(costs, counts, k):
    """Cost of a chain that rescues 0, 1, 2 … samples, in the order of the stages that rescue them.

    costs [n]; counts [n]: how many samples each stage gets right and no earlier one does. Returns float64
    [1 + counts[1] + … + counts[n − 1]].
    """
    rescued, earlier = np.arange(sum(counts[1:]) + 1), 0
    total = np.full(len(rescued), float(costs[0]))
    for cost, count in zip(costs[1:], counts[1:]):
        total += cost * (np.maximum(rescued - earlier, 0) / k)
        earlier += count
    return total


def oracle(store, n_models=3, *, score=None, cost=None, models="all"):
    """The oracle envelope: what the best conceivable exit rule reaches with chains of up to ``n_models`` models.

    The rule knows the answers: a sample goes on only if a later model repairs it, and only as far as that model.
    The first model's n right answers come at its cost C1; each sample that the second rescues adds C2 ÷ k, then each
    that only the third rescues adds (C2 + C3) ÷ k, and so on. Every cascade without ensembling, in order of cost and of
    at most ``n_models`` models, costs at least this much at its accuracy, whatever its confidence.

    store: LogitStore or ScoreTable with one cost a model; score, cost, models as in :func:`cascadelib.search`.
    Returns a DataFrame, a row a Pareto point: accuracy, cost, models. Raises ValueError for graded scores.
    """
    names, costs, stage = pool(store, None, score, cost, models)
    right = np.stack([stage((m,))[0] for m in range(len(names))])
    if not np.isin(right, (0, 1)).all():
        raise ValueError("graded scores, and the oracle counts right answers: give correct as bool, say score ≥ 0.5")
    right = right.astype(bool)
    k, chains = right.shape[1], list(cascades_of(costs, range(1, min(n_models, len(costs)) + 1)))
    least, which = np.full(k + 1, np.inf), np.full(k + 1, -1)
    for number, chain in enumerate(chains):
        answers = right[list(chain)]
        counts = np.bincount(answers.argmax(axis=0)[answers.any(axis=0)], minlength=len(chain))
        total = rescue_costs(costs[list(chain)], counts, k)
        reached = slice(counts[0], counts[0] + len(total))
        better = total < least[reached]
        least[reached][better], which[reached][better] = total[better], number
    cheaper_above = np.append(np.minimum.accumulate(least[::-1])[::-1][1:], np.inf)
    kept = np.flatnonzero(least < cheaper_above)
    used = [tuple(names[m] for m in chains[number]) for number in which[kept]]
    return pd.DataFrame({"accuracy": kept / k, "cost": least[kept], "models": used})
