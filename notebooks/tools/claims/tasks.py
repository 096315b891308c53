"""The paper's claims on methods of pairs, task by task."""

from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from tools.claims.ledger import paper_claims, verdicts_of
from tools.claims.methods import methods_finding, pairs_by_method
from tools.claims.verdicts import CONTRADICTED, SUPPORTED, UNDETERMINED
from tools.paper import Paper, halves

Tasks = dict[str, tuple[Any, Any]]  # by label: a split that selects, and one that evaluates
FAMILY = "methods, pairs"


def open_tasks(paper: Paper, harder: tuple[str, str], quick: bool = False) -> Tasks:
    """Return tasks of a study, {label: a split that selects, a split that evaluates}.

    harder: folder and pattern of stores, of which every other sample selects. quick: texts only.
    """
    tasks: Tasks = {}
    if paper.has("logits") and not quick:
        tasks["all classes"] = paper.selection, paper.unseen
        for label, data in cl.store.open_splits(*harder).items():
            tasks[label] = halves(data)
    for name, held_out in paper.held_out_texts.items():
        tasks[name] = paper.texts[name], held_out
    return tasks


def ranking_by_task(tasks: Tasks) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test the paper's claims on methods of pairs, task by task: {label: two splits}.

    Pairs of the models on the front are selected on the first split and evaluated on the second.
    Tasks with fewer than two models on the front are left out.

    Returns two tables. The first has the verdicts, a row per claim and a column per task. The
    second has a row per task: classes, accuracy of the best single model on the second split, the
    number of claims by verdict, and the finding about all methods.
    """
    claims = paper_claims()
    of_pairs = claims[(claims["family"] == FAMILY) & (claims["scope"] == "any")]
    words = {}
    rows = {}
    for label, (here, there) in tasks.items():
        if len(cl.search(here, 1, models="pareto").candidates) < 2:
            continue
        fronts = {name: cl.search(here, 2, name, models="pareto") for name in cl.METHODS}
        found = pairs_by_method(fronts, here, there)
        verdicts = verdicts_of(of_pairs, found)
        words[label] = {name: verdict.word for name, verdict in verdicts.items()}
        counts = pd.Series(words[label]).value_counts()
        rows[label] = {
            "classes": len(np.unique(here.labels)),
            "accuracy_of_best_model": there.models["top1"].max(),
            **{word: counts.get(word, 0) for word in (SUPPORTED, CONTRADICTED, UNDETERMINED)},
            "finding": methods_finding(found),
        }
    table = pd.DataFrame(words)
    return table.rename(index=claims["claim"]), pd.DataFrame.from_dict(rows, orient="index")
