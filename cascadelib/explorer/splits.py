"""What the explorer computes: the splits it shows side by side, cascades on them, fronts. No widgets."""

from dataclasses import replace
from typing import Any

import pandas as pd

from ..checks import known
from ..cost_kinds import COSTS
from ..evaluation.evaluation import check_store
from ..fronts.exact import SearchTask, search
from ..fronts.front import Front, Point
from ..methods.method import METHODS, Method
from ..methods.thresholds import own_units
from ..scoring import F1
from ..store.protocol import Store
from .state import CascadeOnSplit, Choice, Reading, Thresholds, on_split

LENGTHS = (2, 3, 4)  # models that a cascade may have, beside what the given front has
PATIENCE = 30.0  # seconds for a search of four models or more, certified where that is too short
AS_GIVEN = "as given"


class ExploredSplits:
    """The split that cascades are chosen on and, where there is one, the held-out split: ``stores`` {name: store}.

    ``fronts``: {kind of a :class:`Choice`: what is searched of them}; ``lengths``: how many models a cascade may have.

    front: a :class:`Front` found on the first; its method, cost and score come first, its candidates are combined, and
    it stands for the numbers of models that its cascades have. ValueError where the held-out split lacks a model.
    """

    def __init__(
        self, store: Store, held_out: Store | None = None, front: Front | None = None
    ) -> None:
        check_store(store)
        self.store, self.stores = store, {"validation": store}
        if held_out is not None:
            check_store(held_out)
            self.stores["held-out"] = held_out
            for name in store.models.index:
                known(name, held_out.models.index, "model of the held-out split")
        self.given = front
        self.candidates = "all" if front is None else list(front.candidates)
        self.tasks: dict[tuple, SearchTask] = {}
        self.methods: dict[str, Method | None] = dict(METHODS)
        self.first = "max_softmax"
        if not store.has_outputs:
            self.methods, self.first = {AS_GIVEN: None}, AS_GIVEN
        self.fronts: dict[tuple, Front] = {}
        lengths = {n for n in LENGTHS if n <= len(store.models)}
        if front is not None:
            if front.method is not None:
                bare = replace(front.method, temperatures=None)
                self.first = next(
                    (name for name, method in METHODS.items() if method == bare),
                    "of the given front",
                )
                self.methods[self.first] = front.method
            given_lengths = {len(models) for models in front.table["models"]}
            self.fronts = {
                (front.cost_kind, front.score, self.first, n): front for n in given_lengths
            }
            lengths |= given_lengths
        self.lengths = sorted(lengths) or [1]

    @property
    def costs(self) -> list[str]:
        """Kinds of cost that every model of every split has, the given front's first."""
        given = [] if self.given is None else [self.given.cost_kind]
        tables = [store.models for store in self.stores.values()]
        there = [kind for kind in COSTS if all(kind in t and t[kind].ge(0).all() for t in tables)]
        return list(dict.fromkeys(given + there))

    @property
    def scores(self) -> list[str]:
        """Scores, the given front's first; top-5 where there are more than five classes, F1 where there are two."""
        if not self.store.has_outputs:
            return ["top1"]
        given = [] if self.given is None else [self.given.score]
        top5 = ["top5"] if self.store.models["top5"].notna().all() else []
        store: Any = self.store
        two_classes = [F1] if store.logits(store.models.index[0]).shape[1] == 2 else []
        return list(dict.fromkeys([*given, "top1", *top5, *two_classes]))

    def task(self, split: str, choice: Choice) -> SearchTask:
        """Fitted method, singles and baseline of one split (:class:`SearchTask`), computed once."""
        key = (split, choice.cost, choice.score, choice.method)
        if key not in self.tasks:
            first = split == "validation"
            method = (
                self.methods[choice.method] if first else self.task("validation", choice).method
            )
            self.tasks[key] = SearchTask(
                self.stores[split], method, choice.score, choice.cost, "all"
            )
        return self.tasks[key]

    def singles(self, choice: Choice) -> dict[str, pd.DataFrame]:
        """{split: single models as ``front.singles``}."""
        return {split: self.task(split, choice).singles for split in self.stores}

    def best_single(self, choice: Choice) -> str:
        """Name of the most accurate single model on the first split, the cheapest of equals."""
        return self.task("validation", choice).singles["accuracy"].idxmax()

    def cascades(self, choice: Choice) -> dict[str, CascadeOnSplit]:
        """{split: :class:`CascadeOnSplit`}."""
        single = self.best_single(choice)
        stores = self.stores.items()
        return {
            split: on_split(store, self.task(split, choice), choice.models, single)
            for split, store in stores
        }

    def front_of(self, choice: Choice) -> Front | None:
        """The front of as many models as the choice has, found on the first split; None while it is not searched."""
        return self.fronts.get(choice.kind)

    def search(self, choice: Choice) -> Front:
        """Search the front of as many models as the choice has, on the first split, and keep it in ``fronts``."""
        n, task = len(choice.models), self.task("validation", choice)
        kind = {"score": choice.score, "cost": choice.cost, "models": self.candidates}
        front = search(self.store, n, task.method, time_limit=PATIENCE if n > 3 else None, **kind)
        self.fronts[choice.kind] = front
        return front

    def point(self, choice: Choice, thresholds: Thresholds, reading: Reading) -> Point:
        """A cascade at thresholds (inside), as read on the first split, as a :class:`Point`."""
        task = self.task("validation", choice)
        own = tuple(own_units(task.metric, thresholds).tolist())
        measured = reading.exit_rates, reading.accuracy, reading.cost, reading.improvement
        return Point(
            choice.models, own, *measured, task.method, choice.score, choice.cost, task.found_on
        )
