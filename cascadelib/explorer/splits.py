"""What the explorer computes: the splits it shows side by side, cascades on them, fronts."""

from dataclasses import replace

import pandas as pd

from ..checks import known
from ..evaluation.evaluation import check_models, check_store
from ..fronts.exact import SearchTask, search
from ..fronts.front import Front
from ..methods.method import METHODS, Method
from ..scoring import F1
from ..store.protocol import Store
from .state import CascadeOnSplit, Choice, on_split

LENGTHS = (2, 3, 4)  # models that a cascade may have, beside what the given front has
PATIENCE = 30.0  # seconds for a search of four models or more, certified where that is too short
AS_GIVEN = "as given"
OF_FRONT = "of the given front"


class ExploredSplits:
    """The split that cascades are chosen on and, where there is one, the held-out split.

    Parameters
    ----------
    store, held_out : LogitStore or ScoreTable
        The two splits; the second has all models of the first.
    front : Front, optional
        Found on the first split. Its method, cost and score come first, its candidates are
        combined, and it stands for the numbers of models that its cascades have.

    Attributes
    ----------
    stores : dict
        {name of the split: store}.
    fronts : dict
        {kind of a :class:`Choice`: what was searched of them}.
    lengths : list of int
        How many models a cascade may have.

    Raises
    ------
    TypeError
        For what is not a store.
    ValueError
        Where the held-out split lacks a model.
    """

    def __init__(
        self, store: Store, held_out: Store | None = None, front: Front | None = None
    ) -> None:
        check_store(store)
        check_models(store)
        self.store = store
        self.stores = {"validation": store}
        if held_out is not None:
            check_store(held_out)
            self.stores["held-out"] = held_out
            for name in store.models.index:
                known(name, held_out.models.index, "model of the held-out split")
        self.given = front
        self.tasks: dict[tuple, SearchTask] = {}
        self.methods: dict[str, Method | None] = dict(METHODS)
        self.first = "max_softmax"
        if store.asked(None, None, None)[0] is None:
            self.methods = {AS_GIVEN: None}
            self.first = AS_GIVEN
        self.candidates: str | list[str] = "all"
        self.fronts: dict[tuple, Front] = {}
        lengths = {n for n in LENGTHS if n <= len(store.models)}
        if front is not None:
            lengths |= self._begin_with(front)
        self.lengths = sorted(lengths) or [1]

    def _begin_with(self, front: Front) -> set[int]:
        """Take on what a given front was found with; returns the lengths of its cascades."""
        self.candidates = list(front.candidates)
        if front.method is not None:
            bare = replace(front.method, temperatures=None)
            names = [name for name, method in METHODS.items() if method == bare]
            self.first = names[0] if names else OF_FRONT
            self.methods[self.first] = front.method
        lengths = {len(models) for models in front.table["models"]}
        for n in lengths:
            self.fronts[front.cost_kind, front.score, self.first, n] = front
        return lengths

    @property
    def costs(self) -> list[str]:
        """Kinds of cost that every model of every split has, the given front's first."""
        given = [] if self.given is None else [self.given.cost_kind]
        tables = [store.models for store in self.stores.values()]
        kinds = self.store.cost_names
        for table in tables:
            kinds = [kind for kind in kinds if has_cost(table, kind)]
        return list(dict.fromkeys(given + kinds))

    @property
    def scores(self) -> list[str]:
        """Scores, the given front's first; top-5 where there are more than five classes, F1 where
        there are two."""
        if self.store.class_count is None:
            return ["top1"]
        given = [] if self.given is None else [self.given.score]
        scores = [*given, "top1"]
        if self.store.models["top5"].notna().all():
            scores.append("top5")
        if self.store.class_count == 2:
            scores.append(F1)
        return list(dict.fromkeys(scores))

    def task(self, split: str, choice: Choice) -> SearchTask:
        """Fitted method, singles and baseline of one split, computed once."""
        key = (split, choice.cost, choice.score, choice.method)
        if key not in self.tasks:
            method = self.methods[choice.method]
            if split != "validation":
                method = self.task("validation", choice).method  # fitted there
            store = self.stores[split]
            self.tasks[key] = SearchTask(store, method, choice.score, choice.cost, "all")
        return self.tasks[key]

    def singles(self, choice: Choice) -> dict[str, pd.DataFrame]:
        """{split: single models as ``front.singles``}."""
        return {split: self.task(split, choice).singles for split in self.stores}

    def best_single(self, choice: Choice) -> str:
        """Name of the most accurate single model on the first split, the cheapest of equals."""
        return self.task("validation", choice).singles["accuracy"].idxmax()

    def cascades(self, choice: Choice) -> dict[str, CascadeOnSplit]:
        """The cascade on each split: {split: :class:`CascadeOnSplit`}."""
        single = self.best_single(choice)
        return {
            split: on_split(store, self.task(split, choice), choice.models, single)
            for split, store in self.stores.items()
        }

    def front_of(self, choice: Choice) -> Front | None:
        """The front of as many models as the choice has, found on the first split; None until it
        is searched."""
        return self.fronts.get(choice.kind)

    def search(self, choice: Choice) -> Front:
        """Search the front of as many models as the choice has, on the first split, and keep it."""
        n = len(choice.models)
        front = search(
            self.store,
            n,
            self.task("validation", choice).method,
            score=choice.score,
            cost=choice.cost,
            models=self.candidates,
            time_limit=PATIENCE if n > 3 else None,
        )
        self.fronts[choice.kind] = front
        return front


def has_cost(models: pd.DataFrame, kind: str) -> bool:
    """Whether every model of a table ``store.models`` has a cost of a kind."""
    return kind in models and bool(models[kind].ge(0).all())
