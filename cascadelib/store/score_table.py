"""ScoreTable: scores of models that we never see (routing logs, an API's confidences, another
framework)."""

import contextlib
import copy
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import about, brief, items_of, known, reals
from ..contents import Contents
from ..labels import Labels, aligned, as_text, chosen_rows
from ..scoring import F1
from ..stages import StageFunction
from .aligned_rows import warn_unless_aligned
from .tables.faults import refuse
from .tables.frames import frame_of, scores_of
from .tables.score_checks import (
    bools_or_reals,
    checked_columns,
    checked_confidence,
    checked_cost,
    checked_labels,
    checked_names,
    checked_shape,
    correctness,
    origin_of,
    refuse_missing,
)
from .tables.spelling import compared
from .tables.table_files import LARGEST_TABLE

NEITHER = (
    "a ScoreTable needs correct= or predictions= (of a table's columns: correct=, or label= and "
    "prediction=); got neither"
)
NO_LABEL = "(none)"  # a label that no model predicts
USUAL_METRIC = "max_softmax"  # of a Method of which none was asked for


def _refuse_options(**options: Any) -> None:
    """ValueError that names the options that are not None: a table can honour none of them."""
    said = [f"{option}={brief(value)}" for option, value in options.items() if value is not None]
    if said:
        raise ValueError(
            f"{', '.join(said)}: a ScoreTable has its own confidences, correctness and cost, "
            "so nothing else can be asked of it but score='f1' and Method(confidence=…); leave "
            "this out (a Point's cost_kind is then 'cost'), or use a LogitStore"
        )


def _of_outputs(method: Any) -> Any:
    """A Method that reads models' outputs in a way of its own, or None."""
    if method is None:
        return None
    usual = (USUAL_METRIC, "none", False)
    return None if (method.metric, method.ensemble, method.temperature) == usual else method


def _not_of_a_table(score: str | None) -> str | None:
    """A score that a table can't tell, or None."""
    return None if score in ("top1", F1) else score


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What M models scored on k samples: correctness, confidence and cost, without the models or
    their outputs.

    Rows stay in the order given; :attr:`models` and :meth:`costs` go cheapest first; :meth:`row`
    finds a model's row.

    Parameters
    ----------
    correct : array_like of shape (M, k), or None
        Bool, or a graded score in [0, 1]. None: predictions == labels where both are there, else
        unknown.
    confidence : array_like of shape (M, k)
        Higher = more confident. ±inf is allowed, nan is not; but a model whose confidences are all
        nan never exits at a finite threshold, as if they were −inf.
    cost : array_like of shape (M,) or (M, k)
        Per sample, in any unit; 0 is free; [M, k] where it differs by sample.
    names : iterable of str
        M distinct names; by default "model 0", "model 1" …
    sample_ids : array_like of shape (k,), optional
        Distinct ids that tell samples from those of other tables, for :func:`cascadelib.certify`;
        None: unknown.
    predictions : array_like of shape (M, k), optional
        Compared as text. "": the model abstained, and passes on where its confidence is nan.
    labels : array_like of shape (k,), optional
        Compared as text.
    columns : mapping of str to array_like of shape (k,) or (M, k)
        What a fitted confidence may read beside, numbers or text (:class:`cascadelib.Method`).
    normalize : {None, "text", "exact"}
        How predictions are compared with labels. None: as written, and a prediction that equals its
        label only after normalizing is an error. "text": both are normalized (case, outer spaces,
        Unicode forms, 1.0 for 1). "exact": as written, for classes such as a and A.
    dropped : int
        Samples that were left out when the table was read, since cells are missing.
    answered : array_like of bool of shape (M, k), optional
        Where a model gave an answer; default: where it has a prediction.

    Raises
    ------
    ValueError
        Naming the argument, and the model and sample, that is wrong.
    """

    default_cost: ClassVar[str] = "cost"
    path: ClassVar[None] = None
    class_count: ClassVar[None] = None

    correct: Array | None
    confidence: Array
    cost: Array
    names: tuple[str, ...] = ()
    sample_ids: Array | Labels | None = None
    predictions: Array | None = None
    labels: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    normalize: str | None = None
    dropped: int = 0
    answered: Array | None = None
    origin: Labels = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Replace what was given by checked arrays that nobody can write to."""
        names = () if self.names is None else tuple(map(str, self.names))
        ids: Any = getattr(self.sample_ids, "sample_ids", self.sample_ids)
        axes = (names or None, ids)
        correct = aligned(self.correct, "correct", *axes)
        predictions = aligned(self.predictions, "predictions", *axes)
        labels = aligned(self.labels, "labels", ids)
        if correct is None and predictions is None:
            raise ValueError(NEITHER)
        confidence = reals(aligned(self.confidence, "confidence", *axes), "confidence")
        if correct is not None:
            correct = checked_shape("correct", bools_or_reals(correct), confidence.shape)
        if predictions is not None:
            predictions = checked_shape("predictions", as_text(predictions), confidence.shape)
        models, samples = confidence.shape
        names = checked_names(names, models)
        labels = None if labels is None else as_text(labels)
        labels, predictions = compared(labels, predictions, self.normalize)
        if labels is not None:
            labels = checked_labels(labels, samples)
        given = [values.ravel() for values in (labels, predictions) if values is not None]
        texts = np.unique(np.concatenate([np.array([""]), *map(np.unique, given)]))
        origin = origin_of(self.sample_ids, labels, texts, samples)

        def place(_: int, sample: int) -> str:
            return f"sample {str(origin.sample_ids[sample])!r}"

        cost = checked_cost(aligned(self.cost, "cost", *axes), names, samples, place)
        correct = correctness(correct, predictions, labels, names, texts, place, self.normalize)
        confidence = checked_confidence(confidence, predictions, names, place)
        answered = np.ones(confidence.shape, bool) if predictions is None else predictions != ""
        if self.answered is not None:
            there = np.array(aligned(self.answered, "answered", *axes), bool)
            answered = checked_shape("answered", there, confidence.shape)
        self._hold(
            origin,
            correct=correct,
            confidence=confidence,
            cost=cost,
            names=names,
            predictions=predictions,
            labels=labels,
            columns=checked_columns(self.columns, confidence.shape, *axes),
            answered=answered,
        )

    def _hold(self, origin: Labels, **parts: Any) -> "ScoreTable":
        """Hold checked parts, in arrays that nobody can write to."""
        for values in parts.values():
            if isinstance(values, Array):
                values.flags.writeable = False
        said = parts["correct"] if parts["predictions"] is None else parts["predictions"]
        answers = dict(zip(parts["names"], zip(parts["confidence"], said)))
        vars(self).pop("_models", None)  # of the table that this one is a part of
        vars(self).update(
            parts,
            sample_ids=origin.sample_ids if origin.given else None,
            origin=replace(origin, contents=Contents(answers, answers.__getitem__)),
        )
        return self

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        sample: str = "sample",
        model: str = "model",
        confidence: str | None = "confidence",
        cost: str | Mapping[str, float] | pd.Series = "cost",
        label: str | None = None,
        prediction: str | None = None,
        correct: str | None = None,
        columns: Iterable[str] = (),
        categories: Iterable[str] = (),
        models: Iterable[str] | None = None,
        missing: str = "refuse",
        normalize: str | None = None,
        largest: int = LARGEST_TABLE,
        encoding: str | None = None,
    ) -> "ScoreTable":
        """From a table, long (a row per sample and model, in any order) or wide (a row per sample).

        The keywords name its columns; in a wide table with {} in a model's place, as
        ``prediction="{}_answer"``. Give correct, or label and prediction; prediction alone where
        labels are to come. Ids, names of models, labels and predictions are text: as written in a
        file or in a frame of text; whole numbers of a frame are written alike whatever their dtype.
        The other columns are numbers. The same rows make the same table from CSV, parquet and a
        frame.

        Parameters
        ----------
        frame : pandas.DataFrame, path, or a frame that narwhals knows
            The path of a parquet or CSV file (``.csv.gz`` too), on this machine.
        sample, model : str
            The columns that tell the rows apart.
        confidence : str or None
            Column of the confidence, higher = more confident. Optional, for single models of a wide
            table as well: a model without confidences can only be the last stage.
        cost : str or mapping of str to float
            Column with the price of a query, 0 where it is free; or {model: price}.
        label, prediction : str, optional
            Columns that are compared as text. A missing prediction is an abstention: wrong, and it
            passes on where its confidence is missing too.
        correct : str, optional
            Column of bool, 0 and 1, true and false, or a grade in [0, 1].
        columns : iterable of str
            Further columns of numbers, for fitted confidences.
        categories : iterable of str
            Further columns of text, likewise.
        models : iterable of str, optional
            The models to take, in this order; needed where other columns of a wide table match the
            template as well.
        missing : {"refuse", "drop", "abstain"}
            Rows that are not there, or lack label or correctness, and empty confidences are refused
            by name. "drop" leaves out their samples, :attr:`dropped` in number. "abstain" counts
            such rows as abstentions at the model's usual cost (not :attr:`answered`); an answer
            without confidence is kept and decides nothing.
        normalize : {None, "text", "exact"}
            How predictions are compared with labels, as in :class:`ScoreTable`.
        largest : int
            Maximum size in bytes, before and after decompression; 1 GiB by default.
        encoding : str, optional
            Of a CSV file; default: UTF-8, or UTF-16 if the file starts with its mark.

        Raises
        ------
        ValueError
            Naming all that is wrong: of each kind of fault the number of cells and the first ten,
            with sample, model and line, and the remedy.
        TypeError
            Where ``frame`` is no table.
        """
        known(missing, ["refuse", "drop", "abstain"], "value of missing")
        optional = {
            "prediction": prediction,
            "correct": correct,
            "confidence": confidence,
            "label": label,
        }
        roles: dict[str, Any] = {role: name for role, name in optional.items() if name is not None}
        roles |= {"sample": sample, "model": model}
        roles |= {f"column {name}": name for name in items_of(columns)}
        roles |= {f"category {name}": name for name in items_of(categories)}
        if isinstance(cost, pd.Series):
            cost = cost.to_dict()
        if not isinstance(cost, Mapping):
            roles["cost"] = cost
        for name in roles.values():
            if not isinstance(name, str):
                raise ValueError(f"a column is named by text, not by {brief(name)}")
        table, locate = frame_of(frame, largest, encoding)
        is_path = isinstance(frame, str | os.PathLike)
        with about(os.fspath(frame)) if is_path else contextlib.nullcontext():
            given, faults = scores_of(table, roles, cost, missing, models, normalize, locate)
            if given["correct"] is None and "predictions" not in given:
                raise ValueError(NEITHER)
            refuse(faults)
            read = cls(**given)
        warn_unless_aligned(read)
        return read

    def __len__(self) -> int:
        """Number of samples k."""
        return self.confidence.shape[1]

    def __repr__(self) -> str:
        return f"<ScoreTable: {len(self)} samples, {len(self.names)} models>"

    def row(self, name: str) -> int:
        """Row of the model ``name``."""
        return self.names.index(known(name, self.names, "model"))

    @property
    def models(self) -> pd.DataFrame:
        """A row per model, cheapest first: top1 (mean of correct) and cost (mean over samples where
        it is [M, k])."""
        return self._models.copy()

    @cached_property
    def _models(self) -> pd.DataFrame:
        cost = self.cost if self.cost.ndim == 1 else self.cost.mean(axis=1)
        top1 = math.nan if self.correct is None else self.correct.mean(axis=1)
        index = pd.Index(self.names, name="model", dtype=object)
        return pd.DataFrame({"top1": top1, "cost": cost}, index).sort_values("cost", kind="stable")

    def costs(self, cost: str = "cost") -> Array:
        """Mean cost per sample of each model, float64 [M], in the order of :attr:`models`; its only
        kind is "cost"."""
        return self._models[known(cost, ["cost"], "cost")].to_numpy()

    def sample_costs(self, cost: str = "cost") -> Array:
        """The same as they were given: [M], or [M, k] where they differ by sample; ValueError for
        another kind."""
        _refuse_options(cost_kind=None if cost == self.default_cost else cost)
        return self.cost[[self.row(name) for name in self._models.index]]

    @property
    def cost_names(self) -> list[str]:
        """The only kind of cost: "cost"."""
        return [self.default_cost]

    @property
    def has_predictions(self) -> bool:
        """Whether predictions were given."""
        return self.predictions is not None

    def metadata(self, name: str) -> dict:
        """Nothing is recorded of a model."""
        return {}

    def asked(
        self, method: Any = None, score: str | None = None, cost: str | None = None
    ) -> tuple[Any, str, str]:
        """What a search of this table means: (None or a Method with a fitted confidence, score,
        "cost").

        ValueError for what a table cannot honour: its confidences, correctness and costs are given.
        """
        is_fitted = method == "auto" or getattr(method, "confidence", None) is not None
        metric = getattr(method, "metric", USUAL_METRIC)
        _refuse_options(
            method=None if is_fitted else method,
            metric=metric if is_fitted and metric != USUAL_METRIC else None,
            score=_not_of_a_table(score),
            cost=None if cost == self.default_cost else cost,
        )
        return method, score or "top1", self.default_cost

    def column(self, name: str, what: str) -> Array:
        """A further column of a model, float64 or text [k]; ValueError, naming the nearest, for an
        unknown one."""
        return self.columns[known(what, self.columns, "column")][self.row(name)]

    def outcome(self, names: list[str], method: Any = None, score: str = "top1") -> StageFunction:
        """The stage function of models ``names``: what the last of a prefix was given, whatever
        came before it.

        With a fitted ``method``, its confidence takes the place of the given one; a plain Method()
        stands for the given one. ValueError where correctness is unknown, and for a method or score
        of models' outputs, which a table does not have.
        """
        _refuse_options(method=_of_outputs(method), score=_not_of_a_table(score))
        if method is not None and method.confidence is not None:
            return method.stage(self, names, score)
        if self.correct is None:
            raise ValueError(
                "this ScoreTable has predictions but no labels, so which are correct is unknown; "
                "give labels=, or correct"
            )
        correct = self.correct
        rows = [self.row(name) for name in names]

        def stage(prefix: tuple[int, ...]) -> tuple[Array, Array]:
            last = rows[prefix[-1]]
            return correct[last], self.confidence[last]

        return stage

    def positives(self) -> Array:
        """Bool [k]: the samples of the second of two classes, in alphabetical order.

        ValueError without labels or predictions, or with other than two classes.
        """
        classes = self.origin.classes or ()
        if len(classes) != 2 or self.predictions is None:
            raise ValueError(
                f"F1 needs labels and predictions of two classes, not {classes}: or use "
                "score='top1'"
            )
        return np.asarray(self.origin.values) == 1

    def predicted(self, name: str) -> Array:
        """Prediction of a model for each sample, as text [k]; "": it abstained. ValueError without
        predictions."""
        if self.predictions is None:
            raise ValueError("what the models predict is unknown: give predictions=")
        return self.predictions[self.row(name)]

    def calls(self) -> dict[str, Callable]:
        """{model: a function from sample ids to (predictions, confidences)}, for a dry run of a
        policy.

        See :meth:`cascadelib.Policy.run`. ValueError without predictions; KeyError for ids that are
        not in the table.
        """
        row_of = {sample: row for row, sample in enumerate(self.origin.sample_ids.tolist())}

        def call(predictions: Array, confidence: Array, ids: Any) -> tuple[Array, Array]:
            rows = [row_of[sample] for sample in as_text(ids).tolist()]
            return predictions[rows], confidence[rows]

        return {
            name: partial(call, self.predicted(name), self.confidence[self.row(name)])
            for name in self.names
        }

    def labelled(self, labels: Any) -> "ScoreTable":
        """The same samples and predictions with other labels [k]; "" counts as one that no model
        predicts, and None or nan is refused."""
        labels = aligned(labels, "labels", self.origin.sample_ids)
        refuse_missing(labels, "label", self.origin.sample_ids)
        labels = as_text(labels)
        labels = np.where(labels == "", NO_LABEL, labels)
        return replace(self, correct=None, labels=labels, sample_ids=self.origin)

    def take(self, indices: Any) -> "ScoreTable":
        """The same on some samples: indices (repeats allowed), a bool mask [k] or a slice."""
        return self._part(slice(None), chosen_rows(indices, len(self), self.origin.sample_ids))

    def select(self, names: str | Iterable[str]) -> "ScoreTable":
        """The same with some of its models, in the order of the table."""
        return self._part(sorted({self.row(name) for name in items_of(names)}), slice(None))

    def _part(self, models: slice | list[int], samples: slice | Array) -> "ScoreTable":
        """The table of some models and some samples, which need no check again."""

        def cut(values: Any) -> Any:
            if values is None:
                return None
            rows = values[models]
            return rows if rows.ndim == 1 else rows[:, samples]

        return copy.copy(self)._hold(
            self.origin.take(samples),
            correct=cut(self.correct),
            confidence=cut(self.confidence),
            cost=cut(self.cost),
            names=tuple(np.array(self.names, object)[models]),
            predictions=cut(self.predictions),
            answered=cut(self.answered),
            labels=None if self.labels is None else self.labels[samples],
            columns={name: cut(values) for name, values in self.columns.items()},
        )
