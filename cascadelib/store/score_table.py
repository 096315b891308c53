"""ScoreTable: scores of models that we never see (routing logs, an API's confidences, another framework)."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..checks import about, known, reals, unmasked
from ..labels import Labels, as_text, chosen_rows
from .frames import scores_of
from .protocol import Stage


def _refuse(names, rows, what):
    """Raise ValueError naming the models (and first sample) where the mask ``rows`` [M] or [M, k] is true."""
    if rows.any():
        at = [(name, row) for name, row in zip(names, rows, strict=True) if row.any()]
        where = [
            f"{name!r}" + (f" (sample {int(np.argmax(row))})" if row.ndim else "")
            for name, row in at
        ]
        raise ValueError(f"{what} for {', '.join(where)}")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What M models scored on k samples.

    correct: bool [M, k], or a graded score in [0, 1]; None: predictions == labels where both are there, else unknown.
    confidence: float [M, k], higher = surer; ±inf allowed, nan not, but a model without any (all nan) never leaves at a
    finite threshold, as −inf. cost: float [M], 0 where it is free, or [M, k] where it differs by sample. names: M
    distinct names, by default "model 0" … sample_ids [k]: what tells samples from those of other tables, for
    :func:`cascadelib.certify`; distinct, or None where it is unknown. predictions [M, k], labels [k]: as text ("": the
    model abstained, and passes on where its confidence is nan). columns: {name: float [k] or [M, k]}: what a fitted
    confidence may read beside (:class:`cascadelib.Method`). Rows stay in the order given; :attr:`models` and
    :meth:`costs` go cheapest first; :meth:`row` finds a model's row. Raises ValueError naming the argument and the
    model that is wrong.
    """

    has_outputs: ClassVar[bool] = False
    path: ClassVar[None] = None

    correct: np.ndarray | None
    confidence: np.ndarray
    cost: np.ndarray
    names: tuple[str, ...] = ()
    sample_ids: np.ndarray | Labels | None = None
    predictions: np.ndarray | None = None
    labels: np.ndarray | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    origin: Labels = field(init=False, repr=False)

    def __post_init__(self):
        confidence, cost = (
            reals(self.confidence, "confidence").copy(),
            reals(self.cost, "cost").copy(),
        )
        predictions, labels = (
            None if v is None else as_text(v) for v in (self.predictions, self.labels)
        )
        correct = None if self.correct is None else np.array(unmasked(self.correct, "correct"))
        if correct is None and predictions is None:
            raise ValueError("correct is needed, or predictions")
        if correct is None and labels is not None:
            correct = predictions == labels
        if correct is not None and correct.dtype != bool:
            correct = reals(correct, "correct")
        for kind, value in (("correct", correct), ("predictions", predictions)):
            if value is not None and (value.ndim != 2 or not value.size):
                raise ValueError(
                    f"{kind} must be [models, samples] with at least one of each, not {value.shape}"
                )
            if value is not None and value.shape != confidence.shape:
                raise ValueError(
                    f"confidence has shape {confidence.shape}, {kind} {value.shape}; they must agree"
                )
        models, k = confidence.shape
        if labels is not None and (labels.shape != (k,) or "" in labels):
            raise ValueError(
                f"labels must be [{k}], one a sample and none missing, not {list(labels.shape)}"
            )
        named = self.names is not None and len(self.names)
        names = tuple(map(str, self.names)) if named else tuple(f"model {i}" for i in range(models))
        if len(names) != models or len(set(names)) != len(names):
            raise ValueError(f"names must be {models} distinct names, not {names}")
        if cost.shape not in ((models,), (models, k)):
            turned = cost.shape == (k,) and ": rows are models; transpose correct and confidence"
            raise ValueError(
                f"cost must be [{models}] or {[models, k]}, not {list(cost.shape)}{turned or ''}"
            )
        if correct is not None:
            _refuse(
                names,
                ~((correct >= 0) & (correct <= 1)),
                "correct must be bool or lie in [0, 1]; it does not",
            )
        abstained = False if predictions is None else predictions == ""
        confidence[
            np.isnan(confidence) & (abstained | np.isnan(confidence).all(axis=1)[:, None])
        ] = -np.inf
        _refuse(names, np.isnan(confidence), "confidence is nan")
        _refuse(
            names,
            ~(np.isfinite(cost) & (cost >= 0)),
            "cost must be finite and not negative; it is not",
        )
        columns = {}
        for name, own in self.columns.items():
            with about(f"column {name!r}"):
                columns[name] = np.broadcast_to(reals(own, "it"), confidence.shape)
        for value in (correct, confidence, cost, predictions, labels):
            if value is not None:
                value.flags.writeable = False
        vars(self).update(
            correct=correct,
            confidence=confidence,
            cost=cost,
            predictions=predictions,
            labels=labels,
        )
        origin = (
            self.sample_ids
            if isinstance(self.sample_ids, Labels)
            else self._origin(self.sample_ids)
        )
        sample_ids = origin.sample_ids if origin.given else None
        vars(self).update(names=names, columns=columns, origin=origin, sample_ids=sample_ids)

    def _origin(self, ids):
        if self.labels is None:
            return Labels.checked(np.zeros(len(self), np.int64), ids)
        parts = (
            [self.labels] if self.predictions is None else [self.labels, self.predictions.ravel()]
        )
        classes = np.unique(np.concatenate(parts))
        classes = classes[classes != ""]
        return Labels.checked(np.searchsorted(classes, self.labels), ids, classes)

    @classmethod
    def from_frame(
        cls,
        frame: Any,
        *,
        sample: str = "sample",
        model: str = "model",
        confidence: str | None = "confidence",
        cost: str | Mapping[str, float] = "cost",
        label: str | None = None,
        prediction: str | None = None,
        correct: str | None = None,
        columns: Iterable[str] = (),
        missing: str = "refuse",
    ) -> "ScoreTable":
        """From a table: a pandas DataFrame, the path of a parquet or CSV file, or a frame that narwhals knows.

        Long: a row a (sample, model), in any order; the keywords name its columns. Wide: a row a sample, the names with
        {} in a model's place, as ``prediction="{}_answer"``. Give correct (bool, or graded), or label and prediction;
        prediction alone where labels are to come. cost: of a query, 0 where it is free, or {model: cost}. A missing
        prediction is an abstention: wrong, and it passes on where its confidence is missing too. A model without any
        confidence may only stand last. columns: further numbers, for fitted confidences.

        missing: rows (their labels, or correctness) that are not there are refused by name; "drop" leaves out their
        samples, "abstain" counts them as abstentions at the model's usual cost. Labels are compared as text.
        ValueError names the column, sample or model that is wrong.
        """
        known(missing, ["refuse", "drop", "abstain"], "value of missing")
        roles = {
            "prediction": prediction,
            "correct": correct,
            "confidence": confidence,
            "label": label,
        }
        roles |= {"sample": sample, "model": model} | {f"column {name}": name for name in columns}
        given: dict = {role: name for role, name in roles.items() if name is not None}
        return cls(**scores_of(frame, given, cost, missing))

    def __len__(self):
        """Number of samples k."""
        return self.confidence.shape[1]

    def __repr__(self):
        return f"<ScoreTable: {len(self)} samples, {len(self.names)} models>"

    def row(self, name: str) -> int:
        """Row of the model ``name``."""
        return self.names.index(known(name, self.names, "model"))

    @property
    def models(self) -> pd.DataFrame:
        """A row a model, cheapest first: top1 (mean of correct) and cost (mean over samples where it is [M, k])."""
        cost = self.cost if self.cost.ndim == 1 else self.cost.mean(1)
        index = pd.Index(self.names, name="model", dtype=object)
        top1 = math.nan if self.correct is None else self.correct.mean(1)
        return pd.DataFrame({"top1": top1, "cost": cost}, index).sort_values("cost", kind="stable")

    def costs(self, kind: str = "cost") -> np.ndarray:
        """Mean cost a sample of each model, float64 [M], in the order of :attr:`models`; its only kind is "cost"."""
        return self.models[known(kind, ["cost"], "cost")].to_numpy()

    def sample_costs(self, kind: str = "cost") -> np.ndarray:
        """The same as they were given, whatever the kind: [M], or [M, k] where they differ by sample."""
        return self.cost[[self.row(name) for name in self.models.index]]

    def outcome(self, names: list[str], method: Any = None, score: str = "top1") -> Stage:
        """The stage function of models ``names``: what the last of a prefix was given, whatever came before it, or the
        confidence that ``method`` has fitted. ValueError where it is unknown who is right."""
        if method is not None and method.confidence is not None:
            return method.stage(self, names, score)
        if self.correct is None:
            raise ValueError(
                "who is right is unknown: this ScoreTable has predictions alone; give labels=, or correct"
            )
        correct, rows = self.correct, [self.row(name) for name in names]
        return lambda prefix: (correct[rows[prefix[-1]]], self.confidence[rows[prefix[-1]]])

    def positives(self) -> np.ndarray:
        """Bool [k]: the samples of the second of two classes, in alphabetical order. ValueError without labels or
        predictions, or with other than two classes."""
        classes = self.origin.classes or ()
        if len(classes) != 2 or self.predictions is None:
            raise ValueError(
                f"F1 needs labels and predictions of two classes, not {classes}: or use score='top1'"
            )
        return np.asarray(self.origin.values) == 1

    def predicted(self, name: str) -> np.ndarray:
        """Prediction of a model for each sample, as text [k]; "": it abstained. ValueError without predictions."""
        if self.predictions is None:
            raise ValueError("what the models predict is unknown: give predictions=")
        return self.predictions[self.row(name)]

    def calls(self) -> dict[str, Callable]:
        """{model: a function from sample ids to what the table has of them, (predictions, confidences)}: for a dry run
        of :meth:`cascadelib.Policy.run`. ValueError without predictions; KeyError for other ids."""
        row_of = {sample: row for row, sample in enumerate(self.origin.sample_ids.tolist())}

        def call(said, sure, ids):
            rows = [row_of[sample] for sample in as_text(ids).tolist()]
            return said[rows], sure[rows]

        return {
            name: partial(call, self.predicted(name), self.confidence[self.row(name)])
            for name in self.names
        }

    def labelled(self, labels: Any) -> "ScoreTable":
        """The same samples and predictions with other labels [k]; "", that of nobody, is a label that none predicts."""
        labels, own = as_text(labels), self.origin
        table = replace(
            self, correct=None, labels=np.where(labels == "", "(none)", labels), sample_ids=None
        )
        origin = replace(
            table.origin, sample_ids=own.sample_ids, given=own.given, source=own.source
        )
        return replace(table, sample_ids=origin)

    def take(self, indices: Any) -> "ScoreTable":
        """The same on some samples: indices (repeats allowed), a bool mask [k] or a slice."""
        return self._part(slice(None), chosen_rows(indices, len(self)))

    def select(self, names: str | Iterable[str]) -> "ScoreTable":
        """The same with some of its models, in the order of the table."""
        names = [names] if isinstance(names, str) else names
        return self._part(sorted({self.row(name) for name in names}), slice(None))

    def _part(self, models, samples):
        def cut(values):
            return (
                values
                if values is None
                else values[models]
                if values.ndim == 1
                else values[models][:, samples]
            )

        parts = {
            kind: cut(getattr(self, kind))
            for kind in ("correct", "confidence", "cost", "predictions")
        }
        parts["names"] = tuple(np.array(self.names, object)[models])
        parts["labels"] = self.labels if self.labels is None else self.labels[samples]
        parts["columns"] = {name: cut(values) for name, values in self.columns.items()}
        return replace(self, **parts, sample_ids=self.origin.take(samples))
