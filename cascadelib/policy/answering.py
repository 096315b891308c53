"""Answer a table by a small model, and by a reference for risky rows, with a certificate.

The certificate bounds the share of answers that differ from the reference's.
"""

import warnings
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..checks import check_count, checked_share, error_context
from ..evaluation.guarantee import AGREEMENT, UNCHANGED, Guarantee, draw_seed
from ..evaluation.point import Point, bind
from ..figures.front_end import watched
from ..guarantees.peeling import peel_table, usual_labels
from ..guarantees.refusals import refuse_repeats
from ..labels import align_values, as_text
from ..methods.fitted import BY_LABEL, Fits, Fitted, IsotonicCurve, label_digest
from ..methods.method import Method
from ..methods.thresholds import LARGEST
from ..store.score_table import ScoreTable
from .policy import Policy

BATCH = 256  # ids per call of ask
REFERENCE = "reference"
INDEPENDENT = "the rows were drawn independently from those that the policy will answer"


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
    bought: MutableMapping[str, str] | None = None,
    seed: int | None = None,
) -> AnsweredTable:
    """Answer a table by a small model, with as few reference calls as a guarantee needs.

    The reference labels a uniform sample of the rows. Then rows are removed in the order of their
    confidence, always from the predicted class that is riskiest by its last labels. The removal
    stops when few enough of the remaining labelled rows are wrong. The remaining rows keep the
    small model's answer. The reference answers the removed rows.

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
        Number of rows to draw. The default for n rows is 1.5 n^⅔, or more if these do not allow
        three errors. If the table is too small for that, a warning precedes the first call.
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
    epsilon = checked_share(epsilon, "epsilon")
    delta = checked_share(delta, "delta")
    count = len(table)
    if labels is None:
        labels = usual_labels(count, epsilon, delta)
        if labels == count:
            warnings.warn(
                f"{count} rows are too few to certify ε = {epsilon:g} by fewer labels: the "
                "reference answers all rows",
                stacklevel=2,
            )
    labels = check_count(labels, "labels", 1, count)
    seed = draw_seed(seed)
    rng = np.random.default_rng(seed)
    is_drawn = rng.permutation(count) < labels
    bought = {} if bought is None else bought
    answers_at = answers_of(table, ask, bought)
    answers = predictions.astype(object)
    try:
        answers[is_drawn] = answers_at(is_drawn)
        is_wrong = np.char.strip(as_text(answers)) != predictions
        kept, borders = peel_table(
            confidence, predictions, is_drawn, is_wrong, rng.random(count), epsilon, delta
        )
        asked = ~kept | (confidence == -LARGEST)
        answers[asked] = answers_at(asked)
    except BaseException as error:
        error.bought = bought  # type: ignore[attr-defined]
        error.seed = seed  # type: ignore[attr-defined]
        raise
    about_table = Guarantee(
        cascade="",
        chain="the answered table",
        reference=REFERENCE,
        score=AGREEMENT,
        epsilon=epsilon,
        budget=None,
        delta=delta,
        draws=labels,
        assumes=(f"seed {seed} of the draw was not chosen by its result",),
        unit="labels",
        frame=count,
    )
    about_rows = replace(
        about_table,
        draws=count,
        assumes=(INDEPENDENT, UNCHANGED, *about_table.assumes),
        unit="rows",
        frame=0,
    )
    point = bind(point_of(borders, table), about_rows)
    certificate = (
        f"{about_table} The policy would keep the small model's answer for "
        f"{point.exit_rates[0]:.1%} of these rows. {point.guarantee}"
    )
    return AnsweredTable(answers.astype(str), asked, certificate, Policy(point), labels, seed)


def read_single_model(table: ScoreTable) -> tuple[np.ndarray, np.ndarray]:
    """Return confidences float64 [k] and predictions as text [k] of a single-model table."""
    predictions = getattr(table, "predictions", None)
    if predictions is None or len(table.names) != 1:
        raise ValueError(
            "answer_table needs a ScoreTable of one model, with its predictions: "
            "ScoreTable(None, confidence, cost, predictions=…), each [1, samples]"
        )
    if REFERENCE in table.names:
        raise ValueError(
            f"the small model is called {REFERENCE!r}, the name of the reference. Rename it"
        )
    return np.nan_to_num(table.confidence[0], nan=-LARGEST), predictions[0]


def answers_of(
    table: ScoreTable, ask: Callable, bought: MutableMapping
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from rows, bool [k], to the reference's answers.

    It requests missing answers in batches, and writes them to ``bought`` before they are checked.
    """

    def answers_at(rows: np.ndarray) -> np.ndarray:
        names = table.origin.sample_ids[rows].tolist()
        missing = [name for name in names if name not in bought]
        for start in watched(range(0, len(missing), BATCH), "calling the reference"):
            batch = missing[start : start + BATCH]
            bought.update(zip(batch, validate_answers(ask(batch), batch)))
        return as_text([bought[name] for name in names])

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
        for row in np.flatnonzero(texts == "")[:1]:
            raise ValueError(f"with no answer for id {ids[row]!r}: retry, or return 'unknown'")
    return texts.tolist()


def point_of(borders: dict[str | None, float], table: ScoreTable) -> Point:
    """Return the cascade of the small model and the reference that answers new rows.

    Each class has a border, below which its rows were removed. The fitted confidence is 0 up to the
    border and 1 above it, and the threshold is ½.
    """
    fitted = Fitted([step_curve(border, name) for name, border in borders.items()])
    small = table.names[0]
    keeps = np.mean(fitted(*read_single_model(table)) >= 0.5).item()
    fits = Fits(table.origin, {small: fitted, REFERENCE: Fitted([])})
    return Point(
        (small, REFERENCE),
        (0.5,),
        (keeps, 1 - keeps),
        method=Method(confidence=BY_LABEL, fitted=fits),
        cost_kind=table.default_cost,
        selected_on=table.origin,
    )


def step_curve(border: float, label: str | None) -> IsotonicCurve:
    """Return the curve of a label that is 0 up to a border and 1 above it."""
    digest = None if label is None else label_digest(label)
    if border >= LARGEST:
        return {"digest": digest, "knots": [0.0], "values": [0.0]}
    above = float(np.nextafter(border, np.inf))
    return {"digest": digest, "knots": [border, above], "values": [0.0, 1.0]}
