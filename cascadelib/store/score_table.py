"""ScoreTable: answers and confidences of models without their outputs, such as routing logs."""

import contextlib
import copy
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import brief, error_context, items_of, validate_choice
from ..labels import align_values, as_text, select_rows
from ..origin import Origin
from ..scoring import F1
from ..stages import StageFunction
from .tables.faults import refuse
from .tables.frames import open_frame, parse_scores
from .tables.score_checks import check_values, convert_arguments, refuse_missing
from .tables.table_files import LARGEST_TABLE

NO_LABEL = "(none)"  # replaces the empty label, since an empty prediction is an abstention
COMPUTED_SCORES = ("top1", F1)  # other scores need the outputs of models
USUAL_METRIC = "max_softmax"  # metric of a Method with default arguments


def _refuse_options(**options: Any) -> None:
    """Raise a ValueError that names the options that are not None."""
    extra = [f"{option}={brief(value)}" for option, value in options.items() if value is not None]
    if extra:
        raise ValueError(
            f"{', '.join(extra)}: a ScoreTable contains confidences, correctness and cost, so it "
            "supports only score='f1' and Method(confidence=…). Omit these options (a Point's "
            "cost_kind is then 'cost'), or use a LogitStore"
        )


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Hold the correctness, confidence and cost of models on one labelled split.

    A table needs no outputs of models: routing logs or the answers of an API are enough. Models
    keep the order of the arguments, except in :attr:`models` and :meth:`costs`.

    Parameters
    ----------
    correct : array of shape (n_models, n_samples) or None
        Whether each model is correct (bool), or a grade in [0, 1]. If None, correctness is computed
        from `predictions` and `labels`. It is unknown if one of these is missing.
    confidence : array of shape (n_models, n_samples)
        A higher value is more confident. ±inf is allowed. nan is allowed only if all values of a
        model are nan. No sample then exits at this model, if its threshold is finite.
    cost : array of shape (n_models,) or (n_models, n_samples)
        Cost of a query in any unit, 0 or more.
    names : iterable of str, optional
        Distinct names of the models. Defaults to "model 0", "model 1" and so on.
    sample_ids : array of shape (n_samples,), optional
        Distinct ids. :func:`certify` uses them to detect samples that other tables share.
    predictions : array of shape (n_models, n_samples), optional
        Predictions, compared as text. "" means that the model abstained. An abstention counts as
        wrong. Its sample is deferred if the confidence is nan.
    labels : array of shape (n_samples,), optional
        True labels, compared as text.
    columns : mapping of str to array of shape (n_samples,) or (n_models, n_samples), optional
        More features of the samples, as numbers or text, from which a :class:`Method` can fit a
        confidence.
    normalize : {None, "text", "exact"}, default=None
        How predictions are compared with labels. "exact" compares them as written, for classes such
        as a and A. "text" normalizes both first: case, outer spaces, Unicode forms, and numbers
        such as 1.0 and 1. None compares them as written, and raises an error if a prediction equals
        its label only after normalizing.
    dropped : int, default=0
        Number of samples that :meth:`from_frame` dropped.
    answered : bool array of shape (n_models, n_samples), optional
        Whether a model answered a sample. By default, it did if its prediction is not "".

    Attributes
    ----------
    origin : Origin
        Ids, labels and classes of the samples.

    Raises
    ------
    ValueError
        If an argument is invalid. The message names the argument, the model and the sample.

    See Also
    --------
    ScoreTable.from_frame : Read a table from a file or a frame.
    LogitStore : Outputs of models, for all confidence metrics and ensembles.
    check_table : Find all faults of a table.

    Examples
    --------
    >>> import cascadelib as cl
    >>> table = cl.ScoreTable(
    ...     correct=None,
    ...     predictions=[["cat", "dog"], ["cat", "cat"]],
    ...     labels=["cat", "cat"],
    ...     confidence=[[0.9, 0.6], [0.8, 0.7]],
    ...     cost=[1, 10],
    ...     names=["small", "large"],
    ... )
    >>> table.models["top1"].to_dict()
    {'small': 0.5, 'large': 1.0}
    """

    default_cost: ClassVar[str] = "cost"
    path: ClassVar[None] = None
    class_count: ClassVar[None] = None

    correct: Array | None
    confidence: Array
    cost: Array
    names: tuple[str, ...] = ()
    sample_ids: Array | Origin | None = None
    predictions: Array | None = None
    labels: Array | None = None
    columns: Mapping[str, Array] = field(default_factory=dict)
    normalize: str | None = None
    dropped: int = 0
    answered: Array | None = None
    origin: Origin = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Replace the arguments by checked, read-only arrays."""
        arguments = convert_arguments(self)
        names = arguments["names"]
        ids = arguments["origin"].sample_ids

        def place(model: int, sample: int) -> str:
            return f"sample {str(ids[sample])!r}, model {names[model]!r}"

        checked, faults = check_values(arguments, place)
        refuse(faults)
        self._set_checked(**checked)

    def _set_checked(self, origin: Origin, **parts: Any) -> "ScoreTable":
        """Set checked attributes, and make their arrays read-only."""
        for values in parts.values():
            if isinstance(values, Array):
                values.flags.writeable = False
        answers = parts["correct"] if parts["predictions"] is None else parts["predictions"]
        outputs = dict(zip(parts["names"], zip(parts["confidence"], answers)))
        vars(self).pop("_models", None)  # a copy has the cached models of the full table
        vars(self).update(
            parts,
            sample_ids=origin.sample_ids if origin.has_ids else None,
            origin=replace(origin, models=outputs, read=outputs.__getitem__),
        )
        return self

    @classmethod
    def of_checked(cls, parts: dict[str, Any]) -> "ScoreTable":
        """Return the table of parts that :func:`check_values` returned."""
        return cls.__new__(cls)._set_checked(**parts)

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
        """Read a table from a file or a frame.

        A long table has a row per sample and model, in any order. A wide table has a row per
        sample. The names of its columns are templates with {} in place of the model, such as
        ``prediction="{}_answer"``. Ids, models, labels and predictions are text. Whole numbers of a
        frame are converted to the same text for all dtypes.

        Parameters
        ----------
        frame : path, pandas.DataFrame, or a frame that narwhals supports
            A local parquet or CSV file (also ``.csv.gz``), or a frame.
        sample, model : str, default="sample", "model"
            Columns of the sample id and the model.
        confidence : str or None, default="confidence"
            Column of the confidence. All models may lack it, or some models of a wide table. A
            model without confidences can only be the last stage.
        cost : str or mapping of str to float, default="cost"
            Column of the cost of a query, or {model: cost}. 0 is free.
        label, prediction : str, optional
            Columns that are compared as text. `correct`, or `label` and `prediction`, is required.
            `prediction` is enough if labels follow later. A missing prediction is an abstention.
        correct : str, optional
            Column of bool, 0 and 1, true and false, or a grade in [0, 1].
        columns, categories : iterable of str, optional
            Further columns of numbers and of text, for fitted confidences.
        models : iterable of str, optional
            The models to read, in this order. It is needed if other columns of a wide table match
            the template.
        missing : {"refuse", "drop", "abstain"}, default="refuse"
            What happens to rows that are missing or lack a label or correctness, and to empty
            confidences. "refuse" raises an error. "drop" drops their samples and counts them in
            `dropped`. "abstain" treats these rows as abstentions at the usual cost of the model.
            An answer without confidence is kept, and exits at no finite threshold.
        normalize : {None, "text", "exact"}, default=None
            How predictions are compared with labels, as in :class:`ScoreTable`.
        largest : int, default=2**30
            Maximum size in bytes, before and after decompression.
        encoding : str, optional
            Encoding of a CSV file. Defaults to UTF-8, or to UTF-16 if the file starts with its
            mark.

        Returns
        -------
        ScoreTable
            The checked table.

        Raises
        ------
        ValueError
            If the table has faults. The message lists each kind of fault, the number of cells, the
            first ten with sample, model and line, and the remedy.
        TypeError
            If `frame` is not a table.

        See Also
        --------
        check_table : Recognize the columns, and report the same faults.

        Examples
        --------
        >>> import cascadelib as cl
        >>> import pandas as pd
        >>> frame = pd.DataFrame({"sample": ["a", "b"], "gold": ["cat", "cat"]})
        >>> frame = frame.assign(small=["cat", "dog"], large=["cat", "cat"])
        >>> cl.ScoreTable.from_frame(
        ...     frame, prediction="{}", models=["small", "large"], label="gold", confidence=None,
        ...     cost={"small": 1, "large": 10},
        ... )
        <ScoreTable: 2 samples, 2 models>
        """
        validate_choice(missing, ["refuse", "drop", "abstain"], "value of missing")
        optional = {
            "prediction": prediction,
            "correct": correct,
            "confidence": confidence,
            "label": label,
        }
        roles = {role: name for role, name in optional.items() if name is not None}
        roles |= {"sample": sample, "model": model}
        roles |= {f"column {name}": name for name in items_of(columns)}
        roles |= {f"category {name}": name for name in items_of(categories)}
        if isinstance(cost, pd.Series):
            cost = cost.to_dict()
        if not isinstance(cost, Mapping):
            roles["cost"] = cost
        for name in roles.values():
            if not isinstance(name, str):
                raise ValueError(f"the name of a column must be text, got {brief(name)}")
        table, locate = open_frame(frame, largest, encoding)
        is_path = isinstance(frame, str | os.PathLike)
        with error_context(os.fspath(frame)) if is_path else contextlib.nullcontext():
            checked, faults = parse_scores(table, roles, cost, missing, models, normalize, locate)
            refuse(faults)
        read = cls.of_checked(checked)
        from .aligned_rows import check_alignment  # loads scipy

        alignment = check_alignment(read)
        if alignment.status == "violated":
            text = (
                f"{alignment.evidence}. Check the join by sample id; certify refuses this table "
                'unless accept=("rows aligned",)'
            )
            warnings.warn(text, stacklevel=2)
        return read

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.confidence.shape[1]

    def __repr__(self) -> str:
        return f"<ScoreTable: {len(self)} samples, {len(self.names)} models>"

    def row(self, name: str) -> int:
        """Return the row of a model in the arrays."""
        return self.names.index(validate_choice(name, self.names, "model"))

    @property
    def models(self) -> pd.DataFrame:
        """Return a row per model, cheapest first: accuracy (top1) and mean cost."""
        return self._models.copy()

    @cached_property
    def _models(self) -> pd.DataFrame:
        cost = self.cost if self.cost.ndim == 1 else self.cost.mean(axis=1)
        top1 = math.nan if self.correct is None else self.correct.mean(axis=1)
        index = pd.Index(self.names, name="model", dtype=object)
        return pd.DataFrame({"top1": top1, "cost": cost}, index).sort_values("cost", kind="stable")

    def costs(self, cost: str = "cost") -> Array:
        """Return the mean costs of the models, in the order of :attr:`models`."""
        return self._models[validate_choice(cost, ["cost"], "cost")].to_numpy()

    def sample_costs(self, cost: str = "cost") -> Array:
        """Return costs of shape [n_models], or [n_models, n_samples] if they differ by sample."""
        _refuse_options(cost_kind=None if cost == self.default_cost else cost)
        return self.cost[[self.row(name) for name in self._models.index]]

    @property
    def cost_names(self) -> list[str]:
        """Return the only kind of cost, "cost"."""
        return [self.default_cost]

    @property
    def has_predictions(self) -> bool:
        """Return whether the table has predictions."""
        return self.predictions is not None

    def metadata(self, name: str) -> dict:
        """Return an empty dict: a table has no metadata."""
        return {}

    def resolve_options(
        self, method: Any = None, score: str | None = None, cost: str | None = None
    ) -> tuple[Any, str, str]:
        """Return (method, score, "cost") of a search, with the defaults filled in.

        The method is None or has a fitted confidence. A ValueError names unsupported options.
        """
        is_fitted = method == "auto" or getattr(method, "confidence", None) is not None
        metric = getattr(method, "metric", USUAL_METRIC)
        _refuse_options(
            method=None if is_fitted else method,
            metric=metric if is_fitted and metric != USUAL_METRIC else None,
            score=None if score in COMPUTED_SCORES else score,
            cost=None if cost == self.default_cost else cost,
        )
        return method, score or "top1", self.default_cost

    def column(self, name: str, what: str) -> Array:
        """Return a further column of a model, float64 or text [n_samples]."""
        return self.columns[validate_choice(what, self.columns, "column")][self.row(name)]

    def outcome(self, names: list[str], method: Any = None, score: str = "top1") -> StageFunction:
        """Return the stage function of models.

        Its result depends only on the last model of a prefix. A fitted confidence of the method
        replaces the confidence of the table. A ValueError is raised if correctness is unknown, or
        if the method or score needs outputs of models.
        """
        usual = (USUAL_METRIC, "none", False)
        is_usual = method is None or (method.metric, method.ensemble, method.temperature) == usual
        _refuse_options(
            method=None if is_usual else method,
            score=None if score in COMPUTED_SCORES else score,
        )
        if method is not None and method.confidence is not None:
            return method.stage(self, names, score)
        if self.correct is None:
            raise ValueError(
                "this ScoreTable has predictions but no labels, so their correctness is unknown. "
                "Pass labels= or correct="
            )
        correct = self.correct
        rows = [self.row(name) for name in names]

        def stage(prefix: tuple[int, ...]) -> tuple[Array, Array]:
            last = rows[prefix[-1]]
            return correct[last], self.confidence[last]

        return stage

    def positives(self) -> Array:
        """Return which samples are of the second of two classes, bool [n_samples].

        A ValueError is raised unless there are labels, predictions and two classes.
        """
        classes = self.origin.classes or ()
        if len(classes) != 2 or self.predictions is None:
            raise ValueError(
                f"F1 needs labels and predictions of two classes, not {classes}. Use score='top1'"
            )
        return np.asarray(self.origin.values) == 1

    def predicted(self, name: str) -> Array:
        """Return the predictions of a model as text [n_samples]. "" is an abstention."""
        if self.predictions is None:
            raise ValueError("the table has no predictions: pass predictions=")
        return self.predictions[self.row(name)]

    def calls(self) -> dict[str, Callable]:
        """Return, by model, a function from sample ids to (predictions, confidences).

        :meth:`Policy.run` takes them for a dry run.
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
        """Return the table with other labels [n_samples].

        The label "" equals no prediction. None and nan raise a ValueError.
        """
        labels = align_values(labels, "labels", self.origin.sample_ids)
        refuse_missing(labels, "label", self.origin.sample_ids)
        labels = as_text(labels)
        labels = np.where(labels == "", NO_LABEL, labels)
        return replace(self, correct=None, labels=labels, sample_ids=self.origin)

    def take(self, indices: Any) -> "ScoreTable":
        """Return the table of some samples: indices (may repeat), a bool mask or a slice."""
        return self._part(slice(None), select_rows(indices, len(self), self.origin.sample_ids))

    def select(self, names: str | Iterable[str]) -> "ScoreTable":
        """Return the table of some models, in the order of the table."""
        return self._part(sorted({self.row(name) for name in items_of(names)}), slice(None))

    def _part(self, models: slice | list[int], samples: slice | Array) -> "ScoreTable":
        """Return the table of some models and samples, without further checks."""

        def cut(values: Any) -> Any:
            if values is None:
                return None
            rows = values[models]
            return rows if rows.ndim == 1 else rows[:, samples]

        arrays = ("correct", "confidence", "cost", "predictions", "answered")
        return copy.copy(self)._set_checked(
            self.origin.take(samples),
            **{name: cut(getattr(self, name)) for name in arrays},
            names=tuple(np.array(self.names, object)[models]),
            labels=None if self.labels is None else self.labels[samples],
            columns={name: cut(values) for name, values in self.columns.items()},
        )
