"""The paper's claims on single models, in MACs and in time (figures 1 and 5)."""

import numpy as np
import pandas as pd

import cascadelib as cl
from tools.claims.evidence import Evidence, EvidenceByClaim, correlations
from tools.claims.views import Claims, View, with_samples
from tools.designs import DESIGNS
from tools.paper import Paper

SINGLES = Claims()  # of a view of single models


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    found = of_singles(paper)
    if paper.has("time"):
        found |= singles_in_time(*singles_by_cost(paper, "macs", paper.time))
    return found


def singles_by_cost(paper: Paper, *kinds: str) -> list[pd.DataFrame]:
    """Return the single models of the selection split for each kind of cost."""
    return [cl.search(paper.selection, 1, cost=kind).singles for kind in kinds]


def of_singles(paper: Paper) -> EvidenceByClaim:
    """Return the evidence on single models. Their front is that of the selection split."""
    kinds = [paper.cost(DESIGNS["Figure 1"])]
    if paper.has("time"):
        kinds = ["macs", paper.time]
    in_macs, *in_time = singles_by_cost(paper, *kinds)
    split = paper.unseen
    columns = split.models.index.get_indexer(in_macs.index)
    reference = cl.search(paper.selection, 1, cost=kinds[0]).reference
    drawn = cl.bootstrap(split, [reference], with_samples(split))
    accuracies = drawn.single_accuracy[:, columns]
    views = [View(singles=in_macs.assign(accuracy=row)) for row in accuracies]
    found = SINGLES.measure(views, len(split), SINGLES.in_scope(paper))
    return found | counted(in_macs, *in_time)


def counted(in_macs: pd.DataFrame, in_time: pd.DataFrame | None = None) -> EvidenceByClaim:
    """Count the models on fronts. The tables have the columns cost and on_front."""
    macs = in_macs.index[in_macs["on_front"]]
    found = {
        "candidates": len(in_macs),
        "front-models": len(macs),
    }
    if in_time is not None:
        time = in_time.index[in_time["on_front"]]
        found |= {"time-front-models": len(time), "models": len(macs.union(time))}
    return {name: Evidence(value) for name, value in found.items()}


def singles_in_time(in_macs: pd.DataFrame, in_time: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence on single models in time, from tables with cost and on_front."""
    costs = pd.DataFrame({"macs": in_macs["cost"], "time": in_time["cost"]}).dropna()
    fronts = [table[table["on_front"]] for table in (in_macs, in_time)]
    shared = fronts[0].index.intersection(fronts[1].index)
    spans = [float(np.ptp(np.log10(rows["cost"]))) for rows in fronts]
    correlation = costs["macs"].corr(costs["time"], "spearman")
    return {
        "macs-time": correlations(correlation, len(costs), len(costs)),
        "time-orders": Evidence(spans),
        "time-overlap": Evidence((len(shared), min(map(len, fronts)))),
    }


@SINGLES.add("sizes")
def size_diminishes(view: View) -> tuple[float, float]:
    front = view.singles[view.singles["on_front"]]
    logs = np.log10(front["cost"].to_numpy())
    accuracy = front["accuracy"].to_numpy()
    middle = (logs[0] + logs[-1]) / 2
    half = np.interp(middle, logs, accuracy)
    return half - accuracy[0], accuracy[-1] - half
