"""Estimate the loss of a cascade relative to a reference, from audited inputs.

Only disagreements need labels, which may arrive late or never. A failure of the reference does not
count as agreement.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import chain, islice
from operator import eq, itemgetter
from typing import Any

import numpy as np
import pandas as pd

from ..checks import validate_choice
from ..evaluation.intervals import anytime_lower, log_evidence
from ..evaluation.point import Point
from ..guarantees.quantiles import ladder
from ..methods.thresholds import convert_units
from ..store.score_table import ScoreTable
from .counts import VERDICTS, AuditedInput, Counts, add_up
from .renewal import Renewal

ROWS_PER_LADDER_ROW = 8
MIN_ROWS = 100  # audited inputs of a renewal
MAX_LISTED = 1000  # largest number of ids that a call lists, to bound its time
LOCK = threading.RLock()  # of all monitors, since a lock inside a monitor could not be copied


class Audit:
    """The audit of a cascade, as part of its :class:`Monitor`.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree. The default is ``==``.
    """

    equal: Callable[[Any, Any], Any] = staticmethod(eq)
    local: Counts
    others: dict[str, Counts]
    models: Sequence[str]
    point: Point

    @property
    def parts(self) -> list[Counts]:
        """Return the counts of each process, this one first."""
        return [self.local, *self.others.values()]

    def _disagreements(self, window: int = 0) -> Iterator[tuple[bytes, Any, AuditedInput]]:
        """Yield open disagreements since a window, in the order of :func:`cascadelib.to_label`."""
        return merge(*(part.disagreements(window) for part in self.parts), key=itemgetter(0))

    def to_label(self, most: int | None = MAX_LISTED) -> pd.DataFrame:
        """Return the inputs that need labels: those on which cascade and reference differ.

        Parameters
        ----------
        most : int or None, default=1000
            Maximum number of inputs. None: all.

        Returns
        -------
        DataFrame
            Predictions of ``cascade`` and ``reference``, indexed by the input's id. For any m, the
            first m are a uniform sample.

        See Also
        --------
        label : Record labels.
        """
        with LOCK:
            wanted = list(islice(self._disagreements(), most))
        table = {
            "cascade": [pending.prediction for *_, pending in wanted],
            "reference": [pending.answer for *_, pending in wanted],
        }
        index = pd.Index([name for _, name, _ in wanted], dtype=object)
        return pd.DataFrame(table, index, dtype=object).infer_objects()

    def label(self, labels: Mapping[Any, Any]) -> None:
        """Record labels of inputs of :meth:`to_label`, in any order and at any time.

        Parameters
        ----------
        labels : mapping
            {id of the input: label}, spelled like the predictions. None and nan are skipped.

        Raises
        ------
        ValueError
            If an input does not need a label, or a label is text and predictions are numbers, or
            the reverse. Then no label is recorded.

        See Also
        --------
        to_label : Return the inputs that need labels.
        """
        found = {}
        with LOCK:
            for name, label in labels.items():
                waiting = [part.pending[name] for part in self.parts if name in part.pending]
                if not any(pending.has_answer for pending in waiting):
                    validate_choice(name, self.to_label().index, "input to label")
                elif not pd.isna(label):
                    answer = waiting[0].answer
                    is_text = isinstance(label, str)
                    is_odd = is_text != isinstance(answer, str) or (not is_text and label < 0)
                    if self.equal is eq and is_odd:
                        raise ValueError(
                            f"the label {label!r} of input {name} is not a class. Use a label such "
                            f"as the prediction {answer!r}"
                        )
                    found[name] = label
            self.local.version += bool(self.local.settle(found, self.equal))
            for part in self.others.values():
                settled = part.settle(found, self.equal)
                part.report_labels |= {name: found[name] for name in settled}

    @property
    def verdicts(self) -> dict[str, int]:
        """Return the number of labelled inputs by verdict: lost, tied or gained."""
        _, total, _ = add_up(self.parts)
        return {name: total[name] for name in VERDICTS}

    def loss(self, epsilon: float = 1.0, error: float = 0.05) -> pd.Series:
        """Bound the loss of top-1 accuracy relative to the reference, from the audit.

        Parameters
        ----------
        epsilon : float, default=1.0
            Certified loss, a fraction.
        error : float, default=0.05
            Probability that the bounds ever fail.

        Returns
        -------
        Series
            - ``audited``: number of audited inputs.
            - ``disagreed``: number on which cascade and reference differ.
            - ``to_label``: number of these without a label.
            - ``unknown``: number without an answer of the reference.
            - ``low``, ``high``: bounds of the loss since the start.
            - ``now_low``, ``now_high``: bounds of the current loss, since input ``now_since``.
            - ``alarm``: whether a lower bound is above `epsilon`.
            - ``lost_at``: the model at which most of the lost inputs exited, or None.
            - ``label_first``: ids to label first, at most 1,000, in the order of :meth:`to_label`.
              They are the fewest whose labels could reduce ``high`` to `epsilon`. If ``low`` is
              above `epsilon`, labels can reduce only ``now_high``, so the fewest ids for that are
              listed. If no number suffices, all ids are listed.

        See Also
        --------
        to_label : Return all inputs that need labels.
        recertify : Choose and certify other thresholds.

        Notes
        -----
        For inputs that are independent draws of one distribution, the loss is in [low, high] at all
        times simultaneously with probability at least 1 − `error`, half of the error on each side.
        This holds whichever labels arrive, and whenever. An input for which the reference failed
        widens both bounds. The same holds for the current loss, over the last 1,000 to 2,000
        audited inputs, for all such windows simultaneously.

        References
        ----------
        :func:`anytime_lower`, docs/monitoring.md.
        """
        with LOCK:
            sums, total, windows = add_up(self.parts)
            start = min(windows, default=0)
            now = sum(windows.values(), Counter())
            # Over all windows, these probabilities sum to at most the error.
            error_now = error / ((start + 1) * (start + 2))
            low, high = bound_loss(total, error)
            now_low, now_high = bound_loss(now, error_now)
            # If the loss since the start is too large, only current inputs can still help.
            is_late = low > epsilon
            counts, share, first = (now, error_now, start) if is_late else (total, error, 0)
            least = least_labels(counts, share, epsilon)
            useful = islice(self._disagreements(first), min(least, MAX_LISTED))
            label_first = [name for _, name, _ in useful]
        labelled = sum(total[name] for name in VERDICTS)
        lost_at = sums["lost_at"]
        table = {
            "audited": total["audited"],
            "disagreed": labelled + total["open"],
            "to_label": total["open"],
            "unknown": total["audited"] - total["agreed"] - total["open"] - labelled,
            "low": low,
            "high": high,
            "now_low": now_low,
            "now_high": now_high,
            "now_since": windows[start]["since"] if windows else 0,
            "alarm": max(low, now_low) > epsilon,
            "lost_at": self.models[int(lost_at.argmax())] if lost_at.any() else None,
            "label_first": label_first,
        }
        # An index of objects, since pandas takes 30 ms for its first index of strings.
        return pd.Series(list(table.values()), pd.Index(list(table), dtype=object), dtype=object)

    def recertify(
        self,
        epsilon: float,
        delta: float = 0.05,
        rows: int | None = None,
        accept: Iterable[str] = (),
    ) -> Renewal:
        """Choose and certify thresholds for current inputs, from audited inputs.

        Parameters
        ----------
        epsilon : float
            Largest loss of accuracy relative to the reference, a fraction.
        delta : float, default=0.05
            Probability that this renewal certifies a cascade that loses more. For several renewals
            see Notes.
        rows : int, optional
            Number of the newest audited inputs to use. The default is all that are stored, at most
            8,192.
        accept : iterable of str
            Premises whose violation is accepted, as for :func:`cascadelib.certify`.

        Returns
        -------
        Renewal
            With ``certificate``, ``policy`` (None if nothing is certified), and the ids
            ``to_label``.

        Raises
        ------
        ValueError
            If the policy does not have two models, or there are fewer than 100 audited inputs.

        See Also
        --------
        Renewal.label : Add labels, which can only certify more.

        Notes
        -----
        The first eighth of the inputs gives the thresholds, without labels. :func:`certify` tests
        them on the others. Inputs without a label count as lost, so the guarantee holds for any
        number of labels. All tests of one Renewal together fail with probability at most `delta`.
        Another renewal is another test: r renewals fail with probability at most the sum
        of their deltas. The deltas δ / ((i + 1)(i + 2)), i = 0, 1, …, sum to at most δ.
        """
        with LOCK:
            stored = chain.from_iterable(part.rows.items() for part in self.parts)
            answered = [(name, row) for name, row in stored if row.failure]
            sums, *_ = add_up(self.parts)
        point = self.point
        if len(point.models) != 2:
            raise ValueError(
                f"recertify needs a policy of two models, not {len(point.models)}: audited inputs "
                "have the answers of the first model and the reference only. Choose and certify on "
                "a table"
            )
        newest = answered[-rows:] if rows else answered
        if len(newest) < MIN_ROWS:
            raise ValueError(
                f"recertify needs {MIN_ROWS} audited inputs or more, not {len(newest)}"
            )
        confidences = np.array([row.confidence for _, row in newest], np.float64)  # None is nan
        comparable = convert_units(point.metric, confidences)
        both = [(row.first_prediction, row.answer) for _, row in newest]
        predictions = [
            [answer_text(answer if self.equal(cheap, answer) else cheap) for cheap, answer in both],
            [answer_text(answer) for _, answer in both],
        ]
        prices = sums["spent"] / np.maximum(sums["failed"].sum(axis=1), 1)
        count = len(newest)
        table: Any = ScoreTable(
            None,
            np.stack([np.where(np.isnan(comparable), -np.inf, comparable), np.zeros(count)]),
            prices if prices[0] < prices[1] else np.arange(2.0),
            point.models,
            np.array([str(name) for name, _ in newest]),
            predictions=np.array(predictions),
            normalize="exact",
        )
        first = count // ROWS_PER_LADDER_ROW
        points = ladder(table.take(slice(first)), point.models)
        rest = table.take(slice(first, None))
        return Renewal(point, rest, points, epsilon, delta, {}, tuple(accept))


def answer_text(answer: Any) -> str:
    """Return an answer as text, "" if there is none."""
    return "" if answer is None else str(answer)


def bound_loss(counts: Mapping[str, int], error: float) -> tuple[float, float]:
    """Return bounds of the loss, of which each fails with half of the error."""
    lost = counts["lost"]
    won = counts["gained"]
    same = counts["agreed"] + counts["tied"]
    # Pending inputs count as gained for the lower bound, and as lost for the upper one.
    low = anytime_lower(lost, same, counts["audited"] - same - lost, error / 2)
    return low, -anytime_lower(won, same, counts["audited"] - same - won, error / 2)


def least_labels(counts: Mapping[str, int], error: float, epsilon: float) -> int:
    """Return the least number of open disagreements that, all gained, bound the loss by `epsilon`.

    If no number suffices, return one more than there are.
    """
    if epsilon >= 1:
        return 0
    same = counts["agreed"] + counts["tied"]
    known = counts["audited"] - same

    def suffices(labels: int) -> bool:
        won = counts["gained"] + labels
        return log_evidence(won, same, known - won, error / 2, -epsilon) >= 0

    return bisect_left(range(counts["open"] + 1), True, key=suffices)
