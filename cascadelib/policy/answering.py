"""A table of rows answered by a small model, and by calls of a reference where that is too risky:
how many answers differ is certified."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..checks import about, check_count, check_number
from ..evaluation.point import Point
from ..front_end import watched
from ..guarantees.peeling import Peeled, peel_table
from ..guarantees.premises import (
    NOT_VERIFIABLE,
    UNCLUSTERED,
    VERIFIED,
    VIOLATED,
    Premise,
    premises_table,
    spelling_of,
)
from ..guarantees.repeats import copied_whole, number_rows, refuse_repeated_ids
from ..labels import aligned, as_text
from ..methods.fitted import CONFIDENCE, Fitted, label_digest
from ..methods.method import Method
from ..store.score_table import ScoreTable
from ..store.tables.faults import refuse
from ..store.tables.spelling import normalized_texts, spelling_faults
from ..tables import number
from .policy import Policy

BATCH = 256  # ids in one call of ask
BY_CLASS = "isotonic_by_label"  # curves that step from 0 to 1 at a class's border
REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class AnsweredTable:
    """What :func:`answer_table` returns. As text: calls, cost, and what is promised.

    Parameters
    ----------
    answers : str [k]
        The reference's where it was asked, else the small model's.
    asked : bool [k]
        Where the reference was asked.
    certificate : str
        What is promised, in words: of this table, and of new rows.
    policy : Policy
        The small model, then "reference": new rows keep the small model's answer above a threshold
        of its class.
    premises : DataFrame
        The premises of the guarantee: premise, status ("verified", "violated" or "not
        verifiable") and evidence. The file of the policy has them, too.
    labels : int
        How many of the calls certify, drawn at random; the others follow from them.
    cost : float
        Of the small model and of all calls, in the unit of the table; nan without ``price``.
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
        paid = "" if np.isnan(self.cost) else f", at a cost of {number(self.cost)} in all"
        return (
            f"{calls:,} of {len(self.asked):,} rows ({calls / len(self.asked):.1%}) were asked of "
            f"the reference, {self.labels:,} of them drawn to certify{paid}. {self.certificate}"
        )


def answer_table(
    table: ScoreTable,
    ask: Callable[[list[str]], Sequence],
    epsilon: float,
    delta: float = 0.05,
    labels: int | None = None,
    seed: int = 0,
    *,
    price: float | None = None,
    bought: MutableMapping[str, str] | None = None,
) -> AnsweredTable:
    """Answer a table with a small model, and with as few calls of a reference as a promise takes.

    Labels of a uniform draw both order the rows and certify them. The riskiest rows leave, those of
    the class whose border is riskiest first, by a fit on labels of rows that have left; where few
    enough of the drawn rows that are left are wrong, the others keep the small model's answer.

    Parameters
    ----------
    table : ScoreTable
        The small model alone: its predictions and confidences; the rows' ids are its sample ids
        (row numbers as text, where it has none).
    ask : callable
        From at most 256 ids to the reference's answers, one each in their order, compared with
        predictions as text; not async. Whoever calls a service retries within the function.
    epsilon : float
        The share of rows whose answer may differ from the reference's, in [0, 1).
    delta : float
        The probability that a promise is given and broken, in (0, 1).
    labels : int, optional
        How many rows certify; by default as many as a pilot of 200 calls for.
    seed : int
        Of the draw.
    price : float, optional
        Of one call, in the unit of the table's cost.
    bought : mutable mapping of str to str, optional
        Answers by id: those that are there are not asked for, and each batch is written into it as
        it is bought. With a dict that outlives an exception, or a ``shelve`` on disk, the same call
        goes on where it was interrupted; the exception has the mapping as its ``bought``, too.

    Returns
    -------
    AnsweredTable

    Raises
    ------
    ValueError
        For a table of other than one model with predictions, ids that repeat, a number out of its
        bounds, and answers of ``ask`` that are missing, not one per id, or equal to the prediction
        only after normalizing (see ``normalize`` of :class:`ScoreTable`); they stay bought.

    References
    ----------
    docs/guarantees.md has the argument. Shares that are left of a source, whatever the order:
    J. W. Tukey, 1947, "Non-parametric estimation II: statistically equivalent blocks and tolerance
    regions", Annals of Mathematical Statistics 18; D. A. S. Fraser, 1951, "Sequentially determined
    statistically equivalent blocks", the same 22.
    """
    confidence, predictions = answers_of_only_model(table)
    refuse_repeated_ids(table)
    epsilon = check_number(epsilon, "epsilon", "a number from 0 to below 1", 0, np.nextafter(1, 0))
    delta = check_number(
        delta, "delta", "a number between 0 and 1", np.nextafter(0, 1), np.nextafter(1, 0)
    )
    if labels is not None:
        labels = check_count(labels, "labels", 1, len(table))
    if price is not None:
        price = check_number(price, "price", "a number, 0 or more", 0, np.finfo(float).max)
    ids = table.origin.sample_ids
    bought = {} if bought is None else bought
    said = dict(zip(ids.tolist(), predictions.tolist()))

    def spelled(names: list[str]) -> np.ndarray:
        """The answers of some ids as they are compared with predictions."""
        answers = as_text([bought[name] for name in names])
        if table.normalize == "text":
            return normalized_texts(answers)
        if table.normalize is None and names:
            own = np.array([[said[name] for name in names]])
            texts = {*answers.tolist(), *own[0].tolist()}
            with about("the answers of ask"):
                refuse(
                    spelling_faults(
                        answers, own, texts, table.names, lambda _, row: f"id {names[row]!r}"
                    )
                )
        return answers

    def answers_at(rows: np.ndarray) -> np.ndarray:
        names = ids[rows].tolist()
        spelled([name for name in names if name in bought])
        buy(ask, names, bought, spelled)
        return spelled(names)

    def wrong_at(rows: np.ndarray) -> np.ndarray:
        return answers_at(rows) != predictions[rows]

    peeled = peel_table(confidence, predictions, wrong_at, epsilon, delta, labels, seed)
    asked = ~peeled.kept
    answers = predictions.astype(object)
    answers[asked] = answers_at(np.flatnonzero(asked))
    cost = np.nan
    if price is not None:
        cost = float(table.cost.mean() * len(table) + price * asked.sum())
    repeats = copied_whole(number_rows([confidence, predictions]))
    premises = premises_of_answers(table, peeled.labels, repeats)
    policy = policy_of(peeled, table, price, premises)
    keeps = policy.point.exit_rates[0]
    certificate = promised(peeled, len(table), epsilon, delta, keeps, repeats)
    return AnsweredTable(
        answers.astype(str),
        asked,
        certificate,
        policy,
        premises_table(premises),
        peeled.labels,
        cost,
    )


def premises_of_answers(table: ScoreTable, labels: int, repeats: bool) -> list[Premise]:
    """The premises of both guarantees; that of this table needs no independent rows."""
    copied = "rows repeat others, so that nothing is guaranteed of new rows"
    status, written, _ = spelling_of(table)
    return [
        Premise("independent", *((VIOLATED, copied) if repeats else (NOT_VERIFIABLE, UNCLUSTERED))),
        Premise("spelling", status, written),
        Premise("labels complete", VERIFIED, f"the answers to all {labels} rows drawn are known"),
        Premise("reference complete", VERIFIED, "ask returned an answer for every id"),
    ]


def answers_of_only_model(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Confidences float64 [k] and predictions as text [k] of the one model of a table."""
    predictions = getattr(table, "predictions", None)
    if predictions is None or len(table.names) != 1:
        raise ValueError(
            "answer_table needs a ScoreTable of the small model alone, with its predictions: "
            "ScoreTable(None, confidence, cost, predictions=…), each [1, samples]"
        )
    if table.names[0] == REFERENCE:
        raise ValueError(f"the small model is called {REFERENCE!r}, as is what is asked: rename it")
    return table.confidence[0], predictions[0]


def buy(ask: Callable, ids: list[str], bought: MutableMapping[str, str], check: Callable) -> None:
    """Ask for the answers that are not ``bought`` yet, and write them there batch by batch, where
    ``check`` reads those of some ids."""
    missing = [name for name in ids if name not in bought]
    for start in watched(range(0, len(missing), BATCH), "asking the reference"):
        batch = missing[start : start + BATCH]
        try:
            answers = checked_answers(ask(batch), batch)
            bought.update(zip(batch, answers, strict=True))
            check(batch)
        except BaseException as error:
            error.bought = bought  # type: ignore[attr-defined]
            raise


def checked_answers(answers: Any, ids: list[str]) -> list[str]:
    """Answers as text, one for each id, none of them missing."""
    answers = aligned(answers, "the answers of ask", ids)
    with about(
        "ask must return a list, one answer per id, in their order, and must not be async; for "
        f"{len(ids)} ids it returned a {type(answers).__name__}"
    ):
        texts = as_text(answers)
        if texts.shape != (len(ids),):
            raise ValueError(f"of shape {list(texts.shape)}")
    missing = np.flatnonzero(texts == "")
    if len(missing):
        raise ValueError(
            f"ask returned no answer for id {ids[missing[0]]!r}: retry within ask, or give a text "
            "that says so"
        )
    return texts.tolist()


def policy_of(
    peeled: Peeled, table: ScoreTable, price: float | None, premises: Sequence[Premise]
) -> Policy:
    """The policy of the borders: a fitted confidence that is 0 up to a class's border and 1 above
    it, with the threshold ½."""
    *borders, others = peeled.borders.tolist()
    curves = [step_at(others, None)]
    for name, border in zip(peeled.classes, borders):
        curves.append(step_at(border, label_digest(name)))
    small = table.names[0]
    fitted: dict[tuple[str, ...], Fitted] = {
        (small,): Fitted(BY_CLASS, (CONFIDENCE,), curves),
        (REFERENCE,): Fitted(BY_CLASS, (CONFIDENCE,), []),
    }
    kept = fitted[small,](*answers_of_only_model(table)) >= 0.5
    keeps = float(kept.mean())
    method = Method(confidence=BY_CLASS, fitted=fitted, fitted_on=table.origin)
    point = Point(
        (small, REFERENCE),
        (0.5,),
        (keeps, 1 - keeps),
        cost=np.nan if price is None else float(table.cost.mean()) + price * (1 - keeps),
        method=method,
        cost_kind=table.default_cost,
        found_on=table.origin,
        premises=tuple(map(asdict, premises)),
    )
    return Policy(point)


def step_at(border: float, digest: str | None) -> dict[str, Any]:
    """A curve that is 0 up to a border and 1 above it."""
    if np.isinf(border):
        return {"digest": digest, "knots": [0.0], "values": [float(border < 0)]}
    above = float(np.nextafter(border, np.inf))
    return {"digest": digest, "knots": [border, above], "values": [0.0, 1.0]}


def promised(
    peeled: Peeled, rows: int, epsilon: float, delta: float, keeps: float, repeats: bool
) -> str:
    """The two promises in words, each with probability 1 − δ; the second not where rows are
    repeats."""
    likely = f"With probability at least {1 - delta:.4g}"
    if peeled.kept.any():
        table = (
            f"{likely} over the draw of the labels, at most {epsilon:.4g} of the {rows:,} answers "
            "differ from the reference's."
        )
    else:
        table = "No answer is the small model's, so that none differs from the reference's."
    if keeps and repeats:
        source = (
            "Of new rows nothing is promised: rows of the table repeat others, with equal answers "
            "and confidences more often than independent draws have; keep one row of each."
        )
    elif keeps:
        source = (
            f"{likely} over table and labels, the policy's answers differ from the reference's for "
            f"at most {epsilon:.4g} of new rows from the same source, if the rows of the table "
            f"are independent draws of it; it keeps {keeps:.1%} of the table's."
        )
    else:
        source = "The policy asks the reference about every new row: too few labels for more."
    return f"{table} {source}"
