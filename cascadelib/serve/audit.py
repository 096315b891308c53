"""What a cascade loses against a reference, by the inputs on which both ran: labels are needed
where they differ, may come late or never, and no failure of the reference counts as agreement."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from operator import eq
from typing import Any

import numpy as np
import pandas as pd

from ..checks import known
from ..contents import digests_of
from ..evaluation.intervals import anytime_lower
from ..policy.decisions import Answer
from .counts import MAX_PENDING, VERDICTS, Counts, add_up

WINDOW = 1000  # audited inputs between two starts of what counts as now
LOCK = threading.RLock()  # of all, as a cascade with one of its own could not be copied


class Audit:
    """The audit of a cascade, a part of its :class:`Monitor`.

    Attributes
    ----------
    equal : callable
        Whether two answers, or an answer and a label, agree; ==, unless it is set.
    audited, audit_failures : int
        Inputs of the audit, and those of which the reference failed.
    audit_seconds, audit_cost : float
    """

    equal: Callable[[Any, Any], Any] = staticmethod(eq)
    local: Counts
    others: dict[str, Counts]
    models: Sequence[str]

    @property
    def parts(self) -> list[Counts]:
        """What each process has counted, this one first."""
        return [self.local, *self.others.values()]

    def _add_pending(self, name: Any, prediction: Any, stage: int) -> None:
        """An input that left and is audited: nothing is known of its loss until the reference has
        answered; the lock is held."""
        own = self.local
        if own.sums["audited"] % WINDOW == 0 or not own.windows:
            own.windows.append(Counter(since=own.sums["came"]))
        own.sums["audited"] += 1
        own.windows[-1]["audited"] += 1
        if name in own.pending or len(own.pending) >= MAX_PENDING:
            own.sums["forgotten"] += 1  # in doubt for good
        else:
            own.pending[name] = [prediction, None, len(own.windows) - 1, stage]

    def resolve(self, ids: Sequence, answer: Answer, seconds: float) -> None:
        """Take the reference's answer about inputs that are audited; where it failed they stay in
        doubt."""
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
        """What is in doubt though the reference has answered, by id; the lock is held."""
        doubts = add_up(self.parts).pending
        return {name: doubt for name, doubt in doubts.items() if doubt[1] is not None}

    def to_label(self) -> pd.DataFrame:
        """The inputs whose labels are wanted: those on which cascade and reference differ.

        Returns
        -------
        DataFrame
            Predictions of ``cascade`` and ``reference``, by the input's id.
        """
        with LOCK:
            wanted = {name: doubt[:2] for name, doubt in self._find_disagreements().items()}
        columns = ["cascade", "reference"]
        return pd.DataFrame.from_dict(wanted, "index", object, columns)

    def label(self, labels: Mapping[Any, Any]) -> None:
        """Take labels of inputs of :meth:`to_label`, in any order, late or never.

        Parameters
        ----------
        labels : mapping
            {id of the input: label}, written as the predictions are. None and nan: not yet known.

        Raises
        ------
        ValueError
            For an input whose label is not wanted, and for text where predictions are numbers, or
            the reverse; then none of the labels is taken.
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
                        f"the label {label!r} of input {name} is not a class: give one like "
                        f"the prediction {answer!r}"
                    )
                found[name] = verdict(self.equal(prediction, label), self.equal(answer, label))
            self.local.version += bool(self.local.settle(found))
            for part in self.others.values():
                part.labelled |= {name: found[name] for name in part.settle(found)}

    @property
    def verdicts(self) -> dict[str, int]:
        """Labelled inputs by what they add to the loss."""
        counts = sum(add_up(self.parts).windows, Counter())
        return {name: counts[name] for name in VERDICTS}

    def _bound_loss(
        self, whole: Counts, first: int, gained: int, error: float
    ) -> tuple[float, float]:
        """Bounds of the loss from a window on, were so many doubts gained."""
        counts = sum(whole.windows[first:], Counter())
        late = sum(doubt[2] >= first for doubt in whole.pending.values())
        doubts = late + whole.sums["forgotten"] - gained
        won = counts["gained"] + gained
        same = counts["audited"] - counts["lost"] - won - doubts
        # What is not known counts as gained for the lower bound, as lost for the upper.
        low = anytime_lower(counts["lost"], same, won + doubts, error / 2)
        return low, -anytime_lower(won, same, counts["lost"] + doubts, error / 2)

    def loss(self, epsilon: float = 1.0, error: float = 0.05) -> pd.Series:
        """What the cascade loses in top-1 accuracy against the reference, by the audit.

        Promise, for inputs that are independent draws of one distribution: the loss lies in
        [low, high] at all times at once with a probability of at least 1 − error (above ``high``,
        below ``low``: half each), whichever labels come, and when; a reference that failed counts
        as a doubt at both ends. Likewise that of *now*, over the last 1,000 to 2,000 audited
        inputs, for all such windows at once.

        Parameters
        ----------
        epsilon : float
            Loss as certified, a fraction.
        error : float
            Probability with which the promise may fail.

        Returns
        -------
        Series
            ``audited``, ``disagreed``, ``to_label``, ``unknown`` (the reference failed): inputs;
            ``low``, ``high``: bounds of the loss since the start; ``now_low``, ``now_high``: of
            now, that is since input ``now_since``; ``alarm``: whether either lies above
            ``epsilon``; ``lost_at``: the model at which most of the inputs left that are known to
            be lost, None before the first; ``label_first``: the fewest ids whose labels could bring
            ``high`` down to ``epsilon``, or, where the loss since the start alarms, ``now_high``,
            so that the certificate can be renewed on the inputs of now; all where even those may
            not do. They come in the order of :func:`cascadelib.to_label`: the first m are a uniform
            draw, for any m.

        References
        ----------
        :func:`anytime_lower`; docs/monitoring.md.
        """
        with LOCK:
            whole = add_up(self.parts)
            wanted = self._find_disagreements()
            order = dict(zip(wanted, digests_of(np.array([*wanted], str))))
            start = max(0, len(whole.windows) - 2)
            low, high = self._bound_loss(whole, 0, 0, error)
            # over all windows these add up to the error
            error_now = error / ((start + 1) * (start + 2))
            now_low, now_high = self._bound_loss(whole, start, 0, error_now)
            first = 0
            share = error
            if low > epsilon:  # for good: labels of now can still count
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
    """What an input adds to the loss, where both answers differ: "lost", "tied" or "gained"."""
    if cascade_correct == reference_correct:
        return "tied"
    return "gained" if cascade_correct else "lost"
