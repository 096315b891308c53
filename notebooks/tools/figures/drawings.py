"""Draw each figure and the table of the paper on a study, by its declared design."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd

import cascadelib as cl
from cascadelib import Method, Point
from tools.designs import MEANS, WITH_F1, Design
from tools.figures import calibration, front_plots, plots

if TYPE_CHECKING:
    from tools.paper import Paper

METRICS_OF_MEANS = ("max_softmax", "softmax_margin", "entropy")
DRAWN: dict[str, Callable[["Paper", Design], Any]] = {}  # by figure


def draws(name: str) -> Callable:
    """Register the function that draws a figure or table."""

    def register(function: Callable[["Paper", Design], Any]) -> Callable:
        DRAWN[name] = function
        return function

    return register


@draws("Figure 1")
def figure_1(paper: "Paper", design: Design) -> Any:
    front = paper.front(design)
    points = cl.peaks(front, paper.prominence)
    title = paper.caption("Figure 1", design)
    return front_plots.front_and_improvement({"pairs": front}, title, letters_of(points))


def letters_of(points: list[Point]) -> dict[str, Point]:
    """Return the points of Table 1 by the paper's letters."""
    return {chr(ord("A") + number): point for number, point in enumerate(points)}


@draws("Table 1")
def table_1(paper: "Paper", design: Design) -> pd.DataFrame:
    points = paper.points(design)
    split = paper.split(design)
    found = calibration.on_both_splits(paper.selection, split, points)
    table = cl.figures.readable(found, cost=paper.cost(design)).T
    return table.set_axis([*letters_of(points)], axis=1)


@draws("Figure 2")
def figure_2(paper: "Paper", design: Design) -> Any:
    front = paper.search(design)
    method = "max_softmax" if paper.has("metrics") else None
    about = {"method": method, "cost": paper.cost(design)}
    split = paper.split(design)
    *firsts, last = front.singles.index[front.singles["on_front"]]
    if paper.takes_all(design):
        *firsts, last = front.candidates
    curves = {
        f"{first} → {last}": cl.fronts.pair_curve(split, first, last, **about) for first in firsts
    }
    pairs = cl.pair_table(split, **about, models=list(front.candidates))
    return front_plots.pairs_figure(pairs, curves, paper.caption("Figure 2", design))


def by_methods(name: str, n_models: int) -> Callable[["Paper", Design], Any]:
    """Return a function that draws the improvement by methods."""

    def figure(paper: "Paper", design: Design) -> Any:
        methods = paper.methods()
        fronts = {method: paper.front(design, n_models, method) for method in methods}
        kinds = {}
        for panel, part in plots.KINDS.items():
            if any(part in method for method in methods):
                kinds[panel] = part
        curves = paper.curves(design, fronts)
        return plots.methods_figure(curves, paper.caption(name, design), kinds)

    return figure


DRAWN["Figure 3"] = by_methods("Figure 3", 2)
DRAWN["Figure 8"] = by_methods("Figure 8", 3)
DRAWN["Figure 9"] = by_methods("Figure 9", 2)


@draws("Figure 4")
def figure_4(paper: "Paper", design: Design) -> Any:
    fronts = {"2 models": paper.front(design), "3 models": paper.front(design, 3)}
    if paper.has("logits"):
        fronts["3 models, mean logits"] = paper.front(design, 3, "max_softmax_mean_logits")
    return front_plots.front_and_improvement(fronts, paper.caption("Figure 4", design))


@draws("Figure 5")
def figure_5(paper: "Paper", design: Design) -> Any:
    title = paper.caption("Figure 5", design)
    return front_plots.front_and_improvement({"pairs": paper.front(design)}, title)


def by_kind(tables: dict[str, Any], first: str) -> dict[str, dict[str, Any]]:
    """Regroup {split: table} as {kind: {label: table}}.

    Splits named <kind>-<severity> share a panel. Each panel also has the table of ``first``, the
    selection split.
    """
    grouped: dict[str, dict[str, Any]] = {}
    for name, table in tables.items():
        if name == first:
            continue
        kind, _, severity = name.rpartition("-")
        if kind and severity.isdigit():
            panel = kind
            label = f"severity {severity}"
        else:
            panel = name
            label = "other split"
        grouped.setdefault(panel, {first: tables[first]})[label] = table
    return grouped


@draws("Figure 6")
def figure_6(paper: "Paper", design: Design) -> Any:
    front = paper.search(design)
    curves = {"selection split": front.improvement_curve()}
    splits = paper.shifted if design.split == "shifted" else {design.split: paper.split(design)}
    for name, split in splits.items():
        curves[name] = cl.analysis.front_on(split, front).improvement_curve()
    panels = by_kind(curves, "selection split")
    return plots.replayed_improvement_figure(panels, paper.caption("Figure 6", design))


@draws("Figure 7")
def figure_7(paper: "Paper", design: Design) -> Any:
    """Return {task and score: figure}."""
    figures = {}
    about = {
        "models": "all" if design.candidates == "all" else "pareto",
        "cost": "macs" if design.cost == "macs" else paper.time,
    }
    for name, store in paper.texts.items():
        for score in ("top1", "f1") if name in WITH_F1 else ("top1",):
            label = f"{name}, {'F1' if score == 'f1' else 'accuracy'}"
            front = cl.search(store, 2, "max_softmax", score=score, **about)
            title = f"{paper.caption('Figure 7', design)}; {label}"
            figures[label] = front_plots.front_and_improvement({"pairs": front}, title)
    return figures


@draws("Figure 10")
def figure_10(paper: "Paper", design: Design) -> Any:
    fronts = {}
    for name, front in paper.top_k_fronts(design).items():
        label = f"top-{paper.top_k} softmax sum" if name == "sum" else name
        fronts[label] = front
    title = f"{paper.caption('Figure 10', design)}; k = {paper.top_k}"
    return front_plots.front_and_improvement(fronts, title)


@draws("Figure 11")
def figure_11(paper: "Paper", design: Design) -> Any:
    fronts = {}
    for mean in MEANS:
        for metric in METRICS_OF_MEANS:
            fronts[f"{metric}, {mean}"] = paper.front(design, 2, Method(metric, mean))
    kinds = {mean.replace("_", " "): f", {mean}" for mean in MEANS}
    curves = paper.curves(design, fronts)
    return plots.methods_figure(curves, paper.caption("Figure 11", design), kinds)


@draws("Figure 12")
def figure_12(paper: "Paper", design: Design) -> Any:
    front = paper.search(design)
    split = paper.split(design)
    name = next(iter(paper.shifted)) if design.split == "shifted" else design.split
    options = {"cost": front.cost_kind, "models": list(front.candidates)}
    searched = cl.search(split, 2, front.method, **options)
    title = f"{paper.caption('Figure 12', design)}; {name}, also searched among these models"
    return plots.segments_figure(cl.replay(split, front), searched, title)


@draws("Figure 13")
def figure_13(paper: "Paper", design: Design) -> Any:
    claims = {}
    split = paper.split(design)
    for name in paper.candidates(design):
        claims[name] = cl.analysis.claims_of(split, name)
    averages = {name: cl.analysis.moving_average(*claim) for name, claim in claims.items()}
    return plots.reliability_figure(averages, paper.caption("Figure 13", design))


@draws("Figure 14")
def figure_14(paper: "Paper", design: Design) -> Any:
    points = paper.points(design)
    firsts = dict.fromkeys(point.models[0] for point in points)
    split = paper.split(design)
    curves = {name: calibration.threshold_curves(split, name, paper.selection) for name in firsts}
    return plots.threshold_figure(curves, points, paper.caption("Figure 14", design))
