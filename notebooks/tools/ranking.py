"""Does the paper's ranking of methods depend on the task? The same claims, task by task."""

from typing import Any

import numpy as np
import pandas as pd

from cascadelib import METHODS, search
from tools import ledger
from tools.claims_of_methods import pairs_by_method, replay_fronts
from tools.held_out import halves, is_same_distribution
from tools.side_by_side import fronts_of
from tools.verdicts import CONTRADICTED, SUPPORTED, UNDETERMINED

FAMILY = "methods, pairs"


def splits_of(store: Any, other: Any) -> tuple[Any, Any]:
    """Return two splits of one distribution: both splits, or halves of the first if the second is
    shifted."""
    if is_same_distribution(store, other):
        return store, other
    return halves(store)


def ranking_by_task(tasks: dict[str, tuple[Any, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test the paper's claims on methods of pairs, task by task: {label: two splits}.

    Pairs of the models on the front are selected on one split and evaluated on the other, both
    ways. Tasks with fewer than two models on the front of a split are left out.

    Returns two tables. The first has the verdicts, a row per claim and a column per task. The
    second has a row per task: classes, accuracy of the best single model (mean of the splits), the
    number of claims by verdict, and the methods with the largest and the smallest mean factor (mean
    of both directions).
    """
    claims = ledger.paper_claims()
    of_pairs = claims[(claims["family"] == FAMILY) & (claims["split"] == "methods")]
    words = {}
    rows = {}
    for label, splits in tasks.items():
        singles = [search(split, 1, models="pareto") for split in splits]
        if min(len(front.candidates) for front in singles) < 2:
            continue
        directions = []
        for here, there in (splits, splits[::-1]):
            fronts = fronts_of(here, METHODS, models="pareto")
            directions.append(pairs_by_method(replay_fronts(there, fronts)))
        known = [ledger.known_values(found, claims) for found in directions]
        verdicts = ledger.verdicts_of(of_pairs, ledger.in_all(*known))
        words[label] = {name: verdict.word for name, verdict in verdicts.items()}
        counts = pd.Series(words[label]).value_counts()
        means = np.mean([found["first"].value for found in directions], axis=0)
        order = pd.Series(means, list(METHODS)).sort_values()
        rows[label] = {
            "classes": len(np.unique(splits[0].labels)),
            "accuracy_of_best_model": np.mean([s.models["top1"].max() for s in splits]),
            **{word: counts.get(word, 0) for word in (SUPPORTED, CONTRADICTED, UNDETERMINED)},
            "largest mean factor": order.index[-1].replace("_", " "),
            "smallest": order.index[0].replace("_", " "),
        }
    table = pd.DataFrame(words)
    return table.rename(index=claims["claim"]), pd.DataFrame.from_dict(rows, orient="index")
