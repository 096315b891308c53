"""What a running cascade sees, without labels, beside what was expected: exit rates, confidences, drift, time."""

import copy
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..analysis.drift_signal import DriftReport, DriftSignal
from ..methods.thresholds import own_units
from .cascade_file import mean_with_ends, rounded_up

if TYPE_CHECKING:
    from .cascade import Decisions

WINDOW = 1000  # inputs that the drift signal looks back on
LOCK = threading.Lock()  # of all, as a cascade with one of its own could not be copied


class Running:
    """Counts since the start (or :meth:`reset`) and the last ``window`` inputs (with finite logits) of a cascade; of
    all threads that run it.

    inputs: how many; exits, broken int64 [n]: how many left at each of the n stages, and for how many a model's logits
    were nan or infinite; seconds float64 [n, 2]: spent at each stage in the model (with its preprocessing) and in the
    exit decision. expected: the ``expected`` part of a cascade file, or None.
    """

    def __init__(self, models: Sequence[str], metric: str | Callable, expected: Mapping | None):
        self.models, self.metric, self.expected, self.window = models, metric, expected, WINDOW
        self.reset()

    def reset(self) -> None:
        """Forget all inputs so far."""
        n = len(self.models)
        with LOCK:
            self.inputs, self.exits, self.broken = 0, np.zeros(n, np.int64), np.zeros(n, np.int64)
            self.seconds = np.zeros((n, 2))
            self.last: deque[np.ndarray] = deque(maxlen=self.window)

    def add(self, decisions: "Decisions", seconds: np.ndarray | float = 0.0) -> None:
        """Count the :class:`Decisions` of one call (those made before an error) and its seconds float64 [n, 2]."""
        made = decisions.exit_stage >= 0
        left, confidences = decisions.exit_stage[made], decisions.confidences[made]
        reached = np.arange(len(self.models)) <= left[:, None]
        whole = ~(np.isnan(confidences) & reached).any(axis=1)  # broken logits say nothing of the data
        with LOCK:
            self.inputs += len(left)
            self.exits += np.bincount(left, minlength=len(self.models))
            self.broken += decisions.broken
            self.seconds += seconds
            self.last.extend(confidences[whole][-self.window :])

    @property
    def exit_rates(self) -> np.ndarray:
        """Share of all inputs so far that left at each stage, float64 [n]; nan before the first input."""
        return self.exits / self.inputs if self.inputs else np.full(len(self.models), np.nan)

    @property
    def confidences(self) -> list[np.ndarray]:
        """Of the last inputs those that reached each stage: n arrays of confidences, higher = surer."""
        with LOCK:
            recent = np.array(self.last).reshape(-1, len(self.models))
        return [own_units(self.metric, column[~np.isnan(column)]) for column in recent.T]

    @property
    def table(self) -> pd.DataFrame:
        """A row a model: inputs that it saw, exit rate with the 95% interval expected (whether "without choosing", the
        cascade's file says) and measured, seconds a sample in the model and in the decision."""
        with LOCK:
            self = copy.deepcopy(self)
        reached = self.inputs - np.cumsum(self.exits) + self.exits
        table = pd.DataFrame({"inputs": reached, "broken": self.broken}, index=pd.Index(self.models, name="model"))
        if self.expected is not None:
            columns = ["exit_rate_expected", "exit_rate_expected_low", "exit_rate_expected_high"]
            table[columns] = [(rate["value"], rate["low"], rate["high"]) for rate in self.expected["exit_rates"]]
        table["exit_rate"] = self.exit_rates
        if self.inputs:
            live = [mean_with_ends(np.arange(self.inputs) < count, "exact") for count in self.exits]
            table[["exit_rate_low", "exit_rate_high"]] = [(rate["low"], rate["high"]) for rate in live]
        with np.errstate(invalid="ignore"):
            table["model_seconds"], table["decision_seconds"] = (self.seconds / reached[:, None]).T
        return table

    def drift(self, false_alarm_rate: float = 0.01) -> DriftReport:
        """The last inputs against the samples on which the cascade was measured: a :class:`DriftReport`.

        The file keeps quantiles, so live confidences are rounded up to them, which can only lower the statistic: the
        false-alarm rate of :class:`DriftSignal` holds. ValueError where nothing was expected.
        """
        if self.expected is None:
            raise ValueError("nothing is expected of this cascade: give from_point the store that it was measured on")
        summaries = [(np.array(s["values"]), s["counts"]) for s in self.expected["confidences"]]
        signal = DriftSignal(tuple(np.repeat(v, counts) for v, counts in summaries), false_alarm_rate)
        live = [rounded_up(own_units(self.metric, sure), v) for sure, (v, _) in zip(self.confidences, summaries)]
        return signal.check(live)
