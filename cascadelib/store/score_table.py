"""ScoreTable: answers and confidences of models without their outputs, such as routing logs."""

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import brief, error_context, items_of, validate_choice
from ..labels import align_values, as_text, select_rows
from ..origin import Origin
from ..stages import F1, StageFunction
from .tables.arguments import check_arguments, refuse_missing
from .tables.comparison import describe_gaps
from .tables.faults import refuse
from .tables.frames import (
    TREATMENTS,
    open_frame,
    read_cells,
    roles_of,
    score_arguments,
    select_samples,
)
from .tables.table_files import describe_frame

NO_LABEL = "(no label)"  # replaces the empty label, since an empty prediction is an abstention
COMPUTED_SCORES = ("top1", F1)  # other scores need the outputs of models
USUAL_PARTS = ("max_softmax", "none", False)  # of a Method with default arguments


def is_usual(method: Any) -> bool:
    """Return whether a Method has default parts, apart from its confidence."""
    return (method.metric, method.ensemble, method.temperature) == USUAL_PARTS


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
        Predictions, as text, compared with labels as they are written (see the Notes). "" means
        that the model abstained. An abstention counts as wrong. Its sample is deferred if the
        confidence is nan.
    labels : array of shape (n_samples,), optional
        True labels, compared as text.
    exact : bool, default=False
        Whether predictions and labels that differ are different for certain, without the checks of
        the Notes.
    dropped : int, default=0
        Number of samples that :meth:`from_frame` dropped.
    answered : bool array of shape (n_models, n_samples), optional
        Whether a model answered a sample. With predictions, it did if its prediction is not "".
    cost_kind : str, default="cost"
        Name of the default kind of cost.
    further_costs : mapping of str to array, optional
        Further kinds of cost, as `cost`.

    Attributes
    ----------
    comparison : {"", "numbers", "text", "exact"}
        How correctness was computed from predictions and labels, "" if it is an argument. "text" is
        the comparison of the Notes, and "exact" is text without their checks.
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

    Notes
    -----
    Text is compared as it is written, without outer spaces. Since "Yes." is not "yes", a table in
    which formatting may decide which model is correct is refused. If there are two labels or more,
    but at most one per five samples, a prediction must be one of them, or "", or a whole number if
    all labels are such, and no two labels may differ in spelling only. Otherwise labels are free
    text, and a wrong answer must not contain the words and numbers of its label. Other wordings
    cannot be recognized, such as "37%" for 0.37: they count as wrong.

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

    path: ClassVar[None] = None
    class_count: ClassVar[None] = None

    correct: Array | None
    confidence: Array
    cost: Array
    names: tuple[str, ...] = ()
    sample_ids: Array | Origin | None = None
    predictions: Array | None = None
    labels: Array | None = None
    exact: bool = False
    dropped: int = 0
    answered: Array | None = None
    cost_kind: str = "cost"
    further_costs: Mapping[str, Array] = field(default_factory=dict)
    comparison: str = field(init=False, default="")
    origin: Origin = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Replace the arguments by checked, read-only arrays."""
        parts, faults = check_arguments(self)
        refuse(faults)
        self._set_checked(**parts)

    def _set_checked(self, origin: Origin, **parts: Any) -> "ScoreTable":
        """Set checked attributes, and make their arrays read-only."""
        for values in (*parts.values(), *parts["further_costs"].values()):
            if isinstance(values, Array):
                values.flags.writeable = False
        vars(self).pop("_models", None)  # a copy has the cached models of the full table
        vars(self).update(
            parts,
            sample_ids=origin.sample_ids if origin.has_ids else None,
            origin=origin,
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
        cost: str | Sequence[str] | Mapping[str, float] | pd.Series = "cost",
        label: str | None = None,
        prediction: str | None = None,
        correct: str | None = None,
        models: Iterable[str] | None = None,
        missing: str = "refuse",
        exact: bool = False,
    ) -> "ScoreTable":
        """Read a table from a file or a frame.

        A long table has a row per sample and model, in any order. A wide table has a row per
        sample. The names of its columns are templates with {} in place of the model, such as
        ``prediction="{}_answer"``. Ids, models, labels and predictions are text. Whole numbers of a
        frame are converted to the same text for all dtypes.

        Parameters
        ----------
        frame : path or pandas.DataFrame
            A local parquet file, or CSV in UTF-8 with commas (also ``.csv.gz``), or a frame.
        sample, model : str, default="sample", "model"
            Columns of the sample id and the model.
        confidence : str or None, default="confidence"
            Column of the confidence. All models may lack it, or some models of a wide table. A
            model without confidences can only be the last stage.
        cost : str, list of str, or mapping of str to float, default="cost"
            Column of the cost of a query, columns of several kinds of cost, or {model: cost}. 0 is
            free. The first of several columns is the default kind, and all have their names.
        label, prediction : str, optional
            Columns of text, compared as in :class:`ScoreTable`. `correct`,
            or `label` and `prediction`, is required. `prediction` is enough if labels follow later.
            A missing prediction is an abstention.
        correct : str, optional
            Column of truth values (true and false, 1 and 0), or of a grade in [0, 1].
        models : iterable of str, optional
            The models to read, in this order. It is needed if other columns of a wide table match
            the template.
        missing : {"refuse", "drop", "abstain"}, default="refuse"
            What happens to rows that are missing or lack a label or correctness, and to empty
            confidences. "refuse" raises an error. "drop" drops their samples and counts them in
            `dropped`. "abstain" treats these rows as abstentions at the usual cost of the model.
            An answer without confidence is kept, and exits at no finite threshold.
        exact : bool, default=False
            As for :class:`ScoreTable`.

        Returns
        -------
        ScoreTable
            The checked table.

        Raises
        ------
        ValueError
            If the table has faults. The message lists each kind of fault, the number of cells, the
            first ten with sample, model and row, and the remedy in pandas.
        TypeError
            If `frame` is not a table.

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
        validate_choice(missing, TREATMENTS, "value of missing")
        named = {
            "sample": sample,
            "model": model,
            "prediction": prediction,
            "correct": correct,
            "confidence": confidence,
            "label": label,
        }
        roles, prices = roles_of(named, cost)
        rows = open_frame(frame)
        with error_context(os.fspath(frame) if isinstance(frame, str | os.PathLike) else "frame"):
            cells, faults = read_cells(rows, roles, models)
            used, gaps = select_samples(cells, missing)
            table = cls.__new__(cls)
            vars(table).update(score_arguments(used, prices) | {"exact": exact})
            parts, unclear = check_arguments(table, used.place, used.column_of)
            refuse(faults + gaps + unclear, describe_frame(frame))
        return table._set_checked(**parts)

    def __len__(self) -> int:
        """Return the number of samples."""
        return self.confidence.shape[1]

    def __repr__(self) -> str:
        gaps = describe_gaps(self, self.names)
        noted = f"; {gaps}" if gaps else ""
        return f"<ScoreTable: {len(self)} samples, {len(self.names)} models{noted}>"

    def row(self, name: str) -> int:
        """Return the row of a model in the arrays."""
        return self.names.index(validate_choice(name, self.names, "model"))

    @property
    def models(self) -> pd.DataFrame:
        """Return a row per model, cheapest first: accuracy (top1) and mean cost."""
        return self._models.copy()

    @cached_property
    def _models(self) -> pd.DataFrame:
        table = pd.DataFrame(index=pd.Index(self.names, name="model", dtype=object))
        table["top1"] = np.nan
        if self.correct is not None:
            table["top1"] = np.asarray(self.correct, float).mean(axis=1)
        for kind, cost in self._costs.items():
            table[kind] = cost if cost.ndim == 1 else cost.mean(axis=1)
        return table.sort_values(self.default_cost, kind="stable")

    @property
    def _costs(self) -> dict[str, Array]:
        """Return costs of shape [n_models] or [n_models, n_samples] by kind."""
        return {self.cost_kind: self.cost, **self.further_costs}

    @property
    def default_cost(self) -> str:
        """Return the default kind of cost."""
        return self.cost_kind

    @property
    def cost_names(self) -> list[str]:
        """Return the kinds of cost."""
        return list(self._costs)

    def costs(self, cost: str | None = None) -> Array:
        """Return the mean costs of the models, in the order of :attr:`models`."""
        return self._models[self._kind(cost)].to_numpy()

    def sample_costs(self, cost: str | None = None) -> Array:
        """Return costs of shape [n_models], or [n_models, n_samples] if they differ by sample."""
        return self._costs[self._kind(cost)][[self.row(name) for name in self._models.index]]

    def _kind(self, cost: str | None) -> str:
        """Return a kind of cost, the default one for None."""
        return validate_choice(cost or self.default_cost, self.cost_names, "cost")

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
        """Return (method, score, kind of cost) of a search, with the defaults filled in.

        The method is None or has a fitted confidence. A ValueError names unsupported options.
        """
        is_fitted = method is not None and method.confidence is not None
        is_known = method is None or (is_fitted and is_usual(method))
        if not is_known or score not in (None, *COMPUTED_SCORES):
            raise ValueError(
                f"method={brief(method)} and score={score!r}: a table has no outputs of models, so "
                "it supports only score='f1' and method='isotonic_by_label'. Omit these options, "
                "or use a LogitStore"
            )
        return method, score or "top1", self._kind(cost)

    def outcome(self, names: list[str], method: Any = None, score: str = "top1") -> StageFunction:
        """Return the stage function of models.

        Its result depends only on the last model of a prefix. A fitted confidence of the method
        replaces the confidence of the table. A ValueError is raised if correctness is unknown, or
        if the method or score needs outputs of models.
        """
        if method is not None and method.confidence is None and is_usual(method):
            method = None  # as evaluate passes it
        self.resolve_options(method, score)
        if method is not None:
            return method.stage(self, names, score)
        if self.correct is None:
            raise ValueError(
                "the table has answers but no labels, so their correctness is unknown. Read the "
                "table with label= or correct="
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
            raise ValueError("the table has no predictions: read it with prediction=")
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
        ids = self.origin.sample_ids
        labels = align_values(labels, "labels", ids)
        refuse_missing(labels, "label", ids)
        labels = as_text(labels)
        table = copy.copy(self)
        labels = np.where(labels == "", NO_LABEL, labels)
        vars(table).update(correct=None, labels=labels, sample_ids=self.origin)

        def column_of(role: str, model: int) -> str:
            return "labels" if role == "label" else f"model {self.names[model]!r}"

        parts, faults = check_arguments(table, column_of=column_of, is_partial=True)
        # Lines of pandas would change arguments that the caller does not have.
        unrepaired = [replace(fault, lines=()) for fault in faults]
        refuse(unrepaired, "Labels and predictions must be written alike")
        return table._set_checked(**parts)

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
            further_costs={name: cut(values) for name, values in self.further_costs.items()},
        )
