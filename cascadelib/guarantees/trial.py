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
from ..scoring import F1, f1, score_of
from .case import Case, answered_by
from .p_values import cluster_means, cost_p_value, f1_p_value, loss_p_value


@dataclass(frozen=True, eq=False)
class Trial:
    """The test of each point of a case.

    Parameters
    ----------
    case : Case
    epsilon, budget, max_price : float or None
    delta : float
        The level of all tests together.
    simultaneous : bool
        Whether points are tested by Holm's method instead of in sequence.
    seed : int
        Seed of the order of samples, if it has an effect (:attr:`is_ordered`).
    """

    case: Case
    epsilon: float | None
    budget: float | None
    max_price: float | None
    delta: float
    simultaneous: bool
    seed: int

    @property
    def is_ordered(self) -> bool:
        """Whether p-values depend on the order of the samples: those of bets."""
        case = self.case
        is_graded = self.positive is not None or self.correct.dtype.kind == "f"
        bets_on_cost = [len(run.costs) > 2 or any(map(np.ndim, run.costs)) for run in case.runs]
        return (
            case.clusters is not None
            or (self.epsilon is not None and is_graded)
            or (self.budget is not None and any(bets_on_cost))
        )

    @property
    def level(self) -> float:
        """The level of the first test."""
        return self.delta / len(self.case.runs) if self.simultaneous else self.delta

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
        """The largest cost of an input, None without a budget or if costs are equal for all inputs.

        Raises
        ------
        ValueError
            If a sample costs more than ``max_price``.
        """
        by_sample = [run.costs for run in self.case.runs if any(map(np.ndim, run.costs))]
        if self.budget is None or not by_sample:
            return None
        highest = max(float(np.max(sum(costs))) for costs in by_sample)
        if self.max_price is not None and highest > self.max_price:
            raise ValueError(
                f"max_price={self.max_price:g}, but all stages together cost {highest:g} for one "
                "of the certification samples: max_price must be an upper bound for any input"
            )
        return highest if self.max_price is None else self.max_price

    def table(self) -> pd.DataFrame:
        """Return a row per tested point. Tests in sequence stop at the first failure."""
        rows = []
        for run, differs in zip(self.case.runs, self.case.differs):
            row: dict[str, Any] = {
                "models": run.point.models,
                "thresholds": run.point.thresholds,
                "cost": run.point.cost,
                "cost_here": self.mean(run.sample_costs),
            }
            p_values: dict[Any, float] = {}
            if self.epsilon is not None:
                losses = self.losses(run)
                row["accuracy_loss"] = self.mean(losses)
                if self.positive is not None:
                    of_reference = f1(self.correct, self.positive)
                    row["accuracy_loss"] = of_reference - f1(run.correct, self.positive)
                row["lost"] = self.mean(np.maximum(losses, 0))
                row["gained"] = self.mean(np.maximum(-losses, 0))
                row["unlabelled"] = self.mean(differs & ~self.case.is_known)
                for name, part in self.case.parts.items():
                    p_values[name] = self.p_value(run, losses, differs, part)
                if None not in p_values:
                    row["group"] = max(p_values, key=p_values.__getitem__)
            if self.budget is not None:
                p_values["cost"] = cost_p_value(
                    run.exit_stage,
                    run.costs,
                    self.budget,
                    self.level,
                    self.max_price,
                    self.case.clusters,
                    self.seed,
                    self.case.frame,
                )
            row["p_value"] = max(p_values.values())
            rows.append(row)
            if not self.simultaneous and row["p_value"] > self.delta:
                break
        table = pd.DataFrame(rows)
        table["certified"] = rejected(table["p_value"], self.delta, self.simultaneous)
        return table

    def losses(self, run: Run) -> Array:
        """Return the loss of each sample relative to the reference, [k].

        It is 0 if the cascade's answer is the missing answer of the reference.
        """
        dtype = np.result_type(self.correct, run.correct, np.int8)
        losses = self.correct.astype(dtype) - run.correct
        losses[self.case.absent & answered_by(run, self.case.reference)] = 0
        return losses

    def mean(self, values: Array) -> float:
        """Return the mean of values [k] over samples, or over the means of clusters."""
        return float(cluster_means(values, self.case.clusters).mean())

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
                self.level,
                self.seed,
                self.case.frame,
            )
        clusters = self.case.clusters
        return loss_p_value(
            losses[part],
            differs[part],
            self.case.is_known[part],
            self.case.draw is not None,
            epsilon,
            self.level,
            None if clusters is None else clusters[part],
            self.seed,
            self.case.frame,
        )


def is_alone(point: Point, reference: str) -> bool:
    """Return whether a point is the reference. With a custom ensemble its answers may differ."""
    ensemble = getattr(point.method, "ensemble", None)
    return point.models == (reference,) and not callable(ensemble)


def rejected(p_values: pd.Series, delta: float, simultaneous: bool) -> pd.Series:
    """Return whether each null hypothesis is rejected, in the order of rising p-values.

    A hypothesis is rejected if its p-value and all smaller ones are at most their levels. The
    levels are delta, or those of Holm's method if ``simultaneous``.
    """
    rising = p_values.sort_values()
    divisors = len(rising) - np.arange(len(rising)) if simultaneous else 1
    return pd.Series(np.logical_and.accumulate(rising * divisors <= delta), rising.index)
