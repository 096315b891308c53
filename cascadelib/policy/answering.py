"""Answer a table by a small model, and by a reference for risky rows, with a certificate.

The certificate bounds the share of answers that differ from the reference's.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import check_count, check_number, error_context
from ..evaluation.guarantee import AGREEMENT, UNCHANGED, Guarantee, draw_seed
from ..evaluation.point import Point, bind
from ..front_end import watched
from ..guarantees.peeling import Peeled, peel_table
from ..guarantees.refusals import refuse_repeats
from ..labels import align_values, as_text
from ..methods.fitted import BY_LABEL, Fits, Fitted, IsotonicCurve, label_digest
from ..methods.method import Method
from ..store.score_table import ScoreTable
from .policy import Policy

BATCH = 256  # ids per call of ask
REFERENCE = "reference"


@dataclass(frozen=True, eq=False)
class AnsweredTable:
    """The answers to a table and their certificate, returned by :func:`answer_table`.

    Parameters
    ----------
    answers : str array of shape (n_rows,)
        The reference's answer if the reference was called. Otherwise the small model's.
    asked : bool array of shape (n_rows,)
        Whether the reference was called.
    certificate : str
        The guarantees for this table and for new rows.
    policy : Policy
        The small model, then "reference". A new row keeps the small model's answer if the
        confidence is above the threshold of its class.
    labels : int
        Number of calls for the random sample that certifies.
    seed : int
        Seed of the random sample. With this seed, :func:`answer_table` draws the same rows again.

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
    labels: int
    seed: int

    def __str__(self) -> str:
        calls = int(self.asked.sum())
        return (
            f"The reference answered {calls:,} of {len(self.asked):,} rows "
            f"({calls / len(self.asked):.1%}), {self.labels:,} of them drawn to certify. "
            f"{self.certificate}"
        )


def answer_table(
    table: ScoreTable,
    ask: Callable[[list[str]], Sequence],
    epsilon: float,
    *,
    delta: float = 0.05,
    labels: int | None = None,
    groups: Any = None,
    bought: MutableMapping[str, str] | None = None,
    seed: int | None = None,
) -> AnsweredTable:
    """Answer a table by a small model, with as few reference calls as a guarantee needs.

    The reference labels a uniform sample of the rows. Then rows are removed in chunks, each from
    the predicted class whose next rows are riskiest. The removal stops when few enough of the
    remaining labelled rows are wrong. The remaining rows keep the small model's answer. The
    reference answers the removed rows.

    Parameters
    ----------
    table : ScoreTable
        Predictions and confidences of the small model only. The ids of the rows are its sample ids,
        or row numbers as text if it has none.
    ask : callable
        Function from a list of at most 256 ids to the reference's answers, one per id, in the order
        of the ids. The answers are compared with the predictions as text. The function must not be
        async. Retry failed calls within it.
    epsilon : float
        Share of rows whose answer may differ from the reference's, in [0, 1).
    delta : float, default=0.05
        Probability that a guarantee is given but does not hold, in (0, 1).
    labels : int, optional
        Number of rows to draw. The default follows from a pilot sample of 200 calls.
    groups : None
        Not supported. Call the function for the rows of each group, ``table.take(rows)``.
    bought : mutable mapping of str to str, optional
        Existing answers by id, which are not requested again. Each batch of new answers is written
        to it, such as to a ``shelve`` on disk. An exception has the mapping as its ``bought`` and
        the seed of the draw as its ``seed``. The call continues if both are passed again.
    seed : int, optional
        Seed of a recorded run, which is repeated. By default, the operating system gives the seed,
        and ``AnsweredTable.seed`` records it. A seed that was chosen with knowledge of the rows
        makes the guarantee invalid.

    Returns
    -------
    AnsweredTable
        The answers, the rows that the reference answered, and the policy for new rows.

    Raises
    ------
    ValueError
        If the table does not have exactly one model with predictions, if ids repeat, or if a number
        is out of bounds. If `ask` does not return one answer per id.

    See Also
    --------
    certify : Certify a cascade of two or more models.
    ladder : Choose candidate cascades from few labels.

    Notes
    -----
    For any order of removal, the remaining rows are a statistically equivalent block [1]_, [2]_.

    References
    ----------
    docs/guarantees.md has the argument.

    .. [1] J. W. Tukey, 1947, "Non-parametric estimation II: statistically equivalent blocks and
       tolerance regions", Annals of Mathematical Statistics 18.
    .. [2] D. A. S. Fraser, 1951, "Sequentially determined statistically equivalent blocks", Annals
       of Mathematical Statistics 22.

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
    >>> result = cl.answer_table(table, ask, epsilon=0.05, seed=0)
    >>> bool((result.answers != truth).mean() <= 0.05)
    True
    >>> bool(result.asked.mean() < 0.6)
    True
    """
    confidence, predictions = read_single_model(table)
    refuse_repeats(table)
    if groups is not None:
        raise ValueError(
            "answer_table has no guarantee per group. Call it for the rows of each group: "
            "table.take(groups == name)"
        )
    inside = (np.nextafter(0, 1), np.nextafter(1, 0))
    epsilon = check_number(epsilon, "epsilon", "a number from 0 to below 1", 0, inside[1])
    delta = check_number(delta, "delta", "a number between 0 and 1", *inside)
    if labels is not None:
        labels = check_count(labels, "labels", 1, len(table))
    seed = draw_seed(seed)
    bought = {} if bought is None else bought
    answers_at = answers_of(table, ask, bought)
    try:
        peeled = peel_table(
            confidence,
            predictions,
            lambda rows: np.char.strip(answers_at(rows)) != predictions[rows],
            epsilon,
            delta,
            labels,
            seed=seed,
        )
        asked = ~peeled.kept
        answers = predictions.astype(object)
        answers[asked] = answers_at(np.flatnonzero(asked))
    except BaseException as error:
        error.bought = bought  # type: ignore[attr-defined]
        error.seed = seed  # type: ignore[attr-defined]
        raise
    assumed = f"seed {seed} of the draw was not chosen by its result"
    about_table = Guarantee(
        cascade="",
        chain="the answered table",
        reference=REFERENCE,
        score=AGREEMENT,
        epsilon=epsilon,
        budget=None,
        delta=delta,
        draws=peeled.labels,
        assumes=(assumed,),
        unit="labels",
        frame=len(table),
    )
    point = certify_policy(point_of(peeled, table), about_table)
    return AnsweredTable(
        answers.astype(str),
        asked,
        describe_guarantees(about_table if peeled.kept.any() else None, point),
        Policy(point),
        peeled.labels,
        seed,
    )


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


def answers_of(
    table: ScoreTable, ask: Callable, bought: MutableMapping[str, str]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from rows to the reference's answers.

    It requests missing answers in batches, and writes them to ``bought`` before they are checked.
    """
    ids = table.origin.sample_ids

    def answers_at(rows: np.ndarray) -> np.ndarray:
        missing = [name for name in ids[rows].tolist() if name not in bought]
        for start in watched(range(0, len(missing), BATCH), "calling the reference"):
            names = missing[start : start + BATCH]
            bought.update(zip(names, validate_answers(ask(names), names), strict=True))
        return as_text([bought[name] for name in ids[rows].tolist()])

    return answers_at


def validate_answers(answers: Any, ids: list[str]) -> list[str]:
    """Return answers as text. Raise ValueError unless there is one for each id."""
    answers = align_values(answers, "the answers of ask", ids)
    with error_context(
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


def point_of(peeled: Peeled, table: ScoreTable) -> Point:
    """Return the cascade of the small model and the reference that answers new rows.

    Each class has a border, below which its rows were removed. The fitted confidence is 0 up to the
    border and 1 above it, and the threshold is ½.
    """
    *borders, others = peeled.borders.tolist()
    digests = map(label_digest, peeled.classes)
    fitted = Fitted(list(map(step_curve, [others, *borders], [None, *digests])))
    small = table.names[0]
    exits = fitted(*read_single_model(table)) >= 0.5
    keeps = float(exits.mean())
    fits = Fits(table.origin, {small: fitted, REFERENCE: Fitted([])})
    method = Method(confidence=BY_LABEL, fitted=fits)
    return Point(
        (small, REFERENCE),
        (0.5,),
        (keeps, 1 - keeps),
        method=method,
        cost_kind=table.default_cost,
        selected_on=table.origin,
    )


def step_curve(border: float, digest: str | None) -> IsotonicCurve:
    """Return a curve that is 0 up to a border and 1 above it."""
    if np.isinf(border):
        return {"digest": digest, "knots": [0.0], "values": [float(border < 0)]}
    above = float(np.nextafter(border, np.inf))
    return {"digest": digest, "knots": [border, above], "values": [0.0, 1.0]}


def certify_policy(point: Point, about_table: Guarantee) -> Point:
    """Return the policy's point with its guarantee about new rows, if there is one."""
    if not point.exit_rates[0]:
        return point
    drawn = "the rows were drawn independently from those that the policy will answer"
    assumes = (drawn, UNCHANGED, *about_table.assumes)
    about_rows = replace(
        about_table, draws=about_table.frame, assumes=assumes, unit="rows", frame=0
    )
    return bind(point, about_rows)


def describe_guarantees(about_table: Guarantee | None, point: Point) -> str:
    """Return the guarantees about the table and about new rows in words."""
    about = about_table or "The reference gave all answers, so none differs from the reference's."
    if point.guarantee is None:
        calls = "The policy calls the reference for all new rows: there are too few labels."
        return f"{about} {calls}"
    return (
        f"{about} The policy would keep the small model's answer for {point.exit_rates[0]:.1%} of "
        f"these rows. {point.guarantee}"
    )
