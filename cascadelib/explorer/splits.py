"""Splits, methods, fronts and certificates of the explorer, and its state as text."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlencode

import pandas as pd

from ..checks import brief, error_context, items_of, validate_choice
from ..evaluation.evaluation import check_store
from ..figures.tables import arrow
from ..fronts.exact import SearchTask, search
from ..fronts.front import Front
from ..guarantees.certificate import Certificate
from ..methods.method import METHODS, Method
from ..methods.thresholds import WORDS
from ..origin import Origin, samples_in_common
from ..policy.form import threshold_from_json, threshold_to_json
from ..stages import F1
from ..store.protocol import Store

LENGTHS = (2, 3, 4)  # possible numbers of models, in addition to those of the input front
PATIENCE = 30.0  # time limit in seconds of a search of four or more models, which is then inexact
OF_TABLE = "confidence of the table"
OF_FRONT = "method of the front"
GOALS = ("match_best", "max_improvement", "near_best")
GOALS_WITH_NUMBER = ("accuracy", "budget")
KINDS = ("method", "cost", "score")


@dataclass(frozen=True)
class Choice:
    """Cascade without thresholds: names of its models in their order, method, cost and score."""

    models: tuple[str, ...]
    method: str
    cost: str
    score: str

    @property
    def kind(self) -> tuple[str, str, str, int]:
        """Return the cost, score, method and number of models, which identify a front."""
        return self.cost, self.score, self.method, len(self.models)


@dataclass(eq=False)
class ExploredSplits:
    """The selection split and, if there is one, the held-out split, with their searches.

    Parameters
    ----------
    store, held_out : LogitStore or ScoreTable
        The two splits. The second must have all models of the first.
    front : Front, optional
        Front of the first split. The page starts with its method, cost and score. Further searches
        use its candidates. The front itself is not searched again.
    certificate : Certificate or list of Certificate, optional
        Certificates of one guarantee on one split, which hold simultaneously. Without a front,
        their method comes first.
    images : sequence, optional
        Inputs of the first split, as for :func:`explore`.

    Attributes
    ----------
    stores : dict
        Store by name of the split.
    fronts : dict
        Searched front by ``Choice.kind``.
    lengths : list of int
        Possible numbers of models.
    certificates : list of Certificate
    certified : list of Point
        Certified points of all certificates.

    Raises
    ------
    TypeError
        If an argument is not a store.
    ValueError
        If the held-out split lacks a model or has samples of a certificate, or if the certificates
        have different guarantees. If the number of images differs from the number of samples.
    """

    store: Store
    held_out: Store | None = None
    front: Front | None = None
    certificate: Certificate | Sequence[Certificate] | None = None
    images: Any = None

    def __post_init__(self) -> None:
        check_store(self.store)
        if self.images is not None and len(self.images) != len(self.store):
            raise ValueError(
                f"{len(self.images)} images for the {len(self.store)} samples of the store: pass "
                "one image per sample, in the order of the store"
            )
        self.certificates = [] if self.certificate is None else items_of(self.certificate)
        self.stores = {"validation": self.store}
        if self.held_out is not None:
            check_store(self.held_out)
            self.stores["held-out"] = self.held_out
        self.certified = [
            point for certificate in self.certificates for point in certificate.certified
        ]
        self.check_splits()
        self.source: Any = self.front or next(iter(self.certified), None)
        self.tasks: dict[tuple, SearchTask] = {}
        self.list_methods()
        self.list_fronts()

    def list_methods(self) -> None:
        """Set the methods by name, and the first: that of the front or certificate, if any."""
        self.first = "max_softmax"
        self.methods: dict[str, Method | None] = dict(METHODS)
        if self.store.resolve_options(None, None, None)[0] is None:
            self.first = OF_TABLE
            self.methods = {OF_TABLE: None}
        if self.source is not None and self.source.method is not None:
            bare = replace(self.source.method, temperatures=None, fitted=None)
            same = (name for name, method in METHODS.items() if method == bare)
            self.first = next(same, OF_FRONT)
            self.methods[self.first] = self.fit_all(self.source.method)

    def fit_all(self, method: Method) -> Method:
        """Fit a method on all models if it was fitted on some of them, on the first split."""
        fits = method.fitted
        if fits is None or not isinstance(fits.samples, Origin):
            return method
        fitted = method.temperatures or fits.confidences
        is_complete = set(self.store.models.index) <= set(fitted)
        is_elsewhere = fits.samples.fingerprint != self.store.origin.fingerprint
        return method if is_complete or is_elsewhere else method.fit(self.store)

    def list_fronts(self) -> None:
        """Set the candidates, the searched fronts, and the possible numbers of models."""
        self.candidates: Any = "all"
        self.fronts: dict[tuple, Front] = {}
        lengths = {n for n in LENGTHS if n <= len(self.store.models)}
        lengths.update(len(point.models) for point in self.certified)
        if self.front is not None:
            self.candidates = list(self.front.candidates)
            for n in set(map(len, self.front.table["models"])):
                self.fronts[self.front.cost_kind, self.front.score, self.first, n] = self.front
                lengths.add(n)
        self.lengths = sorted(lengths) or [1]

    def check_splits(self) -> None:
        """Raise ValueError if models are missing, or if certificates do not fit each other."""
        if self.held_out is not None:
            for name in self.store.models.index:
                validate_choice(name, self.held_out.models.index, "model of the held-out split")
        promises = {(certificate.promise, certificate.samples) for certificate in self.certificates}
        if len(promises) > 1:
            raise ValueError(
                "the certificates have different guarantees or splits: "
                + "; ".join(f"{promise} ({samples} samples)" for promise, samples in promises)
            )
        for point in self.certified:
            for name in point.models:
                validate_choice(name, self.store.models.index, "model of the certificate")
            if self.held_out is None:
                continue
            common = samples_in_common(point.selected_on, self.held_out.origin)
            if common:
                raise ValueError(
                    f"held_out shares {common} samples with those that selected or certified "
                    f"{point.chain}: pass samples that were used for neither"
                )

    @property
    def costs(self) -> list[str]:
        """Return the kinds of cost that all models have on all splits, the front's kind first."""
        first = [] if self.source is None else [self.source.cost_kind]
        kinds = self.store.cost_names
        tables = [store.models.reindex(columns=kinds) for store in self.stores.values()]
        complete = pd.concat(tables).ge(0).all()
        return list(dict.fromkeys([*first, *complete.index[complete]]))

    @property
    def scores(self) -> list[str]:
        """Return the available scores, the front's score first.

        Top-5 accuracy needs more than five classes, and F1 needs two.
        """
        if self.store.class_count is None:
            return ["top1"]
        first = [] if self.source is None else [self.source.score]
        scores = [*first, "top1"]
        if self.store.models["top5"].notna().all():
            scores.append("top5")
        if self.store.class_count == 2:
            scores.append(F1)
        return list(dict.fromkeys(scores))

    def choice(self, models: Sequence[str], method: Any, cost: Any, score: Any) -> Choice:
        """Return a :class:`Choice`, or raise ValueError for an unavailable name."""
        offered = (self.methods, self.costs, self.scores)
        return Choice(tuple(models), *map(validate_choice, (method, cost, score), offered, KINDS))

    def metric(self, choice: Choice) -> Any:
        """Return the metric whose native units a choice's thresholds have, or None for a table."""
        method = self.methods[choice.method]
        return None if method is None else method.units

    def task(self, split: str, choice: Choice) -> SearchTask:
        """Return the fitted method, single models and baseline of one split, computed once."""
        key = (split, choice.cost, choice.score, choice.method)
        if key not in self.tasks:
            method = self.methods[choice.method]
            if split != "validation":
                method = self.task("validation", choice).method  # fitted on the selection split
            store = self.stores[split]
            self.tasks[key] = SearchTask(store, method, choice.score, choice.cost, "all")
        return self.tasks[key]

    def search(self, choice: Choice, seconds: float | None = None) -> Front:
        """Return the front on the first split for a choice's method, cost, score and length.

        The front is searched once. If ``seconds`` is passed, it is searched again with this time
        limit. By default a search of four or more models is limited to PATIENCE.
        """
        if seconds is not None or choice.kind not in self.fronts:
            n = len(choice.models)
            self.fronts[choice.kind] = search(
                self.store,
                n,
                self.task("validation", choice).method,
                score=choice.score,
                cost=choice.cost,
                models=self.candidates,
                time_limit=PATIENCE if seconds is None and n > 3 else seconds,
            )
        return self.fronts[choice.kind]


def format_goal(goal: dict) -> str:
    """Format the arguments of :func:`cascadelib.pick`: "near_best", "budget:2e6"."""
    ((name, value),) = goal.items()
    return value if name == "goal" else f"{name}:{float(value)!r}"


def parse_goal(text: str) -> dict[str, Any]:
    """Parse the text of :func:`format_goal`."""
    name, _, value = text.partition(":")
    if name in GOALS_WITH_NUMBER and re.fullmatch(r"[\d.e+-]+", value):
        return {name: float(value)}
    return {"goal": validate_choice(text, GOALS, "goal")}


def format_state(
    choice: Choice, splits: ExploredSplits, thresholds: Sequence[float], goal: dict
) -> str:
    """Format a choice, thresholds in native units and a goal as a query, exact to the last bit."""
    written = [threshold_to_json(splits.metric(choice), threshold) for threshold in thresholds]
    return urlencode({**vars(choice), "thresholds": written, "goal": format_goal(goal)}, doseq=True)


def parse_state(text: str, splits: ExploredSplits) -> tuple[Choice, tuple[float, ...], dict]:
    """Parse the text of :func:`format_state`: (choice, thresholds in native units, goal).

    Raises ValueError that begins with "state" if a part is wrong or unavailable on these splits.
    """
    with error_context("state"):
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
            validate_choice(key, ["models", "thresholds", "goal", *KINDS], "part")
        names = {key: " ".join(parts.get(key, [])) for key in KINDS}
        models = parts.get("models", [])
        choice = splits.choice(models, **names)
        metric = splits.metric(choice)
        thresholds = tuple(
            threshold_from_json(metric, text if text in WORDS else float(text))
            for text in parts.get("thresholds", [])
        )
        cost_of = dict(zip(splits.store.models.index, splits.store.costs(choice.cost)))
        costs = [cost_of[validate_choice(name, cost_of, "model")] for name in models]
        rising = len(set(models)) == len(models) and costs == sorted(costs)
        count = len(thresholds)
        if len(models) not in splits.lengths or not rising or count != len(models) - 1:
            raise ValueError(
                f"{arrow(models)} with {count} thresholds is not a cascade. It needs "
                f"{splits.lengths} models by rising {choice.cost}, and one threshold fewer"
            )
        return choice, thresholds, parse_goal(" ".join(parts.get("goal", ["near_best"])))
