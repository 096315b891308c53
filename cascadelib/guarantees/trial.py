"""The tests of a certificate, point by point."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..evaluation.evaluation import correct_alone
from ..evaluation.point import Point
from ..evaluation.run import Run
from ..stages import F1, f1, score_of
from .case import Case, answered_by
from .p_values import cost_p_value, f1_p_value, loss_p_value


@dataclass(frozen=True, eq=False)
class Trial:
    """The test of each point of a case.

    Parameters
    ----------
    case : Case
    epsilon, budget : float or None
    delta : float
        The level of all tests together.
    seed : int
        Seed of the order of samples, if it has an effect (:attr:`is_ordered`).
    """

    case: Case
    epsilon: float | None
    budget: float | None
    delta: float
    seed: int

    @property
    def is_ordered(self) -> bool:
        """Whether p-values depend on the order of the samples: those of bets."""
        case = self.case
        is_graded = self.positive is not None or self.correct.dtype.kind == "f"
        bets_on_cost = [len(run.costs) > 2 or any(map(np.ndim, run.costs)) for run in case.runs]
        return (self.epsilon is not None and is_graded) or (
            self.budget is not None and any(bets_on_cost)
        )

    @cached_property
    def correct(self) -> Array:
        """Whether the reference is correct, [k]. A missing answer counts as correct, the worst case
        for a cascade."""
        correct = correct_alone(self.case.store, self.case.reference, self.case.score)
        return np.where(self.case.absent, correct.dtype.type(1), correct)

    @cached_property
    def positive(self) -> Array | None:
        """The samples of class 1 under F1, bool [k]."""
        return self.case.store.positives() if self.case.score == F1 else None

    @property
    def score_in_words(self) -> str:
        """The score that a cascade may lose, with the positive class of F1."""
        title = score_of(self.case.score).title
        if self.positive is not None:
            return f"{title} of class {str((self.case.origin.classes or (0, 1))[1])!r}"
        is_graded = self.case.score == "top1" and self.correct.dtype.kind == "f"
        return "mean score" if is_graded else title

    @property
    def largest_price(self) -> float | None:
        """The largest cost of an input, None without a budget or if all inputs cost the same."""
        by_sample = [run.costs for run in self.case.runs if any(map(np.ndim, run.costs))]
        if self.budget is None or not by_sample:
            return None
        return max(float(np.max(sum(costs))) for costs in by_sample)

    def table(self) -> pd.DataFrame:
        """Return a row per tested point. Tests in sequence stop at the first failure."""
        rows = []
        for run, differs in zip(self.case.runs, self.case.differs):
            row: dict[str, Any] = {
                "models": run.point.models,
                "thresholds": run.point.thresholds,
                "cost": run.point.cost,
                "cost_here": float(np.mean(run.sample_costs)),
            }
            p_values: dict[Any, float] = {}
            if self.epsilon is not None:
                losses = self.losses(run)
                row["accuracy_loss"] = float(losses.mean())
                if self.positive is not None:
                    of_reference = f1(self.correct, self.positive)
                    row["accuracy_loss"] = of_reference - f1(run.correct, self.positive)
                row["lost"] = float(np.maximum(losses, 0).mean())
                row["gained"] = float(np.maximum(-losses, 0).mean())
                row["unlabelled"] = float((differs & ~self.case.is_known).mean())
                for name, part in self.case.parts.items():
                    p_values[name] = self.p_value(run, losses, differs, part)
                if None not in p_values:
                    row["group"] = max(p_values, key=p_values.__getitem__)
            if self.budget is not None:
                p_values["cost"] = cost_p_value(
                    run.exit_stage,
                    run.costs,
                    self.budget,
                    self.delta,
                    self.seed,
                    self.case.frame,
                )
            row["p_value"] = max(p_values.values())
            rows.append(row)
            if row["p_value"] > self.delta:
                break
        table = pd.DataFrame(rows)
        table["certified"] = table["p_value"] <= self.delta
        return table

    def losses(self, run: Run) -> Array:
        """Return the loss of each sample relative to the reference, [k].

        It is 0 if the cascade's answer is the missing answer of the reference.
        """
        dtype = np.result_type(self.correct, run.correct, np.int8)
        losses = self.correct.astype(dtype) - run.correct
        losses[self.case.absent & answered_by(run, self.case.reference)] = 0
        return losses

    def p_value(self, run: Run, losses: Array, differs: Array, part: Array) -> float:
        """Return the p-value of a loss of ε or more on the samples ``part``, bool [k].

        differs, bool [k], is True for samples whose labels can matter.
        """
        epsilon: Any = self.epsilon
        if is_alone(run.point, self.case.reference):
            return 0.0
        if self.positive is not None:
            correct = run.correct[part]
            return f1_p_value(
                self.correct[part],
                correct,
                self.positive[part],
                epsilon,
                self.delta,
                self.seed,
                self.case.frame,
            )
        return loss_p_value(
            losses[part],
            differs[part],
            self.case.is_known[part],
            epsilon,
            self.delta,
            self.seed,
            self.case.frame,
        )


def is_alone(point: Point, reference: str) -> bool:
    """Return whether a point is the reference. With a custom ensemble its answers may differ."""
    ensemble = getattr(point.method, "ensemble", None)
    return point.models == (reference,) and not callable(ensemble)
