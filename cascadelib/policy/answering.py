"""Answer a table by a small model, and by a reference for risky rows, with a certificate.

The certificate bounds the share of answers that differ from the reference's.
"""

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

BATCH = 256  # ids per call of ask
BY_CLASS = "isotonic_by_label"  # curves that step from 0 to 1 at the border of a class
REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class AnsweredTable:
    """The answers to a table and their certificate, returned by :func:`answer_table`.

    Parameters
    ----------
    answers : str array of shape (n_rows,)
        The reference's answer if the reference was called, else the small model's.
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
        paid = "" if np.isnan(self.cost) else f", at a cost of {number(self.cost)} in all"
        return (
            f"The reference answered {calls:,} of {len(self.asked):,} rows "
            f"({calls / len(self.asked):.1%}), {self.labels:,} of them drawn to certify{paid}. "
            f"{self.certificate}"
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
    """Answer a table by a small model, with as few reference calls as a guarantee needs.

    A uniform sample of the rows is labelled by the reference. It both orders the rows and certifies
    them. The riskiest rows are removed first, by class. When few enough of the remaining sampled
    rows are wrong, the remaining rows keep the small model's answer.

    Parameters
    ----------
    table : ScoreTable
        Predictions and confidences of the small model only. The ids of the rows are its sample ids,
        or row numbers as text if it has none.
    ask : callable
        From at most 256 ids to the reference's answers, one per id, in their order. The answers are
        compared with the predictions as text. It must not be async. Retry failed calls within it.
    epsilon : float
        Share of rows whose answer may differ from the reference's, in [0, 1).
    delta : float, default=0.05
        Probability that a guarantee is given but does not hold, in (0, 1).
    labels : int, optional
        Number of rows to draw. The default follows from a pilot sample of 200 calls.
    seed : int, default=0
        Seed of the random sample.
    price : float, optional
        Cost of one call, in the unit of the table's cost.
    bought : mutable mapping of str to str, optional
        Existing answers by id, which are not requested again. Each batch of new answers is written
        to it. With a ``shelve`` on disk, or a dict that survives an exception, the same call
        continues after an interruption. The exception has the mapping as its ``bought``.

    Returns
    -------
    AnsweredTable

    Raises
    ------
    ValueError
        If the table does not have exactly one model with predictions, ids repeat, a number is out
        of bounds, or answers of `ask` are missing, are not one per id, or equal the prediction only
        after normalizing (see ``normalize`` of :class:`ScoreTable`). Such answers stay in `bought`.

    See Also
    --------
    certify : Certify a cascade of two or more models.
    ladder : Choose candidate cascades from few labels.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> confidence = np.linspace(0, 1, 2000)
    >>> truth = np.where(confidence > 0.3, "yes", "no")
    >>> small = [["yes"] * 2000]
    >>> table = cl.ScoreTable(None, [confidence], [1], predictions=small)
    >>> def ask(ids):
    ...     return [truth[int(name)] for name in ids]
    >>> result = cl.answer_table(table, ask, epsilon=0.05)
    >>> bool((result.answers != truth).mean() <= 0.05)
    True
    >>> bool(result.asked.mean() < 0.6)
    True

    References
    ----------
    docs/guarantees.md has the argument. Shares that are left of a source, whatever the order:
    J. W. Tukey, 1947, "Non-parametric estimation II: statistically equivalent blocks and tolerance
    regions", Annals of Mathematical Statistics 18; D. A. S. Fraser, 1951, "Sequentially determined
    statistically equivalent blocks", the same 22.
    """
    confidence, predictions = read_single_model(table)
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
    prediction_of = dict(zip(ids.tolist(), predictions.tolist()))

    def read_answers(names: list[str]) -> np.ndarray:
        """Return the answers of some ids, spelled like the predictions."""
        answers = as_text([bought[name] for name in names])
        if table.normalize == "text":
            return normalized_texts(answers)
        if table.normalize is None and names:
            predicted = np.array([[prediction_of[name] for name in names]])
            texts = {*answers.tolist(), *predicted[0].tolist()}
            with about("the answers of ask"):
                refuse(
                    spelling_faults(
                        answers, predicted, texts, table.names, lambda _, row: f"id {names[row]!r}"
                    )
                )
        return answers

    def answers_at(rows: np.ndarray) -> np.ndarray:
        names = ids[rows].tolist()
        read_answers([name for name in names if name in bought])
        buy_answers(ask, names, bought, read_answers)
        return read_answers(names)

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
    premises = list_premises(table, peeled.labels, repeats)
    policy = policy_of(peeled, table, price, premises)
    keeps = policy.point.exit_rates[0]
    certificate = describe_guarantees(peeled, len(table), epsilon, delta, keeps, repeats)
    return AnsweredTable(
        answers.astype(str),
        asked,
        certificate,
        policy,
        premises_table(premises),
        peeled.labels,
        cost,
    )


def list_premises(table: ScoreTable, labels: int, repeats: bool) -> list[Premise]:
    """Return the premises of both guarantees. Only that for new rows needs independent rows."""
    copied = "rows repeat others, so there is no guarantee for new rows"
    status, written, _ = spelling_of(table)
    return [
        Premise("independent", *((VIOLATED, copied) if repeats else (NOT_VERIFIABLE, UNCLUSTERED))),
        Premise("spelling", status, written),
        Premise("labels complete", VERIFIED, f"the answers to all {labels} rows drawn are known"),
        Premise("reference complete", VERIFIED, "ask returned an answer for every id"),
    ]


def read_single_model(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences float64 [k] and predictions as text [k] of a single-model table."""
    predictions = getattr(table, "predictions", None)
    if predictions is None or len(table.names) != 1:
        raise ValueError(
            "answer_table needs a ScoreTable of one model, with its predictions: "
            "ScoreTable(None, confidence, cost, predictions=…), each [1, samples]"
        )
    if table.names[0] == REFERENCE:
        raise ValueError(
            f"the small model is called {REFERENCE!r}, the name of the reference. Rename it"
        )
    return table.confidence[0], predictions[0]


def buy_answers(
    ask: Callable, ids: list[str], bought: MutableMapping[str, str], check: Callable
) -> None:
    """Request the missing answers in batches, write them to ``bought``, and check each batch."""
    missing = [name for name in ids if name not in bought]
    for start in watched(range(0, len(missing), BATCH), "calling the reference"):
        batch = missing[start : start + BATCH]
        try:
            answers = validate_answers(ask(batch), batch)
            bought.update(zip(batch, answers, strict=True))
            check(batch)
        except BaseException as error:
            error.bought = bought  # type: ignore[attr-defined]
            raise


def validate_answers(answers: Any, ids: list[str]) -> list[str]:
    """Return answers as text. Raise ValueError unless there is one for each id."""
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
            f"ask returned no answer for id {ids[missing[0]]!r}. Retry within ask, or return "
            "a text such as 'unknown'"
        )
    return texts.tolist()


def policy_of(
    peeled: Peeled, table: ScoreTable, price: float | None, premises: Sequence[Premise]
) -> Policy:
    """Return the policy of the borders.

    Its fitted confidence is 0 up to the border of a class and 1 above it. The threshold is ½.
    """
    *borders, others = peeled.borders.tolist()
    curves = [step_curve(others, None)]
    for name, border in zip(peeled.classes, borders):
        curves.append(step_curve(border, label_digest(name)))
    small = table.names[0]
    fitted: dict[tuple[str, ...], Fitted] = {
        (small,): Fitted(BY_CLASS, (CONFIDENCE,), curves),
        (REFERENCE,): Fitted(BY_CLASS, (CONFIDENCE,), []),
    }
    exits = fitted[small,](*read_single_model(table)) >= 0.5
    keeps = float(exits.mean())
    method = Method(confidence=BY_CLASS, fitted=fitted, fitted_on=table.origin)
    point = Point(
        (small, REFERENCE),
        (0.5,),
        (keeps, 1 - keeps),
        cost=np.nan if price is None else float(table.cost.mean()) + price * (1 - keeps),
        method=method,
        cost_kind=table.default_cost,
        selected_on=table.origin,
        premises=tuple(map(asdict, premises)),
    )
    return Policy(point)


def step_curve(border: float, digest: str | None) -> dict[str, Any]:
    """Return a curve that is 0 up to a border and 1 above it."""
    if np.isinf(border):
        return {"digest": digest, "knots": [0.0], "values": [float(border < 0)]}
    above = float(np.nextafter(border, np.inf))
    return {"digest": digest, "knots": [border, above], "values": [0.0, 1.0]}


def describe_guarantees(
    peeled: Peeled, rows: int, epsilon: float, delta: float, keeps: float, repeats: bool
) -> str:
    """Return the two guarantees in words, each with probability 1 − δ.

    The second one is not given if rows repeat others.
    """
    likely = f"With probability at least {1 - delta:.4g}"
    if peeled.kept.any():
        table = (
            f"{likely} over the draw of the labels, at most {epsilon:.4g} of the {rows:,} answers "
            "differ from the reference's."
        )
    else:
        table = "The reference gave all answers, so none differs from the reference's."
    if keeps and repeats:
        source = (
            "There is no guarantee for new rows: rows of the table repeat others. They have equal "
            "answers and confidences more often than independent draws. Keep one row of each."
        )
    elif keeps:
        source = (
            f"{likely} over table and labels, the policy's answers differ from the reference's for "
            f"at most {epsilon:.4g} of new rows from the same source, if the rows of the table "
            f"are independent draws of it. The small model answers {keeps:.1%} of the table's rows."
        )
    else:
        source = "The policy calls the reference for every new row: there are too few labels."
    return f"{table} {source}"
