"""Estimate the loss of a cascade relative to a reference, from audited inputs.

Only disagreements need labels, which may arrive late or never. A failure of the reference does not
count as agreement.
"""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import eq
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..evaluation.intervals import anytime_lower
from ..origin import digests_of
from ..policy.decisions import Answer
from .counts import MAX_PENDING, VERDICTS, Counts, add_up

WINDOW = 1000  # audited inputs per window
LOCK = threading.RLock()  # shared by all, as an object with its own lock could not be copied


class Audit:
    """The audit of a cascade, as part of its :class:`Monitor`.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree. The default is ``==``.
    audited, audit_failures : int
        Number of audited inputs, and of those for which the reference failed.
    audit_seconds, audit_cost : float
    """

    equal: Callable[[Any, Any], Any] = staticmethod(eq)
    local: Counts
    others: dict[str, Counts]
    models: Sequence[str]

    @property
    def parts(self) -> list[Counts]:
        """Return the counts of each process, this one first."""
        return [self.local, *self.others.values()]

    def _add_pending(self, name: Any, prediction: Any, stage: int) -> None:
        """Add an audited input that has exited, until the reference answers. Needs the lock."""
        own = self.local
        if own.sums["audited"] % WINDOW == 0 or not own.windows:
            own.windows.append(Counter(since=own.sums["came"]))
        own.sums["audited"] += 1
        own.windows[-1]["audited"] += 1
        if name in own.pending or len(own.pending) >= MAX_PENDING:
            own.sums["forgotten"] += 1  # never gets a verdict
        else:
            own.pending[name] = [prediction, None, len(own.windows) - 1, stage]

    def resolve(self, ids: Sequence, answer: Answer, seconds: float) -> None:
        """Record the reference's answer for audited inputs. Those for which it failed stay pending.

        Parameters
        ----------
        ids : sequence
        answer : Answer
        seconds : float
            Duration of the call.
        """
        with LOCK:
            own = self.local
            own.version += 1
            own.sums["audit_seconds"] += seconds
            if answer.costs is not None:
                own.sums["audit_cost"] += float(answer.costs.sum())
            own.sums["audit_failures"] += int(np.count_nonzero(answer.failures))
            for name, said, failure in zip(ids, answer.guesses[:, 0], answer.failures):
                doubt = own.pending.get(name)
                if failure or doubt is None:
                    continue
                if self.equal(doubt[0], said):
                    del own.pending[name]
                else:
                    doubt[1] = said

    def _find_disagreements(self) -> dict[Any, list]:
        """Return the pending inputs that the reference has answered, by id. Needs the lock."""
        doubts = add_up(self.parts).pending
        return {name: doubt for name, doubt in doubts.items() if doubt[1] is not None}

    def to_label(self) -> pd.DataFrame:
        """Return the inputs that need labels: those on which cascade and reference differ.

        Returns
        -------
        DataFrame
            Predictions of ``cascade`` and ``reference``, indexed by the input's id.

        See Also
        --------
        label : Record labels.
        """
        with LOCK:
            wanted = {name: doubt[:2] for name, doubt in self._find_disagreements().items()}
        columns = ["cascade", "reference"]
        return pd.DataFrame.from_dict(wanted, "index", object, columns)

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
            wanted = self._find_disagreements()
            for name, label in labels.items():
                prediction, answer, *_ = wanted[known(name, wanted, "input to label")]
                if pd.isna(label):
                    continue
                is_text = isinstance(label, str)
                is_odd = is_text != isinstance(answer, str) or (not is_text and label < 0)
                if self.equal is eq and is_odd:
                    raise ValueError(
                        f"the label {label!r} of input {name} is not a class. Use a label such as "
                        f"the prediction {answer!r}"
                    )
                found[name] = verdict(self.equal(prediction, label), self.equal(answer, label))
            self.local.version += bool(self.local.settle(found))
            for part in self.others.values():
                part.labelled |= {name: found[name] for name in part.settle(found)}

    @property
    def verdicts(self) -> dict[str, int]:
        """Return the number of labelled inputs by verdict: lost, tied or gained."""
        counts = sum(add_up(self.parts).windows, Counter())
        return {name: counts[name] for name in VERDICTS}

    def _bound_loss(
        self, whole: Counts, first: int, gained: int, error: float
    ) -> tuple[float, float]:
        """Return bounds of the loss from a window on, if ``gained`` pending inputs were gained."""
        counts = sum(whole.windows[first:], Counter())
        late = sum(doubt[2] >= first for doubt in whole.pending.values())
        doubts = late + whole.sums["forgotten"] - gained
        won = counts["gained"] + gained
        same = counts["audited"] - counts["lost"] - won - doubts
        # Pending inputs count as gained for the lower bound and as lost for the upper bound.
        low = anytime_lower(counts["lost"], same, won + doubts, error / 2)
        return low, -anytime_lower(won, same, counts["lost"] + doubts, error / 2)

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
            - ``audited``, ``disagreed``, ``to_label``, ``unknown`` (the reference failed): numbers
              of inputs.
            - ``low``, ``high``: bounds of the loss since the start.
            - ``now_low``, ``now_high``: bounds of the current loss, since input ``now_since``.
            - ``alarm``: whether a lower bound is above `epsilon`.
            - ``lost_at``: the model at which most of the lost inputs exited, or None.
            - ``label_first``: the fewest ids whose labels could reduce ``high`` to `epsilon`. If
              ``low`` is above `epsilon`, they could reduce ``now_high``, which renews the
              certificate for current inputs. If no number suffices, all ids are listed. Their order
              is that of :func:`cascadelib.to_label`: for any m, the first m are a uniform sample.

        See Also
        --------
        to_label : Return all inputs that need labels.

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
            whole = add_up(self.parts)
            wanted = self._find_disagreements()
            order = dict(zip(wanted, digests_of(np.array([*wanted], str))))
            start = max(0, len(whole.windows) - 2)
            low, high = self._bound_loss(whole, 0, 0, error)
            # sums to the error over all windows
            error_now = error / ((start + 1) * (start + 2))
            now_low, now_high = self._bound_loss(whole, start, 0, error_now)
            first = 0
            share = error
            if low > epsilon:  # permanent: only current inputs can still help
                first = start
                share = error_now
            useful = [name for name, doubt in wanted.items() if doubt[2] >= first]
            useful.sort(key=order.__getitem__)
            least = bisect_left(
                range(len(useful) + 1),
                True,
                key=lambda count: self._bound_loss(whole, first, count, share)[1] <= epsilon,
            )
            since = whole.windows[start]["since"] if whole.windows else 0
            unknown = len(whole.pending) - len(wanted) + whole.sums["forgotten"]
        lost_at = whole.sums["lost_at"]
        table = {
            "audited": whole.sums["audited"],
            "disagreed": sum(self.verdicts.values()) + len(wanted),
            "to_label": len(wanted),
            "unknown": unknown,
            "low": low,
            "high": high,
            "now_low": now_low,
            "now_high": now_high,
            "now_since": since,
            "alarm": max(low, now_low) > epsilon,
            "lost_at": self.models[int(lost_at.argmax())] if lost_at.any() else None,
            "label_first": useful[:least],
        }
        return pd.Series(table, dtype=object)


def verdict(cascade_correct: bool, reference_correct: bool) -> str:
    """Return the effect of a disagreement on the loss: "lost", "tied" or "gained"."""
    if cascade_correct == reference_correct:
        return "tied"
    return "gained" if cascade_correct else "lost"
