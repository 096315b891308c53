"""Recipes that exit by agreement, budget, feedback, a learned score or the answers; points on another split."""

import numpy as np
import pandas as pd

from .._kernels import kernel
from ..evaluation.evaluation import (
    asked,
    costs_of,
    mean_cost,
    outcomes_of,
    right_alone,
    run_outcomes,
)
from ..evaluation.pareto import pareto_front
from ..fronts.cascades import cascades_of, check_lengths
from ..fronts.exact import search
from ..methods.method import Method, cached_confidence, method_named
from ..methods.thresholds import own_units
from ..scoring import F1


def pool(store, method, score, cost, models):
    """The candidate models of a store, cheapest first: (names, cost float64 [M], stage function over ``names``).
    Arguments as :func:`cascadelib.search` takes them."""
    if score == F1:
        raise ValueError(
            "F1 is known along two-model sweeps only (cascadelib.search); use score='top1' here"
        )
    front = search(store, 1, method, score=score, cost=cost, models=models)
    names = [name for name in front.singles.index if name in front.candidates]
    costs = front.singles.loc[names, "cost"].to_numpy(np.float64)
    return names, costs, store.outcome(names, front.method, front.score)


def replay_points(points, store, rule="max_softmax", *, score="top1", cost=None):
    """A recipe's points, unchanged, on another split: the same table with accuracy_moved and cost_moved.

    rule: a :class:`cascadelib.Method` or its name (None: a ScoreTable's own confidences), or rule(store, models, score)
    → [(correct [k], confidence [k]), …] a stage, to compare the row's thresholds with, or → exits(row) → (exit_stage
    int [k], correct [k]). score, cost: as in :func:`cascadelib.search`.
    """
    method = None if rule is None or callable(rule) else method_named(rule)
    outcomes = (
        rule
        if callable(rule)
        else lambda store, models, score: outcomes_of(store, models, method, score)
    )
    kind, moved = asked(store, cost=cost)[2], np.empty((len(points), 2))
    for models, rows in points.reset_index(drop=True).groupby("models", sort=False):
        stages, costs = outcomes(store, models, score), costs_of(store, models, kind)
        for at, row in rows.iterrows():
            inside = own_units(method and method.units, np.array(row["thresholds"], np.float64))
            stage, correct = (
                stages(row) if callable(stages) else run_outcomes(stages, inside, costs)
            )[:2]
            moved[at] = np.mean(correct), mean_cost(costs, stage)
    return points.assign(accuracy_moved=moved[:, 0], cost_moved=moved[:, 1])


def best_of_chains(store, rule, least, most, settings, score, cost, models):
    """The non-dominated points of chains of ``least`` … ``most`` models at settings(models): dicts with thresholds."""
    names, costs, _ = pool(store, Method(), score, cost, models)
    lengths = check_lengths(range(least, max(least, min(most, len(names))) + 1), len(names))
    chains = [tuple(names[m] for m in chain) for chain in cascades_of(costs, lengths)]
    rows = pd.DataFrame(
        [{"models": chain, **setting} for chain in chains for setting in settings(chain)]
    )
    run = replay_points(rows, store, rule, score=score or "top1", cost=cost)
    points = pd.DataFrame(
        {"accuracy": run.pop("accuracy_moved"), "cost": run.pop("cost_moved"), **run}
    )
    return points.iloc[pareto_front(points["cost"], points["accuracy"])].reset_index(drop=True)


def zhou_2020(store, n_models=4, *, score=None, cost=None, models="all"):
    """Patience: leave as soon as so many models in a row have repeated the answer of the one before.

    Zhou et al., 2020: BERT loses patience: fast and robust inference with early exit, NeurIPS. Kept: the counter, which
    another answer sets to 0, and one patience for all stages. Different: stages are every chain of up to ``n_models``
    candidates. Returns accuracy, cost, models, thresholds (patience; 1: two agree).
    """

    def settings(chain):
        return [
            {"thresholds": (float(p),) * (len(chain) - 1)} for p in range(1, max(2, len(chain) - 1))
        ]

    return best_of_chains(store, patience_outcomes, 1, n_models, settings, score, cost, models)


def patience_outcomes(store, models, score):
    """The rule of :func:`zhou_2020`: the confidence is how often in a row the answer was repeated."""
    answers, count, outcomes = [store.predicted(name) for name in models], np.zeros(len(store)), []
    for i, name in enumerate(models):
        if i:
            count = np.where(answers[i] == answers[i - 1], count + 1, 0.0)
        outcomes.append((right_alone(store, name, score), count))
    return outcomes


def park_2015_dynamic(store, *, score=None, cost=None, models="all"):
    """big/LITTLE with the *dynamic* threshold: it follows the stream, by whether the large model agreed.

    Park et al., 2015: Big/little deep neural network for ultra low power inference, CODES+ISSS. Every pair, softmax
    margin. Kept: feedback comes from the samples that go on; where the large model disagrees the threshold rises, where
    it agrees it falls. Different: the steps, 0.01 × (1 − target) up and 0.01 × target down, so that a share ``target``
    of those samples comes to be disagreed on; the original's schedule is its own. Samples come in the order of the
    store, which should be random. Returns accuracy, cost, models, thresholds (the first of a stream), target.
    """
    settings = [{"thresholds": (0.5,), "target": target} for target in np.arange(41) / 40]
    return best_of_chains(store, dynamic_exits, 2, 2, lambda pair: settings, score, cost, models)


def dynamic_exits(store, models, score):
    """The rule of :func:`park_2015_dynamic`."""
    (little, big), right = (
        map(store.predicted, models),
        [right_alone(store, name, score) for name in models],
    )
    margin = cached_confidence(store, models[0], "softmax_margin", 1.0)

    def exits(row):
        stage = follow(margin, little != big, *row["thresholds"], row["target"])
        return stage, np.choose(stage, right)

    return exits


@kernel
def follow(margin, disagrees, threshold, target):
    """exit_stage int64 [k] where a threshold follows a stream, see :func:`park_2015_dynamic`."""
    stage = np.zeros(len(margin), np.int64)
    for s in range(len(margin)):
        if margin[s] < threshold:
            stage[s] = 1
            threshold = min(max(threshold + 0.01 * (disagrees[s] - target), 0.0), 1.0)
    return stage


def huang_2018(store, metric="max_softmax", *, n_models=3, score=None, cost=None, models="all"):
    """Budgeted batch: the shares of samples that leave at the stages are a geometric series, whose ratio is swept.

    Huang et al., 2018: Multi-scale dense networks for resource efficient image classification, ICLR. Kept: stage i
    answers a share ∝ ratio^i (the paper's z (1 − q)^(i − 1) q; as in its code 39 ratios, 0.05 … 1.95), the surest that
    get there. Different: stages are not the exits of one network but every chain of up to ``n_models`` candidates.
    Returns accuracy, cost, models, thresholds.
    """

    def settings(chain):
        sure = [cached_confidence(store, name, metric, 1.0) for name in chain]
        for shares in (np.arange(1, 40)[:, None] / 20) ** np.arange(len(chain)):
            yield {
                "thresholds": tuple(
                    own_units(metric, budgeted(sure, shares / shares.sum())).tolist()
                )
            }

    return best_of_chains(store, Method(metric), 1, n_models, settings, score, cost, models)


def budgeted(confidences, shares):
    """The n − 1 thresholds at which ⌊share × k⌋ samples leave at each of n stages, more where confidences [n][k] tie;
    inf (never) where that is no sample, or none is left."""
    left, thresholds = np.ones(len(confidences[0]), bool), np.full(len(shares) - 1, np.inf)
    for i, share in enumerate(shares[:-1]):
        here = confidences[i][left]
        if count := min(int(share * len(left) + 1e-9), len(here)):
            thresholds[i] = np.partition(here, -count)[-count]
        left &= confidences[i] < thresholds[i]
    return thresholds


LEARNED = Method(confidence="logistic", columns=("max_softmax", "softmax_margin", "entropy"))
"""A learned exit policy (Bolukbasi et al., 2017: Adaptive neural networks for efficient inference, ICML; Guan et al.,
2018: Energy-efficient amortized inference with cascaded deep classifiers, IJCAI). Kept: a linear policy on these
features for each stage. Different: it learns whether the model is right, once, and a search covers all chains and
thresholds on that probability; the originals train anew for each price of cost."""


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
        raise ValueError(
            "graded scores, and the oracle counts right answers: give correct as bool, say score ≥ 0.5"
        )
    right = right.astype(bool)
    k, chains = right.shape[1], list(cascades_of(costs, range(1, min(n_models, len(costs)) + 1)))
    least, which = np.full(k + 1, np.inf), np.full(k + 1, -1)
    for number, chain in enumerate(chains):
        answers = right[list(chain)]
        counts = np.bincount(answers.argmax(axis=0)[answers.any(axis=0)], minlength=len(chain))
        rescued = np.arange(sum(counts[1:]) + 1)  # in the order of the stages that are first right
        total = np.full(len(rescued), costs[chain[0]])
        for m, earlier in zip(chain[1:], np.cumsum(counts) - counts[0]):
            total += costs[m] * (np.maximum(rescued - earlier, 0) / k)
        reached = slice(counts[0], counts[0] + len(total))
        better = total < least[reached]
        least[reached][better], which[reached][better] = total[better], number
    cheaper_above = np.append(np.minimum.accumulate(least[::-1])[::-1][1:], np.inf)
    kept = np.flatnonzero(least < cheaper_above)
    used = [tuple(names[m] for m in chains[number]) for number in which[kept]]
    return pd.DataFrame({"accuracy": kept / k, "cost": least[kept], "models": used})
