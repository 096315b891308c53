"""ScoreTable: scores of models that we never see (routing logs, an API's confidences, another framework)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from ..checks import known, reals, unmasked
from ..labels import Labels, chosen_rows
from .protocol import Stage


def _refuse(names, rows, what):
    """Raise ValueError naming the models (and first sample) where the mask ``rows`` [M] or [M, k] is true."""
    if rows.any():
        at = [(name, row) for name, row in zip(names, rows, strict=True) if row.any()]
        where = [f"{name!r}" + (f" (sample {int(np.argmax(row))})" if row.ndim else "") for name, row in at]
        raise ValueError(f"{what} for {', '.join(where)}")


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """What M models scored on k samples.

    correct: bool [M, k], or a graded score in [0, 1]. confidence: float [M, k], higher = surer (±inf allowed, nan
    not). cost: positive float [M], or [M, k] where it differs by sample. names: M distinct names, by default
    "model 0" … Rows stay in the order given; :attr:`models` and :meth:`costs` go cheapest first; :meth:`row` finds
    a model's row. sample_ids [k]: what tells samples from those of other tables, for :func:`cascadelib.certify`;
    distinct, or None where it is unknown. Raises ValueError naming the argument and the model that is wrong.
    """

    has_outputs: ClassVar[bool] = False
    path: ClassVar[None] = None

    correct: np.ndarray
    confidence: np.ndarray
    cost: np.ndarray
    names: tuple[str, ...] = ()
    sample_ids: np.ndarray | Labels | None = None
    origin: Labels = field(init=False, repr=False)

    def __post_init__(self):
        correct = np.array(unmasked(self.correct, "correct"))
        correct = correct if correct.dtype == bool else reals(correct, "correct")
        confidence, cost = reals(self.confidence, "confidence").copy(), reals(self.cost, "cost").copy()
        if correct.ndim != 2 or not correct.size:
            raise ValueError(f"correct must be [models, samples] with at least one of each, not {correct.shape}")
        named = self.names is not None and len(self.names)
        names = tuple(map(str, self.names)) if named else tuple(f"model {i}" for i in range(len(correct)))
        if len(names) != len(correct) or len(set(names)) != len(names):
            raise ValueError(f"names must be {len(correct)} distinct names, not {names}")
        if confidence.shape != correct.shape:
            raise ValueError(f"confidence has shape {confidence.shape}, correct {correct.shape}; they must agree")
        if cost.shape not in ((len(correct),), correct.shape):
            turned = cost.shape == (correct.shape[1],) and ": rows are models; transpose correct and confidence"
            wanted = f"[{len(correct)}] or {list(correct.shape)}, not {list(cost.shape)}"
            raise ValueError(f"cost must be {wanted}{turned or ''}")
        _refuse(names, ~((correct >= 0) & (correct <= 1)), "correct must be bool or lie in [0, 1]; it does not")
        _refuse(names, np.isnan(confidence), "confidence is nan")
        _refuse(names, ~(np.isfinite(cost) & (cost > 0)), "cost must be positive numbers; it is not")
        for kind, value in (("correct", correct), ("confidence", confidence), ("cost", cost)):
            value.flags.writeable = False
            object.__setattr__(self, kind, value)
        ids, count = self.sample_ids, correct.shape[1]
        origin = ids if isinstance(ids, Labels) else Labels.checked(np.zeros(count, np.int64), ids)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "origin", origin)
        object.__setattr__(self, "sample_ids", origin.sample_ids if origin.given else None)

    def __len__(self):
        """Number of samples k."""
        return self.correct.shape[1]

    def row(self, name: str) -> int:
        """Row of the model ``name``."""
        return self.names.index(known(name, self.names, "model"))

    @property
    def models(self) -> pd.DataFrame:
        """A row a model, cheapest first: top1 (mean of correct) and cost (mean over samples where it is [M, k])."""
        cost = self.cost if self.cost.ndim == 1 else self.cost.mean(1)
        index = pd.Index(self.names, name="model", dtype=object)
        return pd.DataFrame({"top1": self.correct.mean(1), "cost": cost}, index).sort_values("cost", kind="stable")

    def costs(self, kind: str = "cost") -> np.ndarray:
        """Mean cost a sample of each model, float64 [M], in the order of :attr:`models`; its only kind is "cost"."""
        return self.models[known(kind, ["cost"], "cost")].to_numpy()

    def sample_costs(self, kind: str = "cost") -> np.ndarray:
        """The same as they were given, whatever the kind: [M], or [M, k] where they differ by sample."""
        return self.cost[[self.row(name) for name in self.models.index]]

    def outcome(self, names: list[str], method: None = None, score: str = "top1") -> Stage:
        """The stage function of models ``names``: what the last of a prefix was given, whatever came before it."""
        rows = [self.row(name) for name in names]
        return lambda prefix: (self.correct[rows[prefix[-1]]], self.confidence[rows[prefix[-1]]])

    def positives(self) -> np.ndarray:
        """Refused with ValueError: the table knows who is right, but not of which class."""
        raise ValueError("F1 needs the classes of the samples: use a LogitStore, or score='top1'")

    def take(self, indices: Any) -> "ScoreTable":
        """The same on some samples: indices (repeats allowed), a bool mask [k] or a slice."""
        rows = chosen_rows(indices, len(self))
        cost = self.cost if self.cost.ndim == 1 else self.cost[:, rows]
        return ScoreTable(self.correct[:, rows], self.confidence[:, rows], cost, self.names, self.origin.take(rows))

    def select(self, names: str | Iterable[str]) -> "ScoreTable":
        """The same with some of its models, in the order of the table."""
        names = [names] if isinstance(names, str) else names
        rows = sorted({self.row(name) for name in names})
        chosen = tuple(self.names[i] for i in rows)
        return ScoreTable(self.correct[rows], self.confidence[rows], self.cost[rows], chosen, self.origin)
