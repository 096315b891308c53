"""Draw the figures and the table of the paper on a study, each by its declared design."""

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

import cascadelib as cl
from cascadelib import Front, LogitStore, Method, Point
from cascadelib.files import located
from cascadelib.store import ScoreFile
from cascadelib.store.protocol import Store
from tools.designs import DESIGNS, TOPICS, Design
from tools.figures.drawings import DRAWN
from tools.figures.ranges import accuracy_at

LEAST_CANDIDATES = 3
# Of the selection and the held-out split.
MOST_SAMPLES = 2000 if os.environ.get("CASCADELIB_QUICK") else math.inf


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
    """

    selection: Store
    held_out: Store
    shifted: Mapping[str, Store] = field(default_factory=dict)
    texts: Mapping[str, Store] = field(default_factory=dict)
    held_out_texts: Mapping[str, Store] = field(default_factory=dict)
    time: str = "seconds"
    top_k: int = 5
    prominence: float = 0.3
    fronts: dict[Any, Front] = field(default_factory=dict, repr=False)  # by the arguments

    def draw(self, name: str, design: Design | None = None) -> Any:
        """Return a figure or table, or print which other data it needs.

        design: replaces the declared design.
        """
        design = DESIGNS[name] if design is None else design
        if missing := [topic for topic in design.needs if not self.has(topic)]:
            print(f"{name} needs {' and '.join(TOPICS[topic] for topic in missing)}.")
            return None
        drawn = DRAWN[name](self, design)
        if isinstance(drawn, pd.DataFrame):
            drawn.columns.name = self.caption(name, design).replace("\n", "; ")
        return drawn

    def answer(self) -> str:
        """Return the mean factors of figures 1, 4 and 5 as a sentence, held out if possible."""
        kinds = {"pairs": "Figure 1", "triples": "Figure 4", "pairs in time": "Figure 5"}
        factors = []
        for kind, name in kinds.items():
            design = DESIGNS[name]
            if all(map(self.has, design.needs)):
                front = self.search(design, 3 if kind == "triples" else 2)
                factor = f"{front.mean_improvement():.2f}× where selected"
                if self.has_held_out:
                    moved = cl.analysis.front_on(self.held_out, front, ranges=False)
                    factor = f"{moved.mean_improvement():.2f}× held out ({factor})"
                factors.append(f"{kind} {factor}")
        return (
            f"Mean cost of single models ÷ that of equally accurate cascades: {', '.join(factors)}."
        )

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
        """Return the models of a design, cheapest first: those on the selection split's front of
        single models in top-1, or all."""
        names = self.selection.models.index
        if self.takes_all(design):
            return list(names)
        kinds = [self.cost(design)]
        if design.candidates == "either front" and self.has("time"):
            kinds.append(self.time)
        fronts = [cl.search(self.selection, 1, cost=kind).singles["on_front"] for kind in kinds]
        is_used = pd.concat(fronts, axis=1).any(axis=1)
        return list(names[is_used[names]])

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
        if design.candidates != "all" and self.takes_all(design):
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
