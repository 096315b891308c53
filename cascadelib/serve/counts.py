"""Count the decisions of one process, add up counts of processes, and validate saved counts."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import numpy as np

from ..checks import brief, misfit
from ..policy.decisions import FAILURES
from .drift_signal import DriftSignal

MAX_RECENT = 2**16  # keys that are remembered
MAX_PENDING = 2**16
VERDICTS = ("lost", "tied", "gained")
COUNT = range(2**53)
AMOUNT = slice(0, 1e150)  # its square is a float, too
NAME = (str, range(-(2**63), 2**63))
WINDOW = {name: COUNT for name in ("since", "audited", *VERDICTS)}
# The shape of each sum (n: models, k: kinds of failure) and the form of its values, see misfit().
SUMS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys("came inputs priced audited audit_failures forgotten".split(), ("", COUNT)),
    **dict.fromkeys(("audit_seconds", "audit_cost"), ("", AMOUNT)),
    **dict.fromkeys(("exits", "lost_at"), ("n", COUNT)),
    "failed": ("nk", COUNT),
    "seconds": ("n2", AMOUNT),
    "spent": ("n", AMOUNT),
    "money": ("2", AMOUNT),
}


@dataclass(eq=False)
class Counts:
    """The counts of one process since its start.

    Parameters
    ----------
    signal : DriftSignal or None
    sums : dict
        A number or an array for each name in ``SUMS``.
    identity : str
        A uuid, or "" before the first input.
    version : int
        Increases with each change.
    windows : list of Counter
        Windows of the audit: start, number of inputs, and verdicts by their labels.
    pending : dict
        Audited inputs without a verdict: [prediction, reference's prediction, window, stage] by
        id.
    labelled : dict
        Verdicts by id, of inputs that are pending in this process, from labels that a report over
        processes received.
    recent : dict
        Digests of the most recent keys.
    """

    signal: DriftSignal | None
    sums: dict[str, Any]
    identity: str = ""
    version: int = 0
    windows: list[Counter] = field(default_factory=list)
    pending: dict[Any, list] = field(default_factory=dict)
    labelled: dict[Any, str] = field(default_factory=dict)
    recent: dict[str, None] = field(default_factory=dict)

    @classmethod
    def empty(cls, models: int, signal: DriftSignal | None = None) -> "Counts":
        """Return counts of zero inputs, for a cascade of n models."""
        sums: dict[str, Any] = {}
        for name, (shape, form) in SUMS.items():
            kind = np.int64 if form is COUNT else np.float64
            sums[name] = np.zeros(shape_of(shape, models), kind) if shape else 0
        return cls(signal, sums)

    def settle(self, verdicts: Mapping[Any, str]) -> list:
        """Count the verdicts of pending inputs, and return their ids."""
        found = [name for name in verdicts if name in self.pending]
        for name in found:
            *_, window, stage = self.pending.pop(name)
            self.windows[window][verdicts[name]] += 1
            self.sums["lost_at"][stage] += verdicts[name] == "lost"
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values of JSON."""
        doubts = [
            {"id": name, "predictions": doubt[:2], "window": doubt[2], "stage": doubt[3]}
            for name, doubt in self.pending.items()
        ]
        return {
            "identity": self.identity,
            "version": self.version,
            "signal": None if self.signal is None else self.signal.state(),
            "sums": {name: np.asarray(value).tolist() for name, value in self.sums.items()},
            "windows": [dict.fromkeys(WINDOW, 0) | window for window in self.windows],
            "doubts": doubts,
            "labelled": [{"id": name, "verdict": said} for name, said in self.labelled.items()],
            "recent": list(self.recent),
        }

    def restore(self, written: Mapping[str, Any]) -> None:
        """Restore what :meth:`to_json` wrote, for the same number of models and the same signal.

        Raises an error if a process cannot have counted it.
        """
        models = len(self.sums["exits"])
        windows = range(len(written["windows"]))
        doubt = {"id": NAME, "predictions": [object], "window": windows, "stage": range(models)}
        form = {
            "identity": str,
            "version": COUNT,
            "sums": dict.fromkeys(SUMS, object),
            "windows": [WINDOW],
            "doubts": [doubt],
            "labelled": [{"id": NAME, "verdict": str}],
            "recent": [str],
        }
        if place := misfit(written, form):
            raise ValueError(f"{place}: missing or of another kind")
        for name, (shape, kind) in SUMS.items():
            self.sums[name] = read_array(written["sums"][name], shape_of(shape, models), kind, name)
        self.identity = written["identity"]
        self.version = written["version"]
        self.windows = [Counter(window) for window in written["windows"]]
        require(all(window.keys() == WINDOW.keys() for window in self.windows), "windows")
        for one in written["doubts"]:
            prediction, answer = one["predictions"]
            self.pending[one["id"]] = [prediction, answer, one["window"], one["stage"]]
        self.labelled = {one["id"]: one["verdict"] for one in written["labelled"]}
        require({*self.labelled.values()} <= {*VERDICTS}, "verdicts")
        self.recent = dict.fromkeys(written["recent"])
        if self.signal is not None:
            self.signal.restore(written["signal"])
        require(len(self.pending) == len(written["doubts"]) <= MAX_PENDING, "pending ids")
        require(len(self.recent) <= MAX_RECENT, "keys")
        self.check_sums()

    def check_sums(self) -> None:
        """Raise ValueError unless the sums are consistent."""
        sums = self.sums
        verdicts = sum(self.windows, Counter())
        asked = sums["failed"].sum(axis=1)
        reached = sums["inputs"] - np.cumsum(sums["exits"]) + sums["exits"]
        require(bool(self.identity) == bool(sums["came"]), "identity")
        require(sums["exits"].sum() == sums["inputs"], "exits, which must sum to the inputs")
        require(sums["came"] >= asked[0] >= sums["inputs"] >= sums["priced"], "inputs")
        require(all(asked[1:] <= sums["came"]) and asked[-1] >= reached[-1], "failed")
        require(sums["money"][1] * sums["priced"] >= sums["money"][0] ** 2 * (1 - 1e-9), "money")
        require(sums["inputs"] >= sums["audited"] >= sums["audit_failures"], "audited inputs")
        require(verdicts["audited"] == sums["audited"], "windows, which must sum to the audit")
        require(sums["lost_at"].sum() == verdicts["lost"], "inputs that were lost")
        require(all(sums["lost_at"] <= sums["exits"]), "inputs that were lost")
        counts = Counter(window for *_, window, _ in self.pending.values())
        judged = sum(verdicts[name] for name in VERDICTS)
        require(judged + len(self.pending) + sums["forgotten"] <= sums["audited"], "pending inputs")
        for number, window in enumerate(self.windows):
            judged = sum(window[name] for name in VERDICTS)
            require(judged + counts[number] <= window["audited"], "verdicts of a window")
            require(window["since"] <= sums["came"], "a window's beginning")
        if self.signal is not None:
            require(self.signal.stages[0].inputs <= sums["came"], "inputs of the signal")


def add_up(parts: Sequence[Counts]) -> Counts:
    """Return the total counts of several processes, which must not be changed."""
    if len(parts) == 1:
        return parts[0]
    pairs = zip_longest(*(part.windows for part in parts), fillvalue=Counter())
    found = Counts(None, {name: sum(part.sums[name] for part in parts) for name in SUMS})
    found.windows = [sum(each, Counter()) for each in pairs]
    for part in parts:
        found.pending |= part.pending
    return found


def merge_states(mine: Counts | None, theirs: Counts) -> Counts:
    """Return the newer of two states of one process, with the verdicts of both."""
    if mine is None:
        return theirs
    older, newer = sorted((theirs, mine), key=lambda part: part.version)
    newer.labelled |= {name: older.labelled[name] for name in newer.settle(older.labelled)}
    return newer


def check_parts(parts: Sequence[Counts]) -> None:
    """Raise ValueError unless these can be counts of different processes."""
    identities = [part.identity for part in parts]
    require(len({*identities}) == len(parts) > 0 and all(identities[1:]), "identities")
    names = Counter(name for part in parts for name in part.pending)
    both = [name for name, count in names.items() if count > 1]
    if both:
        raise ValueError(
            f"{len(both)} ids are pending in several processes, such as "
            f"{brief(min(both, key=str))}. Give all inputs of all workers different ids (ids=)"
        )


def shape_of(letters: str, models: int) -> tuple[int, ...]:
    """Return the shape of a sum of ``SUMS``."""
    sizes = {"n": models, "k": len(FAILURES), "2": 2}
    return tuple(sizes[letter] for letter in letters)


def read_array(value: Any, shape: tuple[int, ...], form: Any, name: str) -> Any:
    """Return numbers of a form as an array of a shape, or raise ValueError."""
    for _ in shape:
        form = [form]
    require(misfit(value, form) is None, name)
    require(np.shape(value) == shape, name)
    return np.array(value) if shape else value


def require(holds: Any, what: str) -> None:
    """Raise ValueError that names a part of a state, unless a condition holds."""
    if not holds:
        raise ValueError(f"{what}: missing, of another kind, or inconsistent with the other parts")
