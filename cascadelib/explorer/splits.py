"""What the explorer computes: the splits it shows side by side, cascades on them, fronts. No widgets."""

from dataclasses import replace

from ..checks import known
from ..cost_kinds import COSTS
from ..evaluation.evaluation import check_store
from ..fronts.exact import SearchTask, search
from ..fronts.front import Point
from ..methods.method import METHODS
from ..methods.thresholds import own_units
from ..scoring import F1
from ..store.score_table import ScoreTable
from .state import on_split

LENGTHS = (2, 3, 4)
PATIENCE = 30.0  # seconds for a search of four models or more, certified where that is too short
AS_GIVEN = "as given"


class ExploredSplits:
    """The split that cascades are chosen on and, where there is one, the held-out split: ``stores`` {name: store}.

    front: a :class:`Front` found on the first; its method, cost and score come first, its candidates are combined. It
    stands for the numbers of models that its cascades have, whole where these are several; others are searched.
    Raises ValueError, naming it, where the held-out split lacks a model.
    """

    def __init__(self, store, held_out=None, front=None):
        for given in (store,) if held_out is None else (store, held_out):
            check_store(given)
        self.stores = {"validation": store} | ({} if held_out is None else {"held-out": held_out})
        for name in store.models.index if held_out is not None else ():
            known(name, held_out.models.index, "model of the held-out split")
        self.given, self.tasks, self.fronts = front, {}, {}
        self.candidates = "all" if front is None else list(front.candidates)
        self.methods = {AS_GIVEN: None} if isinstance(store, ScoreTable) else dict(METHODS)
        self.first = next(iter(self.methods)) if isinstance(store, ScoreTable) else "max_softmax"
        if front is not None and front.method is not None:
            bare = replace(front.method, temperatures=None)
            self.first = next((name for name, method in METHODS.items() if method == bare), "of the given front")
            self.methods[self.first] = front.method
        for n in self.given_lengths:
            self.fronts[front.cost_kind, front.score, self.first, n] = front

    @property
    def store(self):
        """The split that cascades are chosen on."""
        return self.stores["validation"]

    @property
    def held_out(self):
        """The split that nothing is chosen on; None without one."""
        return self.stores.get("held-out")

    @property
    def given_lengths(self):
        """How many models the cascades of the given front have: a set, empty without one."""
        return set() if self.given is None else {len(models) for models in self.given.table["models"]}

    @property
    def lengths(self):
        """How many models a cascade may have: two to four of those there are, and what the given front has."""
        count = len(self.store.models)
        return sorted({n for n in LENGTHS if n <= count} | self.given_lengths) or [1]

    @property
    def costs(self):
        """Kinds of cost that every model of every split has, the given front's first."""
        given = [] if self.given is None else [self.given.cost_kind]
        if isinstance(self.store, ScoreTable):
            return given or ["cost"]
        tables = [store.models for store in self.stores.values()]
        there = [kind for kind in COSTS if all(kind in t and t[kind].gt(0).all() for t in tables)]
        return list(dict.fromkeys(given + there))

    @property
    def scores(self):
        """Scores, the given front's first; top-5 where there are more than five classes, F1 where there are two."""
        given = [] if self.given is None else [self.given.score]
        if isinstance(self.store, ScoreTable):
            return given or ["top1"]
        top5 = ["top5"] if self.store.models["top5"].notna().all() else []
        two_classes = [F1] if self.store.logits(self.store.models.index[0]).shape[1] == 2 else []
        return list(dict.fromkeys([*given, "top1", *top5, *two_classes]))

    def task(self, split, choice):
        """Fitted method, singles and baseline of one split (:class:`search.Task`), computed once."""
        key = (split, choice.cost, choice.score, choice.method)
        if key not in self.tasks:
            first = split == "validation"
            method = self.methods[choice.method] if first else self.task("validation", choice).method
            self.tasks[key] = SearchTask(self.stores[split], method, choice.score, choice.cost, "all")
        return self.tasks[key]

    def singles(self, choice):
        """{split: single models as ``front.singles``}."""
        return {split: self.task(split, choice).singles for split in self.stores}

    def best_single(self, choice):
        """Name of the most accurate single model on the first split, the cheapest of equals."""
        return self.task("validation", choice).singles["accuracy"].idxmax()

    def cascades(self, choice):
        """{split: :class:`CascadeOnSplit`}."""
        single = self.best_single(choice)
        return {
            split: on_split(store, self.task(split, choice), choice.models, single)
            for split, store in self.stores.items()
        }

    def front_of(self, choice):
        """The front of as many models as the choice has, found on the first split, or None while it is not searched."""
        return self.fronts.get((choice.cost, choice.score, choice.method, len(choice.models)))

    def search(self, choice):
        """Search the front of a choice and keep it: :meth:`front_of` has it from then on."""
        n, task = len(choice.models), self.task("validation", choice)
        options = {"score": choice.score, "cost": choice.cost, "models": self.candidates}
        limit = PATIENCE if n > 3 else None
        front = search(self.store, n, task.method, time_limit=limit, **options)
        self.fronts[choice.cost, choice.score, choice.method, n] = front
        return front

    def point(self, choice, thresholds, reading):
        """A cascade at thresholds (inside), as read on the first split, as a :class:`Point`."""
        method = self.task("validation", choice).method
        own = tuple(float(own_units(method.metric if method else None, t)) for t in thresholds)
        measured = reading.exit_rates, reading.accuracy, reading.cost, reading.improvement
        return Point(choice.models, own, *measured, method, choice.score, choice.cost, self.store.origin)
