"""Draw the figures and the table of the paper on a study, each by its declared design."""

import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib import Front, LogitStore, Method, Point
from cascadelib.checks import validate_choice
from cascadelib.files import located
from cascadelib.store import ScoreFile
from cascadelib.store.protocol import Store
from tools import front_figures, paper_figures, side_by_side
from tools.designs import DESIGNS, TOPICS, Design
from tools.ranges import accuracy_at

MEANS = ("mean_logits", "mean_softmax")
LEAST_CANDIDATES = 3
# Of the selection and the held-out split.
MOST_SAMPLES = 2000 if os.environ.get("CASCADELIB_QUICK") else math.inf
METRICS_OF_MEANS = ("max_softmax", "softmax_margin", "entropy")
WITH_F1 = ("reviews", "mrpc", "qqp")  # tasks of texts
DRAWN: dict[str, Callable[["Paper", Design], Any]] = {}  # by figure


@dataclass(frozen=True)
class Paper:
    """A study whose splits replay the paper.

    Parameters
    ----------
    selection, held_out : Store
        The split that selects cascades, and other labelled samples. If these have another
        distribution, the selection split replaces them, as in the paper.
    shifted : dict of str to Store
        Shifted splits of the same models.
    texts, held_out_texts : dict of str to Store
        Text classifiers by task, and other samples of some of these tasks.
    time : str
        The kind of cost that is a time.
    top_k : int
        Number of best classes of figure 10.
    prominence : float
        Prominence of the points of Table 1.
    drawn : collection of str
        Shifted splits of figure 12. Without any of them, the first one.
    figures : collection of str or "all"
        The figures to draw.
    """

    selection: Store
    held_out: Store
    shifted: Mapping[str, Store] = field(default_factory=dict)
    texts: Mapping[str, Store] = field(default_factory=dict)
    held_out_texts: Mapping[str, Store] = field(default_factory=dict)
    time: str = "seconds"
    top_k: int = 5
    prominence: float = 0.3
    drawn: Collection[str] = ()
    figures: Collection[str] = "all"
    fronts: dict[Any, Front] = field(default_factory=dict, repr=False)  # by the arguments

    def __post_init__(self) -> None:
        if self.figures != "all":
            for name in self.figures:
                validate_choice(name, DESIGNS, "figure")

    def draw(self, name: str, design: Design | None = None) -> Any:
        """Return a figure or table. If it was not requested or needs other data, print the reason.

        design: replaces the declared design.
        """
        if self.figures != "all" and name not in self.figures:
            print(f"{name} was not requested (figures=).")
            return None
        design = DESIGNS[name] if design is None else design
        if missing := [topic for topic in design.needs if not self.has(topic)]:
            print(f"{name} needs {' and '.join(TOPICS[topic] for topic in missing)}.")
            return None
        drawn = DRAWN[name](self, design)
        if isinstance(drawn, pd.DataFrame):
            drawn.columns.name = self.caption(name, design).replace("\n", "; ")
        return drawn

    def answer(self) -> str:
        """Return the mean factors of figures 1, 4 and 5 as sentences, held out if possible."""
        kinds = {"pairs": "Figure 1", "triples": "Figure 4", "pairs in time": "Figure 5"}
        factors = {}
        optimistic = []
        for kind, name in kinds.items():
            design = DESIGNS[name]
            if all(map(self.has, design.needs)):
                front = self.search(design, 3 if kind == "triples" else 2)
                optimistic.append(f"{front.mean_improvement():.2f}×")
                if self.has_held_out:
                    front = cl.analysis.front_on(self.held_out, front, ranges=False)
                factors[kind] = f"{front.mean_improvement():.2f}×"
        where = "held out" if self.has_held_out else "where selected (optimistic)"
        text = (
            f"Single models cost {factors.pop('pairs')} as much as equally accurate pairs, {where}."
        )
        others = ", ".join(f"{kind} {factor}" for kind, factor in factors.items())
        text += f" Mean factors of other cascades: {others}." if others else ""
        return f"{text} [Selected: {', '.join(optimistic)}.]" if self.has_held_out else text

    def has(self, topic: str) -> bool:
        """Return whether the study has what a design needs."""
        if topic in ("shifted", "texts"):
            return bool(getattr(self, topic))
        if topic == "sizes":
            return not self.takes_all(DESIGNS["Figure 1"])
        if topic == "time":
            return self.time in self.selection.cost_names
        if topic == "temperatures" and isinstance(self.selection, ScoreFile):
            return self.selection.has_temperatures
        if topic in ("logits", "temperatures"):
            return isinstance(self.selection, LogitStore)
        return hasattr(self.selection, "ranks")

    def cost(self, design: Design) -> str:
        """Return the kind of cost of a design in this study."""
        if design.cost == "time":
            return self.time
        return "macs" if "macs" in self.selection.cost_names else self.selection.default_cost

    def split(self, design: Design) -> Store:
        """Return the samples on which a design is drawn, the first of several shifted splits."""
        if design.split == "shifted":
            return next(iter(self.shifted.values()))
        return self.unseen if design.split == "held out" else self.selection

    @property
    def unseen(self) -> Store:
        """Return the held-out split, or the selection split if its distribution differs."""
        return self.held_out if self.has_held_out else self.selection

    @property
    def has_held_out(self) -> bool:
        """Return whether the held-out split has the distribution of the selection split."""
        shifted = {split.origin.fingerprint for split in self.shifted.values()}
        is_shifted = self.held_out.origin.fingerprint in shifted
        return not is_shifted and self.selection.origin.dataset == self.held_out.origin.dataset

    def search(
        self, design: Design, n_models: int = 2, method: Any = None, score: str = "top1"
    ) -> Front:
        """Search the candidates of a design on the selection split, by max softmax by default.

        score: of the cascades. The candidates are those in top-1, whatever the score.
        """
        if method is None and self.has("metrics"):
            method = "max_softmax"
        options = {"models": self.candidates(design), "cost": self.cost(design)}
        if self.has("metrics"):
            options["score"] = score
        key = (n_models, method, score, options["cost"], *options["models"])
        if key not in self.fronts:
            self.fronts[key] = cl.search(self.selection, n_models, method, **options)
        return self.fronts[key]

    def candidates(self, design: Design) -> list[str]:
        """Return the models that a design cascades: those on the selection split's front of single
        models in top-1, or all."""
        names = self.selection.models.index
        if self.takes_all(design):
            return list(names)
        singles = cl.search(self.selection, 1, cost=self.cost(design)).singles
        return list(names[singles["on_front"].reindex(names).to_numpy(bool)])

    def takes_all(self, design: Design) -> bool:
        """Return whether all models are candidates: as declared, or since the front is too short
        for cascades of three."""
        if design.candidates == "all":
            return True
        singles = cl.search(self.selection, 1, cost=self.cost(design)).singles
        return bool(singles["on_front"].sum() < LEAST_CANDIDATES)

    def caption(self, name: str, design: Design) -> str:
        """Return the title of a figure: its name, and its design in the second line."""
        text = f"{name}: {design.what}\n{design.caption}"
        if design.candidates == "front" and self.takes_all(design):
            text += f"; all models, since the front has fewer than {LEAST_CANDIDATES}"
        return text

    def front(self, design: Design, *search: Any) -> Front:
        """Return :meth:`search`, evaluated on the split of the design."""
        found = self.search(design, *search)
        split = self.split(design)
        return found if split is self.selection else cl.analysis.front_on(split, found)

    def points(self, design: Design) -> list[Point]:
        """Return the points of locally largest improvement of pairs, the largest if there are
        none."""
        front = self.search(design)
        if peaks := cl.peaks(front, self.prominence):
            return peaks
        return [cl.pick(front, "max_improvement", caution=0)]

    def curves(self, design: Design, fronts: Mapping[str, Front]) -> dict[str, pd.DataFrame]:
        """Return the improvement curves of fronts from the accuracy at which a design begins."""
        first = next(iter(fronts.values()))
        low = accuracy_at(first, design.above) if design.above else None
        return {label: front.improvement_curve(low) for label, front in fronts.items()}

    def top_k_fronts(self, design: Design) -> dict[str, Front]:
        """Return the fronts of pairs whose answers are the k best classes."""
        score = f"top{self.top_k}"
        methods = {
            "max softmax": "max_softmax",
            "entropy": "entropy",
            "sum": Method(f"{score}_softmax_sum"),
            "mean logits": "max_softmax_mean_logits",
            "mean softmax": "max_softmax_mean_softmax",
        }
        return {name: self.front(design, 2, method, score) for name, method in methods.items()}

    def methods(self) -> list[str]:
        """Return the paper's methods, as far as the study has logits or temperatures."""
        names = [name for name in cl.METHODS if "_mean_" not in name or self.has("logits")]
        return [name for name in names if not name.endswith("_ts") or self.has("temperatures")]


def open_paper(
    dataset: str,
    split: str,
    held_out: str,
    shifted: str | list[str] | None = None,
    texts: Mapping[str, str] | None = None,
    left_out: Collection[str] = (),
    **options: Any,
) -> Paper:
    """Open the splits of a study in a folder. options: the other attributes of :class:`Paper`.

    texts: {task: folder of its store}. A folder "val" next to a folder "test" has held-out samples.
    left_out: text models that are not candidates.
    """
    tasks = {}
    held_out_tasks = {}
    for name, folder in (texts or {}).items():
        tasks[name] = open_texts(folder, left_out)
        test = located(folder).parent / "test"
        if located(folder).name == "val" and test.exists():
            held_out_tasks[name] = open_texts(test, left_out)
    splits = cl.store.open_splits(dataset, shifted) if shifted else {}
    selection, other = (
        at_most(MOST_SAMPLES, cl.store.open_split(f"{dataset}/{name}"))
        for name in (split, held_out)
    )
    return Paper(selection, other, splits, tasks, held_out_tasks, **options)


def at_most(most: float, store: Store) -> Store:
    """Return a store, or every second or further sample of it if it has more than ``most``."""
    step = math.ceil(len(store) / most) or 1
    return store if step == 1 else store.take(slice(None, None, step))


def open_texts(folder: Any, left_out: Collection[str]) -> Store:
    """Open a store of text classifiers without some models."""
    store = cl.LogitStore(folder)
    return store.select([name for name in store.models.index if name not in left_out])


def halves(store: Store) -> tuple[Store, Store]:
    """Return every other sample of a store, and the others."""
    evens, odds = (store.take(slice(start, None, 2)) for start in (0, 1))
    return evens, odds


def draws(name: str) -> Callable:
    """Register the function that draws a figure or table."""

    def register(function: Callable[[Paper, Design], Any]) -> Callable:
        DRAWN[name] = function
        return function

    return register


def designs_table() -> pd.DataFrame:
    """Return the declared designs, a row per figure."""
    rows = {}
    for name, design in DESIGNS.items():
        above = f"above {design.above:.0%}" if design.above else "all"
        rows[name] = (design.what, design.candidates, design.split, design.cost, above)
    columns = ["what", "candidates", "split", "cost", "accuracies"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


@draws("Figure 1")
def figure_1(paper: Paper, design: Design) -> Any:
    front = paper.front(design)
    points = cl.peaks(front, paper.prominence)
    title = paper.caption("Figure 1", design)
    return front_figures.front_and_improvement({"pairs": front}, title, letters_of(points))


def letters_of(points: list[Point]) -> dict[str, Point]:
    """Return the points of Table 1 by the paper's letters."""
    return {chr(ord("A") + number): point for number, point in enumerate(points)}


@draws("Table 1")
def table_1(paper: Paper, design: Design) -> pd.DataFrame:
    points = paper.points(design)
    split = paper.split(design)
    found = side_by_side.on_both_splits(paper.selection, split, points)
    table = cl.figures.readable(found, cost=paper.cost(design)).T
    return table.set_axis([*letters_of(points)], axis=1)


@draws("Figure 2")
def figure_2(paper: Paper, design: Design) -> Any:
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
    return front_figures.pairs_figure(pairs, curves, paper.caption("Figure 2", design))


def by_methods(name: str, n_models: int) -> Callable[[Paper, Design], Any]:
    """Return a function that draws the improvement by methods."""

    def figure(paper: Paper, design: Design) -> Any:
        methods = paper.methods()
        fronts = {method: paper.front(design, n_models, method) for method in methods}
        kinds = {}
        for panel, part in paper_figures.KINDS.items():
            if any(part in method for method in methods):
                kinds[panel] = part
        curves = paper.curves(design, fronts)
        return paper_figures.methods_figure(curves, paper.caption(name, design), kinds)

    return figure


DRAWN["Figure 3"] = by_methods("Figure 3", 2)
DRAWN["Figure 8"] = by_methods("Figure 8", 3)
DRAWN["Figure 9"] = by_methods("Figure 9", 2)


@draws("Figure 4")
def figure_4(paper: Paper, design: Design) -> Any:
    fronts = {"2 models": paper.front(design), "3 models": paper.front(design, 3)}
    if paper.has("logits"):
        fronts["3 models, mean logits"] = paper.front(design, 3, "max_softmax_mean_logits")
    return front_figures.front_and_improvement(fronts, paper.caption("Figure 4", design))


@draws("Figure 5")
def figure_5(paper: Paper, design: Design) -> Any:
    title = paper.caption("Figure 5", design)
    return front_figures.front_and_improvement({"pairs": paper.front(design)}, title)


def shifted_splits(paper: Paper, design: Design) -> dict[str, Store]:
    """Return the splits of figures 6 and 12."""
    if design.split == "shifted":
        return dict(paper.shifted)
    return {design.split: paper.split(design)}


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
def figure_6(paper: Paper, design: Design) -> Any:
    front = paper.search(design)
    curves = {"selection split": front.improvement_curve()}
    for name, split in shifted_splits(paper, design).items():
        curves[name] = cl.analysis.front_on(split, front).improvement_curve()
    panels = by_kind(curves, "selection split")
    return paper_figures.replayed_improvement_figure(panels, paper.caption("Figure 6", design))


@draws("Figure 7")
def figure_7(paper: Paper, design: Design) -> Any:
    tasks = {}
    models = "all" if design.candidates == "all" else "pareto"
    for name, store in paper.texts.items():
        cost = "macs" if design.cost == "macs" else paper.time
        about = {"cost": cost, "models": models}
        tasks[f"{name}, accuracy"] = cl.search(store, 2, "max_softmax", **about)
        if name in WITH_F1:
            found = cl.search(store, 2, "max_softmax", score="f1", **about)
            tasks[f"{name}, F1"] = found
    return paper_figures.tasks_figure(tasks, cost, paper.caption("Figure 7", design))


@draws("Figure 10")
def figure_10(paper: Paper, design: Design) -> Any:
    fronts = {}
    for name, front in paper.top_k_fronts(design).items():
        label = f"top-{paper.top_k} softmax sum" if name == "sum" else name
        fronts[label] = front
    title = f"{paper.caption('Figure 10', design)}; k = {paper.top_k}"
    return front_figures.front_and_improvement(fronts, title)


@draws("Figure 11")
def figure_11(paper: Paper, design: Design) -> Any:
    fronts = {}
    for mean in MEANS:
        for metric in METRICS_OF_MEANS:
            fronts[f"{metric}, {mean}"] = paper.front(design, 2, Method(metric, mean))
    kinds = {mean.replace("_", " "): f", {mean}" for mean in MEANS}
    curves = paper.curves(design, fronts)
    return paper_figures.methods_figure(curves, paper.caption("Figure 11", design), kinds)


@draws("Figure 12")
def figure_12(paper: Paper, design: Design) -> Any:
    """Return {split: figure}."""
    front = paper.search(design)
    figures = {}
    splits = shifted_splits(paper, design)
    first, *_ = splits
    for name in [name for name in paper.drawn if name in splits] or [first]:
        options = {"cost": front.cost_kind, "models": list(front.candidates)}
        found = cl.search(splits[name], 2, front.method, **options)
        moved = cl.replay(splits[name], front)
        title = f"{paper.caption('Figure 12', design)}; {name}, also searched among these models"
        figures[name] = paper_figures.segments_figure(moved, found, title)
    return figures


@draws("Figure 13")
def figure_13(paper: Paper, design: Design) -> Any:
    claims = {}
    split = paper.split(design)
    for name in single_models(paper, design):
        claims[name] = cl.analysis.claims_of(split, name)
    averages = {name: cl.analysis.moving_average(*claim) for name, claim in claims.items()}
    return paper_figures.reliability_figure(averages, paper.caption("Figure 13", design))


def single_models(paper: Paper, design: Design) -> list[str]:
    """Return the models of figure 13, cheapest first."""
    names = paper.selection.models.index
    if design.candidates == "all":
        return list(names)
    kinds = ["macs", paper.time] if design.candidates == "either front" else ["macs"]
    is_used = np.zeros(len(names), bool)
    for kind in kinds:
        if kind in paper.selection.cost_names:
            singles = cl.search(paper.selection, 1, cost=kind).singles
            is_used |= singles["on_front"].reindex(names).to_numpy(bool)
    return list(names[is_used])


@draws("Figure 14")
def figure_14(paper: Paper, design: Design) -> Any:
    points = paper.points(design)
    firsts = dict.fromkeys(point.models[0] for point in points)
    split = paper.split(design)
    curves = {name: side_by_side.threshold_curves(split, name, paper.selection) for name in firsts}
    return paper_figures.threshold_figure(curves, points, paper.caption("Figure 14", design))
