"""What the explorer chooses from: the splits it shows side by side, methods, fronts,
certificates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..evaluation.evaluation import check_store
from ..fronts.exact import SearchTask, search
from ..fronts.front import Front
from ..guarantees.certificate import Certificate
from ..labels import samples_in_common
from ..methods.method import METHODS, Method
from ..scoring import F1
from ..store.protocol import Store

LENGTHS = (2, 3, 4)  # models that a cascade may have, beside what the given front has
PATIENCE = 30.0  # seconds for a search of four models or more, certified where that is too short
AS_GIVEN = "as given"
OF_FRONT = "of the given front"


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
    if here.fingerprint != there.fingerprint or here.contents is None or there.contents is None:
        return False
    name = store.models.index[:1]
    outputs = here.contents.of(name)
    others = there.contents.of(name)
    return outputs is not None and others is not None and np.array_equal(outputs, others)


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

    def __init__(
        self,
        store: Store,
        held_out: Store | None = None,
        front: Front | None = None,
        certificates: Sequence[Certificate] = (),
    ) -> None:
        check_store(store)
        self.store = store
        self.stores = {"validation": store}
        if held_out is not None:
            check_store(held_out)
            self.stores["held-out"] = held_out
            for name in store.models.index:
                known(name, held_out.models.index, "model of the held-out split")
        self.certificates = certificates
        self.certified = [point for each in certificates for point in each.certified]
        self.check_certificates()
        if held_out is not None and is_same_split(store, held_out):
            del self.stores["held-out"]
        self.given: Any = front or next(iter(self.certified), None)
        self.tasks: dict[tuple, SearchTask] = {}
        self.methods, self.first = methods_of(store, self.given)
        self.candidates: str | list[str] = "all"
        self.fronts: dict[tuple, Front] = {}
        if front is not None:
            self.candidates = list(front.candidates)
            for models in front.table["models"]:
                self.fronts[front.cost_kind, front.score, self.first, len(models)] = front
        lengths = {n for n in LENGTHS if n <= len(store.models)}
        lengths.update(len(point.models) for point in self.certified)
        lengths.update(n for *_, n in self.fronts)
        self.lengths = sorted(lengths) or [1]

    def check_certificates(self) -> None:
        """ValueError for several promises, where the held-out split is not held out from a
        certificate, and where a certified cascade is of models that the store lacks."""
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
                common = samples_in_common(point.found_on, self.stores["held-out"].origin)
            if common:
                raise ValueError(
                    f"held_out shares {common} samples with those that chose or certified "
                    f"{point.chain}: give samples that had no part in either"
                )

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
