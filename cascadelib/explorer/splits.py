"""What the explorer selects from (splits, methods, fronts, certificates), and a selected cascade
as the text after # in the address of the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import numpy as np
import pandas as pd

from ..checks import about, brief, known
from ..evaluation.evaluation import check_store
from ..fronts.exact import SearchTask, search
from ..fronts.front import Front
from ..guarantees.certificate import Certificate
from ..methods.method import METHODS, Method
from ..methods.thresholds import WORDS
from ..origin import samples_in_common
from ..policy.form import threshold_from_json, threshold_to_json
from ..scoring import F1
from ..store.protocol import Store
from ..tables import arrow

LENGTHS = (2, 3, 4)  # models that a cascade may have, beside what the given front has
PATIENCE = 30.0  # seconds for a search of four models or more, certified where that is too short
AS_GIVEN = "as given"
OF_FRONT = "of the given front"
GOALS = ("match_best", "max_improvement", "near_best")
OF_GOALS = ("accuracy", "budget")  # that have a number
ONE = ("method", "cost", "score")  # of each a cascade has one


@dataclass(frozen=True)
class Choice:
    """A cascade without its thresholds: names of its models in the order they run, of its method,
    cost and score."""

    models: tuple[str, ...]
    method: str
    cost: str
    score: str

    @property
    def kind(self) -> tuple[str, str, str, int]:
        """What the front is searched by: cost, score, method, how many models."""
        return self.cost, self.score, self.method, len(self.models)


def methods_of(store: Store, given: Any) -> tuple[dict[str, Method | None], str]:
    """Methods by name, and the name that comes first: that of a given front or point, if any."""
    first = "max_softmax"
    methods: dict[str, Method | None] = dict(METHODS)
    if store.asked(None, None, None)[0] is None:
        first = AS_GIVEN
        methods = {first: None}
    if given is not None and given.method is not None:
        bare = replace(given.method, temperatures=None)
        first = next((name for name, method in METHODS.items() if method == bare), OF_FRONT)
        methods[first] = given.method
    return methods, first


def is_same_split(store: Store, other: Store) -> bool:
    """Return whether two stores hold the same samples and outputs: then none is held out."""
    here = store.origin
    there = other.origin
    if here.fingerprint != there.fingerprint:
        return False
    name = store.models.index[:1]
    outputs = here.contents(name)
    others = there.contents(name)
    return outputs is not None and others is not None and np.array_equal(outputs, others)


@dataclass(eq=False)
class ExploredSplits:
    """The split that cascades are chosen on and, where there is one, the held-out split.

    Parameters
    ----------
    store, held_out : LogitStore or ScoreTable
        The two splits; the second has all models of the first.
    front : Front, optional
        Found on the first split. Its method, cost and score come first, its candidates are
        combined, and it stands for the numbers of models that its cascades have.
    certificates : sequence of Certificate
        Of one promise on one split, all of which hold at once. The method of what they certify
        comes first where there is no front.

    Attributes
    ----------
    stores : dict
        {name of the split: store}.
    fronts : dict
        {kind of a :class:`Choice`: what was searched of them}.
    lengths : list of int
        How many models a cascade may have.
    certified : list of Point
        Of all certificates.

    Raises
    ------
    TypeError
        For what is not a store.
    ValueError
        Where the held-out split lacks a model, or has samples that a certificate has seen, and for
        certificates of several promises.
    """

    store: Store
    held_out: Store | None = None
    front: Front | None = None
    certificates: Sequence[Certificate] = ()

    def __post_init__(self) -> None:
        check_store(self.store)
        self.stores = {"validation": self.store}
        self.certified = [point for each in self.certificates for point in each.certified]
        if self.held_out is not None:
            check_store(self.held_out)
            self.stores["held-out"] = self.held_out
        self.check_splits()
        self.given: Any = self.front or next(iter(self.certified), None)
        self.tasks: dict[tuple, SearchTask] = {}
        self.methods, self.first = methods_of(self.store, self.given)
        self.candidates: str | list[str] = "all"
        self.fronts: dict[tuple, Front] = {}
        if self.front is not None:
            self.candidates = list(self.front.candidates)
            for models in self.front.table["models"]:
                kind = self.front.cost_kind, self.front.score, self.first, len(models)
                self.fronts[kind] = self.front
        lengths = {n for n in LENGTHS if n <= len(self.store.models)}
        lengths.update(len(point.models) for point in self.certified)
        self.lengths = sorted(lengths.union(kind[-1] for kind in self.fronts)) or [1]

    def check_splits(self) -> None:
        """Raise a ValueError if a split lacks models, for several promises, and if the held-out
        split is not held out from a certificate."""
        if self.held_out is not None:
            for name in self.store.models.index:
                known(name, self.held_out.models.index, "model of the held-out split")
        promises = {(each.promise, each.samples) for each in self.certificates}
        if len(promises) > 1:
            raise ValueError(
                "the certificates do not promise the same on the same split: "
                + "; ".join(f"{promise} ({samples} samples)" for promise, samples in promises)
            )
        for point in self.certified:
            for name in point.models:
                known(name, self.store.models.index, "model of the certificate")
            common: int | None = 0
            if "held-out" in self.stores:
                common = samples_in_common(point.selected_on, self.stores["held-out"].origin)
            if common:
                raise ValueError(
                    f"held_out shares {common} samples with those that chose or certified "
                    f"{point.chain}: give samples that had no part in either"
                )
        if self.held_out is not None and is_same_split(self.store, self.held_out):
            del self.stores["held-out"]

    @property
    def costs(self) -> list[str]:
        """Kinds of cost that every model of every split has, the given front's first."""
        given = [] if self.given is None else [self.given.cost_kind]
        kinds = self.store.cost_names
        tables = [store.models.reindex(columns=kinds) for store in self.stores.values()]
        complete = pd.concat(tables).ge(0).all()
        return list(dict.fromkeys([*given, *complete.index[complete]]))

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

    def choice(self, models: Sequence[str], method: Any, cost: Any, score: Any) -> Choice:
        """A :class:`Choice` of what there is to choose from; ValueError by name for other
        things."""
        return Choice(
            models=tuple(models),
            method=known(method, self.methods, "method"),
            cost=known(cost, self.costs, "cost"),
            score=known(score, self.scores, "score"),
        )

    def metric(self, choice: Choice) -> Any:
        """The metric in whose units the thresholds of a choice are; None: as given."""
        method = self.methods[choice.method]
        return None if method is None else method.units

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

    def search(self, choice: Choice, seconds: float | None = None) -> Front:
        """The front of as many models as the choice has, on the first split: searched once, and
        again where ``seconds`` are given, which it may then take; else PATIENCE where that may be
        long."""
        found = self.fronts.get(choice.kind)
        if found is not None and seconds is None:
            return found
        n = len(choice.models)
        if seconds is None and n > 3:
            seconds = PATIENCE
        front = search(
            self.store,
            n,
            self.task("validation", choice).method,
            score=choice.score,
            cost=choice.cost,
            models=self.candidates,
            time_limit=seconds,
        )
        self.fronts[choice.kind] = front
        return front


def goal_text(goal: dict) -> str:
    """The arguments of :func:`cascadelib.pick` as text: "near_best", "budget:2e6"."""
    ((name, value),) = goal.items()
    return value if name == "goal" else f"{name}:{float(value)!r}"


def goal_in(text: str) -> dict[str, Any]:
    """The inverse of :func:`goal_text`."""
    name, _, value = text.partition(":")
    if name in OF_GOALS and re.fullmatch(r"[\d.e+-]+", value):
        return {name: float(value)}
    return {"goal": known(text, GOALS, "goal")}


def as_state(
    choice: Choice, splits: ExploredSplits, thresholds: Sequence[float], goal: dict
) -> str:
    """A choice, thresholds in own units and a goal as URL-like text, exact to the last bit."""
    written = [threshold_to_json(splits.metric(choice), threshold) for threshold in thresholds]
    parts = {**vars(choice), "thresholds": written, "goal": goal_text(goal)}
    return urlencode(parts, doseq=True)


def state_in(text: str, splits: ExploredSplits) -> tuple[Choice, tuple[float, ...], dict]:
    """What :func:`as_state` wrote: (choice, thresholds in own units, goal); ValueError that begins
    with "state" and names what is not as it was written, or not available on these splits."""
    with about("state"):
        if not isinstance(text, str):
            raise ValueError(f"it must be the text of another explorer's .state, not {brief(text)}")
        parts = parse_qs(
            text.strip().removeprefix("#"),
            strict_parsing=True,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=99,
        )
        for key in parts:
            known(key, ["models", "thresholds", "goal", *ONE], "part")
        one = {key: " ".join(parts.get(key, [])) for key in ONE}
        models = parts.get("models", [])
        choice = splits.choice(models, **one)
        metric = splits.metric(choice)
        own = [
            threshold_from_json(metric, text if text in WORDS else float(text))
            for text in parts.get("thresholds", [])
        ]
        cost_of = dict(zip(splits.store.models.index, splits.store.costs(choice.cost)))
        costs = [cost_of[known(name, cost_of, "model")] for name in models]
        rising = len(set(models)) == len(models) and costs == sorted(costs)
        if len(models) not in splits.lengths or not rising or len(own) != len(models) - 1:
            raise ValueError(
                f"{arrow(models)} with {len(own)} thresholds is no cascade of {splits.lengths} "
                f"models by rising {choice.cost}, each but the last with a threshold"
            )
        return choice, tuple(own), goal_in(" ".join(parts.get("goal", ["near_best"])))
