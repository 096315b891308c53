"""Goals of :func:`cascadelib.answer_table`, its results, and its guarantees in words."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..checks import brief, check_number, validate_choice
from ..guarantees.peeling import Peeled, peel_table
from ..guarantees.positives import peel_positives
from ..tables import number
from .policy import Policy

PROBABILITY = "probability"
MEAN = "mean"
SIMULATED = 9  # tables with simulated labels for a plan


@dataclass(frozen=True, eq=False)
class AnsweredTable:
    """The answers to a table and their certificate, returned by :func:`answer_table`.

    Parameters
    ----------
    answers : str array of shape (n_rows,)
        The reference's answer if the reference was called. Otherwise the small model's. With
        ``recall=``, such a row gets the answer of its side of the cut between the two queues.
    asked : bool array of shape (n_rows,)
        Whether the reference was called.
    certificate : str
        The guarantees for this table and for new rows.
    policy : Policy
        The small model, then "reference". A new row keeps the small model's answer if the
        confidence is above the threshold of its class.
    premises : DataFrame
        The premises of the guarantee: premise, status ("verified", "violated" or "not
        verifiable") and evidence. The policy file stores them as well.
    labels : int
        Number of calls for the random sample that certifies.
    cost : float
        Cost of the small model and of all calls, in the unit of the table, or nan without a price.

    See Also
    --------
    answer_table : Answer a table.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> table = cl.ScoreTable(None, [np.linspace(0, 1, 300)], [1], predictions=[["yes"] * 300])
    >>> result = cl.answer_table(table, lambda ids: ["yes"] * len(ids), epsilon=0.1)
    >>> isinstance(result, cl.policy.AnsweredTable), len(result.answers)
    (True, 300)
    """

    answers: np.ndarray
    asked: np.ndarray
    certificate: str
    policy: Policy
    premises: pd.DataFrame
    labels: int
    cost: float

    def __str__(self) -> str:
        calls = int(self.asked.sum())
        return (
            f"The reference answered {calls:,} of {len(self.asked):,} rows "
            f"({calls / len(self.asked):.1%}), {self.labels:,} of them drawn to certify"
            f"{describe_cost(self.cost)}. "
            f"{self.certificate}"
        )


@dataclass(frozen=True, eq=False)
class CallPlan:
    """The number of calls that :func:`answer_table` will probably make, returned by ``plan=True``.

    Parameters
    ----------
    calls : int
        The median over simulated tables.
    low, high : int
        The least and the largest number of calls among the simulated tables.
    rows : int
        Number of rows of the table.
    bought : int
        Calls of the pilot, which are part of ``calls``. The real run with the same ``bought=`` and
        ``seed=`` does not repeat them.
    cost : float
        Cost of the small model and of ``calls``, or nan without a price.

    See Also
    --------
    answer_table : Answer a table.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> table = cl.ScoreTable(None, [np.linspace(0, 1, 900)], [1], predictions=[["yes"] * 900])
    >>> plan = cl.answer_table(table, lambda ids: ["yes"] * len(ids), epsilon=0.1, plan=True)
    >>> plan.bought, plan.calls < plan.rows
    (200, True)
    """

    calls: int
    low: int
    high: int
    rows: int
    bought: int
    cost: float

    def __str__(self) -> str:
        return (
            f"The reference will probably answer {self.calls:,} of {self.rows:,} rows "
            f"({self.calls / self.rows:.1%}){describe_cost(self.cost)}: {self.low:,} to "
            f"{self.high:,} in {SIMULATED} simulations. {self.bought:,} of these calls "
            "are already made."
        )


def describe_cost(cost: float) -> str:
    """Return the cost in words, or nothing if it is unknown."""
    return "" if np.isnan(cost) else f", at a cost of {number(cost)} in all"


@dataclass(frozen=True, eq=False)
class Goal:
    """The requested guarantee: the share of wrong answers, or recall and precision of a class.

    ``delta`` is None if the guarantee is about the mean.
    """

    delta: float | None
    epsilon: float | None = None
    positive: str | None = None
    recall: float = 0.0
    precision: float = 0.0

    def is_wrong(self, answers: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """Return for which rows the small model is wrong, bool [rows]."""
        if self.positive is None:
            return answers != predictions
        return (answers == self.positive) != (predictions == self.positive)

    def peel(
        self,
        confidence: np.ndarray,
        predictions: np.ndarray,
        wrong_at: Callable[[np.ndarray], np.ndarray],
        labels: int | None,
        seed: int,
    ) -> tuple[Peeled, np.ndarray]:
        """Return the rows that need no call, and their answers."""
        if self.epsilon is not None:
            found = peel_table(
                confidence, predictions, wrong_at, self.epsilon, self.delta, labels, seed
            )
            return found, predictions
        assert self.positive is not None and self.delta is not None
        targets = self.positive, self.recall, self.precision, self.delta
        return peel_positives(confidence, predictions, wrong_at, *targets, seed)

    def guarantee(self, over: str, answers: str) -> str:
        """Return the guarantee about ``answers`` in words. ``over`` names what is random."""
        if self.epsilon is not None:
            bound = f"at most {self.epsilon:.4g} of {answers} differ from the reference's"
        else:
            bound = (
                f"{answers} have a recall of at least {self.recall:.4g} and a precision of at "
                f"least {self.precision:.4g} for {self.positive!r}, relative to the reference's"
            )
        if self.delta is None:
            return f"In the mean over {over}, {bound}"
        return f"With probability at least {1 - self.delta:.4g} over {over}, {bound}"


def read_goal(
    predictions: np.ndarray,
    epsilon: float | None,
    recall: float | None,
    precision: float | None,
    guarantee: str,
    delta: float,
    positive: str | None,
) -> Goal:
    """Return the requested guarantee, or raise ValueError if the arguments do not state one."""
    validate_choice(guarantee, (PROBABILITY, MEAN), "guarantee")
    inside = (np.nextafter(0, 1), np.nextafter(1, 0))
    delta = check_number(delta, "delta", "a number between 0 and 1", *inside)
    level = None if guarantee == MEAN else delta
    targets = (recall, precision, positive)
    if epsilon is not None and targets == (None, None, None):
        form = "a number from 0 to below 1"
        return Goal(level, check_number(epsilon, "epsilon", form, 0, inside[1]))
    if epsilon is not None or None in (recall, precision):
        raise ValueError(
            "give epsilon=, or both recall= and precision= with positive=. Recall alone, "
            "or precision alone, is reached by equal answers to all rows, without a call"
        )
    recall = check_number(recall, "recall", "a number between 0 and 1", *inside)
    precision = check_number(precision, "precision", "a number between 0 and 1", *inside)
    if level is None:
        raise ValueError("guarantee='mean' needs epsilon=: it bounds a share of wrong answers")
    classes = np.unique(predictions).tolist()
    if positive is None:
        raise ValueError(
            "recall= and precision= need positive=, the class that they refer to: one of "
            f"{brief(classes)}"
        )
    return Goal(
        level, None, validate_choice(str(positive), classes, "positive class"), recall, precision
    )


def describe_guarantees(peeled: Peeled, goal: Goal, keeps: float, dependent: str) -> str:
    """Return the guarantees for the table, and for new rows unless ``dependent`` has a reason."""
    table = "The reference gave all answers, so none differs from the reference's."
    if peeled.kept.any():
        table = f"{goal.guarantee('the draw of the labels', f'the {len(peeled.kept):,} answers')}."
        if goal.delta is None:
            table += " About half of the draws have a larger share."
    if not keeps:
        return f"{table} The policy calls the reference for all new rows: there are too few labels."
    if dependent:
        return f"{table} There is no guarantee for new rows: {dependent}."
    source = goal.guarantee(
        "table and labels", "the policy's answers to new rows from the same source"
    )
    return (
        f"{table} {source}, if the rows of the table are independent draws of it. The policy "
        f"would keep the small model's answer for {keeps:.1%} of these rows."
    )
