"""Answer a table by a small model, and by a reference for risky rows, with a certificate.

The certificate bounds the share of answers that differ from the reference's, or recall and
precision.
"""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from ..checks import check_count, check_number, error_context
from ..evaluation.point import Point
from ..front_end import watched
from ..guarantees.case import keys_of
from ..guarantees.peeling import PILOT, Peeled, design, fitted_curve, start_peeling
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
from ..labels import align_values, as_text
from ..methods.fitted import BY_LABEL, CONFIDENCE, Fitted, label_digest
from ..methods.method import Method
from ..store.score_table import ScoreTable
from ..store.tables.faults import refuse
from ..store.tables.spelling import find_spelling_faults, normalize_texts
from .answers import (
    PROBABILITY,
    SIMULATED,
    AnsweredTable,
    CallPlan,
    Goal,
    describe_guarantees,
    read_goal,
)
from .policy import Policy

BATCH = 256  # ids per call of ask
REFERENCE = "reference"


def answer_table(
    table: ScoreTable,
    ask: Callable[[list[str]], Sequence],
    epsilon: float | None = None,
    *,
    recall: float | None = None,
    precision: float | None = None,
    guarantee: str = PROBABILITY,
    delta: float = 0.05,
    labels: int | None = None,
    positive: str | None = None,
    plan: bool = False,
    groups: Any = None,
    clusters: Any = None,
    price: float | None = None,
    bought: MutableMapping[str, str] | None = None,
    seed: int = 0,
) -> AnsweredTable | CallPlan:
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
    epsilon : float, optional
        Share of rows whose answer may differ from the reference's, in [0, 1).
    recall, precision : float, optional
        Instead of `epsilon`: least recall and precision of the class `positive`, in (0, 1). Both
        are needed, since one of them alone can be reached without a call.
    guarantee : {"probability", "mean"}, default="probability"
        "probability": the guarantee holds with probability 1 − `delta`. "mean": the share of wrong
        answers, averaged over all draws of the labels, is at most `epsilon`. It needs fewer calls,
        but about half of the draws have a larger share.
    delta : float, default=0.05
        Probability that a guarantee is given but does not hold, in (0, 1).
    labels : int, optional
        Number of rows to draw, for `epsilon`. The default follows from a pilot sample of 200 calls.
        With ``guarantee="mean"`` the calls of the pilot are additional.
    positive : str, optional
        The class of `recall` and `precision`, one of the predictions. All other classes count as
        one class.
    plan : bool, default=False
        Make only the calls of the pilot, and estimate the total number of calls from simulated
        labels.
    groups : None
        Not supported. Call the function for the rows of each group, ``table.take(rows)``.
    clusters : array of shape (n_rows,), optional
        Rows that belong together, such as pages of a document. The guarantee about the table does
        not change. There is no guarantee for new rows.
    price : float, optional
        Cost of one call, in the unit of the table's cost.
    bought : mutable mapping of str to str, optional
        Existing answers by id, which are not requested again. Each batch of new answers is written
        to it. With a ``shelve`` on disk, or a dict that survives an exception, the same call
        continues after an interruption. The exception has the mapping as its ``bought``.
    seed : int, default=0
        Seed of the random sample.

    Returns
    -------
    AnsweredTable or CallPlan
        The answers of all rows, or with ``plan=True`` the probable number of calls.

    Raises
    ------
    ValueError
        If the table does not have exactly one model with predictions, if ids repeat, or if a number
        is out of bounds. If `ask` does not return one answer per id. If an answer equals the
        prediction only after normalizing (see ``normalize`` of :class:`ScoreTable`). Such an answer
        stays in `bought`.

    See Also
    --------
    certify : Certify a cascade of two or more models.
    ladder : Choose candidate cascades from few labels.

    Notes
    -----
    For any order of removal, the remaining rows are a statistically equivalent block [1]_, [2]_.
    ``guarantee="mean"`` is conformal risk control [3]_.

    References
    ----------
    docs/guarantees.md has the argument.

    .. [1] J. W. Tukey, 1947, "Non-parametric estimation II: statistically equivalent blocks and
       tolerance regions", Annals of Mathematical Statistics 18.
    .. [2] D. A. S. Fraser, 1951, "Sequentially determined statistically equivalent blocks", Annals
       of Mathematical Statistics 22.
    .. [3] A. N. Angelopoulos et al., 2024, "Conformal risk control", ICLR.

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
    >>> result = cl.answer_table(table, ask, recall=0.95, precision=0.9, positive="yes")
    >>> bool((truth[result.answers == "yes"] == "yes").mean() >= 0.9)
    True
    """
    confidence, predictions = read_single_model(table)
    refuse_repeated_ids(table)
    if groups is not None:
        raise ValueError(
            "answer_table has no guarantee per group. Call it for the rows of each group: "
            "table.take(groups == name)"
        )
    if table.normalize == "text" and positive is not None:
        positive = str(normalize_texts(as_text([positive]))[0])
    goal = read_goal(predictions, epsilon, recall, precision, guarantee, delta, positive)
    if labels is not None:
        if goal.positive is not None:
            raise ValueError("labels= needs epsilon=: recall and precision choose their number")
        labels = check_count(labels, "labels", 1, len(table))
    call_price = np.nan
    if price is not None:
        call_price = check_number(price, "price", "a number, 0 or more", 0, np.finfo(float).max)
    ids = table.origin.sample_ids
    if clusters is not None:
        clusters = keys_of(clusters, "cluster", ids)
    bought = {} if bought is None else bought
    answers_at = answers_of(table, predictions, ask, bought)

    def wrong_at(rows: np.ndarray) -> np.ndarray:
        return goal.is_wrong(answers_at(rows), predictions[rows])

    def cost_of(calls: int) -> float:
        return float(table.cost.mean() * len(table) + call_price * calls)

    if plan:
        calls, pilot = simulate_calls(goal, confidence, predictions, wrong_at, labels, seed)
        median = int(np.median(calls))
        return CallPlan(median, min(calls), max(calls), len(table), pilot, cost_of(median))
    peeled, kept_answers = goal.peel(confidence, predictions, wrong_at, labels, seed)
    asked = ~peeled.kept
    answers = kept_answers.astype(object)
    answers[asked] = answers_at(np.flatnonzero(asked))
    dependent = ""  # why the rows are not independent draws of a source
    if clusters is not None and len(np.unique(clusters)) < len(clusters):
        dependent = "clusters= names rows of the table that belong together"
    elif copied_whole(number_rows([confidence, predictions])):
        dependent = (
            "rows of the table repeat others. They have equal answers and confidences more often "
            "than independent draws. Keep one row of each"
        )
    premises = list_premises(table, peeled.labels, dependent)
    point = point_of(peeled, table, call_price, premises)
    certificate = describe_guarantees(peeled, goal, point.exit_rates[0], dependent)
    return AnsweredTable(
        answers.astype(str),
        asked,
        certificate,
        Policy(replace(point, guarantee=certificate)),
        premises_table(premises),
        peeled.labels,
        cost_of(int(asked.sum())),
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
    table: ScoreTable,
    predictions: np.ndarray,
    ask: Callable,
    bought: MutableMapping[str, str],
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from rows to the reference's answers.

    It requests missing answers in batches, and writes them to ``bought`` before they are checked.
    """
    ids = table.origin.sample_ids

    def read_answers(rows: np.ndarray) -> np.ndarray:
        """Return the answers of some rows, spelled like the predictions."""
        names = ids[rows].tolist()
        answers = as_text([bought[name] for name in names])
        if table.normalize == "text":
            return normalize_texts(answers)
        if table.normalize is None and names:
            predicted = predictions[None, rows]
            texts = {*answers.tolist(), *predicted[0].tolist()}
            with error_context("the answers of ask"):
                refuse(
                    find_spelling_faults(
                        answers, predicted, texts, table.names, lambda _, row: f"id {names[row]!r}"
                    )
                )
        return answers

    def answers_at(rows: np.ndarray) -> np.ndarray:
        is_bought = np.array([name in bought for name in ids[rows].tolist()], bool)
        read_answers(rows[is_bought])
        missing = rows[~is_bought]
        for start in watched(range(0, len(missing), BATCH), "calling the reference"):
            batch = missing[start : start + BATCH]
            names = ids[batch].tolist()
            try:
                answers = validate_answers(ask(names), names)
                bought.update(zip(names, answers, strict=True))
                read_answers(batch)
            except BaseException as error:
                error.bought = bought  # type: ignore[attr-defined]
                raise
        return read_answers(rows)

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


def simulate_calls(
    goal: Goal,
    confidence: np.ndarray,
    predictions: np.ndarray,
    wrong_at: Callable[[np.ndarray], np.ndarray],
    labels: int | None,
    seed: int,
) -> tuple[list[int], int]:
    """Return numbers of calls with simulated labels, and the number of real labels of the pilot.

    The labels are draws from a fit on the pilot, whose coefficients vary by their standard errors.
    """
    count = len(confidence)
    pilot = np.random.default_rng(seed).permutation(count)[: min(PILOT, labels or PILOT)]
    pilot_wrong = wrong_at(pilot)
    rng = np.random.default_rng([seed, 1])
    classes, peel = start_peeling(confidence, predictions, pilot, pilot, rng.random(count))
    columns = design(peel.score, peel.group, len(classes) + 1)
    curve, spread = fitted_curve(columns[pilot], pilot_wrong, peel.curve)
    calls = []
    for _ in range(SIMULATED):
        log_odds = columns @ rng.multivariate_normal(curve, spread)
        wrong = rng.logistic(size=count) < log_odds
        wrong[pilot] = pilot_wrong
        peeled, _ = goal.peel(confidence, predictions, wrong.__getitem__, labels, seed)
        calls.append(int(np.sum(~peeled.kept)))
    return calls, len(pilot)


def list_premises(table: ScoreTable, labels: int, dependent: str) -> list[Premise]:
    """Return the premises. Only the guarantee for new rows needs independent rows."""
    independent = (VIOLATED, dependent) if dependent else (NOT_VERIFIABLE, UNCLUSTERED)
    status, written, _ = spelling_of(table)
    return [
        Premise("independent", *independent),
        Premise("spelling", status, written),
        Premise("labels complete", VERIFIED, f"the answers to all {labels} rows drawn are known"),
        Premise("reference complete", VERIFIED, "ask returned an answer for every id"),
    ]


def point_of(
    peeled: Peeled, table: ScoreTable, call_price: float, premises: Sequence[Premise]
) -> Point:
    """Return the cascade of the small model and the reference that answers new rows.

    Each class has a border, below which its rows were removed. The fitted confidence is 0 up to the
    border and 1 above it, and the threshold is ½.
    """
    *borders, others = peeled.borders.tolist()
    digests = map(label_digest, peeled.classes)
    curves = list(map(step_curve, [others, *borders], [None, *digests]))
    small = table.names[0]
    fitted: dict[tuple[str, ...], Fitted] = {
        (small,): Fitted(BY_LABEL, (CONFIDENCE,), curves),
        (REFERENCE,): Fitted(BY_LABEL, (CONFIDENCE,), []),
    }
    exits = fitted[small,](*read_single_model(table)) >= 0.5
    keeps = float(exits.mean())
    method = Method(confidence=BY_LABEL, fitted=fitted, fitted_on=table.origin)
    return Point(
        (small, REFERENCE),
        (0.5,),
        (keeps, 1 - keeps),
        cost=float(table.cost.mean()) + call_price * (1 - keeps),
        method=method,
        cost_kind=table.default_cost,
        selected_on=table.origin,
        premises=tuple(map(asdict, premises)),
    )


def step_curve(border: float, digest: str | None) -> dict[str, Any]:
    """Return a curve that is 0 up to a border and 1 above it."""
    if np.isinf(border):
        return {"digest": digest, "knots": [0.0], "values": [float(border < 0)]}
    above = float(np.nextafter(border, np.inf))
    return {"digest": digest, "knots": [border, above], "values": [0.0, 1.0]}
