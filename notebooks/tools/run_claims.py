"""What a notebook's run has of the paper's claims: the plumbing between its fronts and the ledger.

Each function returns ({id: value} where cascades were chosen, {id: value} of the identical cascades
on the split that chose nothing), as ``ledger.table`` takes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

import cascadelib as cl
from tools import ledger, side_by_side

Values = tuple[dict[str, Any], dict[str, Any]]


def two_models(
    store: Any,
    other: Any,
    paper: cl.Front,
    points: Sequence[cl.Point],
    checked: pd.DataFrame,
    listed: Mapping[str, cl.Front],
) -> Values:
    """Notebook 02. paper: the front of pairs of front models; points: of Table 1; checked: them on
    both splits, and last the cascade that matches the best model; listed: fronts of Figure 10."""
    method = paper.method
    families = store.models["family"]
    moved = cl.analysis.moved_front(other, paper)
    *firsts, last = paper.singles.query("on_front").index
    tables = []
    curves = []
    for split in (store, other):
        tables.append(cl.pair_table(split, method, cost=paper.cost_kind))
        pairs = {}
        for name in firsts:
            pairs[name] = cl.fronts.pair_curve(split, name, last, method, cost=paper.cost_kind)
        curves.append(pairs)
    by_cost = [pairs_by_cost(store, kind, method) for kind in ("seconds", "macs")]
    fronts = [paper, moved]
    values = []
    for split, front, table in zip((store, other), fronts, tables):
        found = ledger.pairs_claims(front, table, families)
        listed_here = dict(listed)
        timed = by_cost
        if split is other:
            listed_here = {name: cl.analysis.moved_front(other, f) for name, f in listed.items()}
            timed = [cl.analysis.moved_front(other, front) for front in by_cost]
        values.append(found | ledger.topk_claims(front, listed_here) | ledger.time_claims(*timed))
    here, there = values
    here |= ledger.table1_claims(list(points), checked.iloc[: len(points)], store, other)
    here["plateau-exceeds"] = ledger.share_exceeding(curves[0], curves[0])
    there["plateau-exceeds"] = ledger.share_exceeding(*curves)
    here["front-noise"] = paper.mean_improvement(), moved.mean_improvement()
    here["best-for-less"] = checked["improvement"].iloc[-1]
    there["best-for-less"] = checked["improvement_held_out"].iloc[-1]
    ends = [cl.pick(paper, "max_improvement", caution=0), paper.point(len(paper) - 1)]
    ends_there = side_by_side.on_both_splits(store, other, ends)
    there["pairs-most"] = ends_there["improvement_held_out"].iloc[0]
    there["pairs-top"] = ends_there["accuracy_held_out"].iloc[-1] - other.models["top1"].max()
    return here, there


def pairs_by_cost(store: Any, kind: str, method: Any) -> cl.Front:
    """The front of pairs in a kind of cost, of front models; of all where that is one model."""
    alone = cl.search(store, 1, method, cost=kind, models="pareto")
    models = "pareto" if len(alone.candidates) > 1 else "all"
    return cl.search(store, 2, method, cost=kind, models=models)


def three_models(
    other: Any, two: cl.Front, three: cl.Front, mean_logits: cl.Front, checked: pd.DataFrame
) -> Values:
    """Notebook 03. Fronts of pairs, of triples, and of triples with mean logits; checked: first the
    pair and the triple with the largest factors, on both splits."""
    fronts = two, three, mean_logits
    best = cl.pick(three, "max_improvement", caution=0)
    here = ledger.lengths_claims(*fronts) | ledger.triple_claims(best, checked.iloc[:2])
    moved = (cl.analysis.moved_front(other, front, ranges=False) for front in fronts)
    return here, ledger.lengths_claims(*moved)


def twelve_methods(
    other: Any,
    two: Mapping[str, cl.Front],
    three: Mapping[str, cl.Front],
    timed: Mapping[str, cl.Front],
    means: Mapping[str, cl.Front],
) -> Values:
    """Notebook 04. {method: front} of pairs, of triples, and of pairs in time; {metric, mean:
    front} of mean ensembles."""
    listed = [dict(fronts) for fronts in (two, three, timed, means)]
    moved = []
    for fronts in listed:
        moved.append(
            {name: cl.analysis.moved_front(other, front) for name, front in fronts.items()}
        )
    here = ledger.methods_claims(*listed)
    there = ledger.methods_claims(*moved)
    for values, fronts in ((here, listed[0]), (there, moved[0])):
        values["mac-dominance"] = cl.analysis.range_dominance(fronts)["cost_dominance"].idxmax()
    several = three["max_softmax"]
    options = {"models": several.candidates, "cost": several.cost_kind}
    pair = several, cl.fronts.shared_threshold_front(several.store, 3, **options)
    pair_there = (cl.analysis.moved_front(other, front, ranges=False) for front in pair)
    here["one-threshold"] = cl.analysis.mean_cost_ratio(*pair)
    there["one-threshold"] = cl.analysis.mean_cost_ratio(*pair_there)
    return here, there
