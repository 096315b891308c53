"""Earlier recipes for cascades beside the exact front, as notebook 04 shows them."""

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.evaluation import least_cost, mean_improvement
from cascadelib.evaluation.evaluation import baseline_of
from cascadelib.recipes import exits


def all_recipes(store, *, held_out=None, cost=None, models="all"):
    """Every recipe of cl.recipes on one store, with its defaults: {label with author and year: points}.

    held_out: another split; points then have accuracy_moved and cost_moved there (``replay_points``), but not the
    oracle's, who knows the answers. The grids of 10 and 30 are the rule of ThresholdCascadeClassifierCV of
    scikit-fallback (one grid for all stages, from 1 ÷ classes to 0.95), with every stage that ran in the cost.

    Two are exact searches. Park et al., 2015: Big/little deep neural network for ultra low power inference, CODES+ISSS:
    every pair, with the *static* threshold of the original. Wang, Kondratyuk et al., 2022: Wisdom of committees: an
    overlooked approach to faster and more accurate models, ICLR: every threshold instead of a grid, models of any
    family, and up to 3 of them (the original: 4 of one family).
    """
    options = {"cost": cost, "models": models}
    chance = 1 / store.output(store.models.index[0]).shape[1]

    def grid(metric, **more):
        return moved(cl.recipes.wang_2018(store, metric, **more, **options), metric)

    def searched(n_models, method):
        return moved(cl.search(store, n_models, method, **options).table, method)

    def moved(points, rule="max_softmax"):
        return (
            points if held_out is None else exits.replay_points(points, held_out, rule, cost=cost)
        )

    return {
        "Park 2015, softmax margin, 2 models": searched(2, "softmax_margin"),
        "Park 2015, dynamic threshold": moved(
            exits.park_2015_dynamic(store, **options), exits.dynamic_exits
        ),
        "Bolukbasi 2017, logistic": searched((1, 2, 3), exits.LEARNED.fit(store)),
        "Wang 2018, entropy grid": grid("entropy"),
        "Wang 2018, entropy grid, cost-oblivious": grid("entropy", cost_aware=False),
        "Wang 2018, max-softmax grid": grid("max_softmax"),
        "Wang 2018, max-softmax grid, cost-oblivious": grid("max_softmax", cost_aware=False),
        "scikit-fallback, grid of 10": grid("max_softmax", grid=np.linspace(chance, 0.95, 10)),
        "scikit-fallback, grid of 30": grid("max_softmax", grid=np.linspace(chance, 0.95, 30)),
        "Huang 2018, budgeted batch": moved(exits.huang_2018(store, **options)),
        "Zhou 2020, patience": moved(exits.zhou_2020(store, **options), exits.patience_outcomes),
        "Wang 2022, mean logits": searched((2, 3), "max_softmax_mean_logits"),
        "plurality vote": searched((1, 2, 3), cl.Method(ensemble="vote")),
        "one shared threshold, 2 models": moved(
            cl.fronts.shared_threshold_front(store, 2, **options).table
        ),
        "one shared threshold, 3 models": moved(
            cl.fronts.shared_threshold_front(store, 3, **options).table
        ),
        "oracle": cl.recipes.oracle(store, **options),
    }


def compare_recipes(exact_front, recipes, above=(), *, held_out=None, loss=0.01):
    """Recipes beside the exact front, a row each, the front first ("exact").

    exact_front: a :class:`cascadelib.Front`, whose baseline counts; recipes: {label: points with accuracy and cost,
    rising}; above: accuracies. Columns: mean_improvement over the baseline's range, "improvement above <a>" for each,
    best_accuracy, excess_cost (see :func:`excess_cost`).

    held_out: the split on which they were replayed. First then come accuracy_moved, cost_moved (there), accuracy and
    cost (here) of the point that is chosen at ``loss``, the cheapest at most so far below the best single model, or the
    most accurate; and excess_cost_moved, that mean over accuracies here of cost ÷ the baseline's at equal accuracy both
    there: nothing is picked by what it shows there. nan where points were not replayed.
    """
    baseline, tables, rows = exact_front.baseline, {"exact": exact_front.table, **recipes}, {}
    if held_out is not None:
        there, kind = (
            baseline_of(held_out, exact_front),
            {"score": exact_front.score, "cost": exact_front.cost_kind},
        )
        tables["exact"] = exits.replay_points(
            exact_front.table, held_out, exact_front.method, **kind
        )

    def mean_above(low, cost, accuracy):
        return mean_improvement(baseline, cost, accuracy, low) if low < baseline.best else np.nan

    for label, points in tables.items():
        curve, rows[label] = (points["cost"].to_numpy(), points["accuracy"].to_numpy()), {}
        if held_out is not None:
            points = points.reindex(
                columns=["accuracy_moved", "cost_moved", "relative_cost", "accuracy", "cost"]
            )
            at_equal_accuracy = there.cost_at(points["accuracy_moved"].clip(upper=there.best))
            tables[label] = points = points.assign(
                relative_cost=points["cost_moved"] / at_equal_accuracy
            )
            chosen = points.iloc[
                min(np.searchsorted(curve[1], baseline.best - loss), len(points) - 1)
            ].copy()
            chosen["relative_cost"] = excess_cost(
                baseline, tables["exact"], points, "relative_cost"
            )
            rows[label] |= chosen.rename({"relative_cost": "excess_cost_moved"})
        rows[label] |= {
            "mean_improvement": mean_above(baseline.accuracy[baseline.front[0]], *curve),
            **{f"improvement above {low:.1%}": mean_above(low, *curve) for low in above},
            "best_accuracy": curve[1][-1],
            "excess_cost": excess_cost(baseline, exact_front.table, points),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("recipe")


def excess_cost(baseline, exact, points, column="cost"):
    """Mean over accuracies of points' cost ÷ exact cost − 1, where both reach within the baseline's range.

    exact, points: tables with accuracy and cost (or another ``column``), accuracy rising. An exact integral: between
    breakpoints both are constant. nan where there is no such range, and for a single point, which is for one accuracy.
    Negative where ``points`` (an ensemble, the oracle) is the cheaper.
    """
    (a, c), (b, d) = ((t["accuracy"].to_numpy(), t[column].to_numpy()) for t in (exact, points))
    low, high = float(baseline.accuracy[baseline.front[0]]), min(baseline.best, a[-1], b[-1])
    if not low < high or len(points) < 2:
        return np.nan
    x = np.unique(np.clip(np.concatenate([[low, high], a, b]), low, high))
    ratio = least_cost(d, b, x[1:]) / least_cost(c, a, x[1:])
    return float(np.sum(np.diff(x) * (ratio - 1)) / (high - low))
