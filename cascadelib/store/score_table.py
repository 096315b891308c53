"""ScoreTable: answers and confidences of models without their outputs, such as routing logs."""

import copy
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
from ..scoring import F1
from ..stages import StageFunction
from .tables.answers import ACCEPTED, describe_gaps, read_texts
from .tables.cells import Cells, score_arguments, select_samples
from .tables.rules import Rule, refuse
from .tables.score_checks import check_arguments, refuse_missing
from .tables.table_files import LARGEST_TABLE
from .tables.tidy import open_frame, read_tidy, roles_of, source_of

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
    cost : array of shape (n_models,) or (n_models, n_samples), or mapping of str to such arrays
        Cost of a query in any unit, 0 or more. A mapping has several kinds of cost by name, such as
        ``{"usd": …, "seconds": …}``. The first one is the default.
    names : iterable of str, optional
        Distinct names of the models. Defaults to "model 0", "model 1" and so on.
    sample_ids : array of shape (n_samples,), optional
        Distinct ids. :func:`certify` uses them to detect samples that other tables share.
    predictions : array of shape (n_models, n_samples), optional
        Predictions, as text. They are read as labels by the steps of the Notes. "" means that the
        model abstained. An abstention counts as wrong. Its sample is deferred if the confidence is
        nan.
    labels : array of shape (n_samples,), optional
        True labels, compared as text.
    columns : mapping of str to array of shape (n_samples,) or (n_models, n_samples), optional
        More features of the samples, as numbers or text, from which a :class:`Method` can fit a
        confidence.
    answer : {None, "exact", "first word"}, regular expression or callable, default=None
        Reads answers that the steps of the Notes do not read: the first word, the only group of a
        regular expression, or the result of a function of the text. "exact" compares predictions
        with labels as they are written, without these steps.
    missing : {"refuse", "wrong"}, default="refuse"
        "wrong" counts unreadable answers as wrong. Otherwise :func:`search`, :func:`pick` and
        :func:`certify` refuse a model if more than 1% of its answers are unreadable.
    dropped : int, default=0
        Number of samples that :meth:`from_frame` dropped.
    answered : bool array of shape (n_models, n_samples), optional
        Whether a model answered a sample. With predictions, it did if its prediction is readable.
    unreadable : bool array of shape (n_models, n_samples), optional
        Whether an answer is neither right nor wrong, since it cannot be read. Defaults to the
        result of reading predictions.
    cost_kind : str, default="cost"
        Name of the default kind of cost.
    further_costs : mapping of str to array, optional
        Further kinds of cost, as `cost`.

    Attributes
    ----------
    origin : Origin
        Ids, labels and classes of the samples.
    spellings : DataFrame
        One row per text of an answer that was changed or not read: spelling, label ("" if it is
        unreadable), step, count and models. A part of a table has the list of the full table.

    Raises
    ------
    ValueError
        If an argument is invalid. The message names the argument, the model and the sample.

    See Also
    --------
    ScoreTable.from_frame : Read a table from a file or a frame.
    LogitStore : Outputs of models, for all confidence metrics and ensembles.
    check_table : Find all faults of a table.

    Notes
    -----
    A prediction is read as a label in this order: as written; without outer spaces, quotes,
    brackets, Markdown and final punctuation; the part after ``</think>`` or in ``\\boxed{}``,
    without case and Unicode forms, and with whole numbers such as 1.0 as 1; as a number such as
    $1,024, if all labels are numbers; by `answer`. No step reads a form that two labels share. The
    label set has all labels, or, without labels, the answers of the most expensive model after
    these steps.

    If there are two labels or more, but at most one per five samples, a prediction that is none of
    them is unreadable, except for whole numbers if all labels are such. Otherwise labels are free
    text. A wrong answer is then unreadable if it contains its label, if its number equals the label
    in another locale, or if it is a word for an empty cell, such as nan. So is an answer if it and
    its label are two labels that differ in spelling only.

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
    columns: Mapping[str, Array] = field(default_factory=dict)
    answer: Any = None
    missing: str = "refuse"
    dropped: int = 0
    answered: Array | None = None
    unreadable: Array | None = None
    cost_kind: str = "cost"
    further_costs: Mapping[str, Array] = field(default_factory=dict)
    origin: Origin = field(init=False, repr=False)
    spellings: pd.DataFrame = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Replace the arguments by checked, read-only arrays."""
        parts, rules = check_arguments(self)
        refuse(rules)
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
    def of_cells(
        cls,
        cells: Cells,
        prices: Mapping[str, float] | None = None,
        missing: str = "refuse",
        answer: Any = None,
    ) -> tuple["ScoreTable", list[Rule]]:
        """Return the table of cells, and the rules for them. It is valid if none is a fault.

        Parameters
        ----------
        cells : Cells
            The result of :func:`read_tidy`.
        prices : mapping of str to float, optional
            Prices by model, if no column has the costs.
        missing, answer
            As for :meth:`from_frame`.
        """
        used, rules = select_samples(cells, missing)
        table = cls.__new__(cls)
        given = score_arguments(used, prices) | {"missing": missing, "answer": answer}
        vars(table).update(given)
        parts, value_rules = check_arguments(table, used.place)
        return table._set_checked(**parts), rules + value_rules

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
        columns: Iterable[str] = (),
        categories: Iterable[str] = (),
        models: Iterable[str] | None = None,
        missing: str = "refuse",
        answer: Any = None,
        decimal: str | None = None,
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
        cost : str, list of str, or mapping of str to float, default="cost"
            Column of the cost of a query, columns of several kinds of cost, or {model: cost}. 0 is
            free. The first of several columns is the default kind, and all have their names.
        label, prediction : str, optional
            Columns of text. Predictions are read as labels, as in :class:`ScoreTable`. `correct`,
            or `label` and `prediction`, is required. `prediction` is enough if labels follow later.
            A missing prediction is an abstention.
        correct : str, optional
            Column of truth values (yes and no, true and false, correct and incorrect, 1 and 0), or
            of a grade in [0, 1].
        columns, categories : iterable of str, optional
            Further columns of numbers and of text, for fitted confidences.
        models : iterable of str, optional
            The models to read, in this order. It is needed if other columns of a wide table match
            the template.
        missing : {"refuse", "drop", "abstain", "wrong"}, default="refuse"
            What happens to rows that are missing or lack a label or correctness, and to empty
            confidences. "refuse" raises an error. "drop" drops their samples and counts them in
            `dropped`. "abstain" treats these rows as abstentions at the usual cost of the model.
            An answer without confidence is kept, and exits at no finite threshold. "wrong" is
            "abstain", and counts unreadable answers as wrong.
        answer : {None, "exact", "first word"}, regular expression or callable, default=None
            How further answers are read, as in :class:`ScoreTable`.
        decimal : {".", ","}, optional
            Sign before decimals in columns of text. By default, it is the one with which all cells
            of a column are numbers. A column that both signs fit is refused.
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
        validate_choice(decimal, [None, ".", ","], "value of decimal")
        named = {
            "sample": sample,
            "model": model,
            "prediction": prediction,
            "correct": correct,
            "confidence": confidence,
            "label": label,
        }
        roles, prices = roles_of(named, cost, columns, categories)
        opened = open_frame(frame, largest, encoding)
        with error_context(source_of(frame)):
            cells, rules = read_tidy(*opened, roles, models, decimal)
            table, cell_rules = cls.of_cells(cells, prices, missing, answer)
            refuse(rules + cell_rules)
        return table

    def to_frame(self) -> pd.DataFrame:
        """Return the table as :meth:`from_frame` reads it, a row per sample and model.

        The columns are sample, model, prediction, label or correct, confidence, and costs. Missing
        predictions, correctness and confidences are empty. Unreadable predictions are unchanged.
        """
        columns = {"sample": self.origin.sample_ids}
        columns["model"] = np.array(self.names, object)[:, np.newaxis]
        if self.predictions is not None:
            columns["prediction"] = self.predictions
        correct = np.asarray(self.correct)
        if self.labels is not None and self.has_predictions and correct.dtype == bool:
            columns["label"] = self.labels
        elif self.correct is not None:
            is_known = np.asarray(self.answered) | self.has_predictions
            columns["correct"] = np.where(is_known, correct, np.nan)
        columns["confidence"] = np.where(np.isneginf(self.confidence), np.nan, self.confidence)
        for kind, cost in self._costs.items():
            columns[kind] = cost.reshape(len(cost), -1)
        shape = self.confidence.shape
        rows = {name: np.broadcast_to(cells, shape).ravel() for name, cells in columns.items()}
        return pd.DataFrame(rows)

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
            counts = ~np.asarray(self.unreadable) | (self.missing == ACCEPTED)
            total = np.count_nonzero(counts, axis=1)
            table["top1"] = np.where(counts, self.correct, 0).sum(axis=1) / np.maximum(total, 1)
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

    def column(self, name: str, what: str) -> Array:
        """Return a further column of a model, float64 or text [n_samples]."""
        return self.columns[validate_choice(what, self.columns, "column")][self.row(name)]

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
        labels = self.read_as_labels(np.where(labels == "", NO_LABEL, labels))
        return replace(self, correct=None, labels=labels, sample_ids=self.origin)

    def read_as_labels(self, texts: Any) -> Array:
        """Return labels or further answers in the spelling of the labels of this table.

        They are read by the steps of the Notes. A text that no step reads is returned unchanged.
        """
        known = self.predictions if self.labels is None else self.labels
        return as_text(texts) if known is None else read_texts(as_text(texts), known, self.answer)

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

        arrays = ("correct", "confidence", "cost", "predictions", "answered", "unreadable")
        return copy.copy(self)._set_checked(
            self.origin.take(samples),
            **{name: cut(getattr(self, name)) for name in arrays},
            names=tuple(np.array(self.names, object)[models]),
            labels=None if self.labels is None else self.labels[samples],
            columns={name: cut(values) for name, values in self.columns.items()},
            further_costs={name: cut(values) for name, values in self.further_costs.items()},
        )
