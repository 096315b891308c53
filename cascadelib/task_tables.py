"""Tables of several tasks or splits side by side: what fronts give on each, and one cascade on all."""

import pandas as pd

from .drift import mean_improvement_moved
from .evaluation import evaluate


def fronts_table(tasks) -> pd.DataFrame:
    """Figure 7 as numbers: a row a task and front of {label: {name: :class:`cascadelib.Front`}}.

    candidates; mean and largest improvement; accuracy (or F1) of the best single model and of the best cascade;
    cost_ratio: baseline cost ÷ cascade cost at the accuracy of the best model, or at the front's where it is lower.
    """
    rows = {}
    for label, fronts in tasks.items():
        for name, front in fronts.items():
            best, top = front.baseline.best, float(front.table["accuracy"].iloc[-1])
            shared = min(best, top)
            rows[label, name] = {
                "candidates": len(front.singles),
                "mean_improvement": front.mean_improvement() if len(front.baseline.front) > 1 else float("nan"),
                "largest_improvement": front.table["improvement"].max(),
                "accuracy_of_best_model": best,
                "accuracy_of_best_cascade": top,
                "cost_ratio": front.baseline.cost_at(shared) / front.cost_at(shared),
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def elsewhere(point, front, stores) -> pd.DataFrame:
    """One cascade and its whole front, unchanged, on other splits {name: store}: a row a split.

    samples; accuracy of the best single model there and of the cascade; its cost, exit_rate (first stage), improvement;
    mean_improvement of the replayed front over that split's own baseline.
    """
    rows = {}
    for name, store in stores.items():
        result = evaluate(store, point)
        rows[name] = {
            "samples": len(store),
            "accuracy_of_best_model": store.models["top1"].max(),
            "accuracy": result.accuracy,
            "cost": result.cost,
            "exit_rate": result.exit_rates[0],
            "improvement": result.improvement,
            "mean_improvement": mean_improvement_moved(front, store),
        }
    return pd.DataFrame.from_dict(rows, orient="index").astype({"samples": int})
