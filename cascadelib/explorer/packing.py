"""Outcomes of models on one or two splits as the bytes that the page's evaluator reads.

Of each output: the rank of every sample's confidence among the distinct ones of all splits together,
whether the answer is correct, and for each two neighbouring confidences the shortest decimal number
that parts them. A threshold is then a *cut*: how many of the distinct confidences, largest first,
leave. So the page evaluates with integers, and what it writes down as a threshold means the same to
:func:`cascadelib.evaluate`.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..methods.thresholds import LARGEST, own_units
from ..scoring import F1
from ..tables import in_words
from .splits import Choice, ExploredSplits

MOST_DIGITS = 15  # after the point, of a decimal number that is exact as an integer ÷ 10^digits
MOST_WHOLE = 1e15  # of such an integer
RAW = 255  # digits of a separator that is given as its eight bytes
Prefix = tuple[int, ...]


@dataclass(eq=False)
class Blob:
    """Arrays one after another, each found again by (offset, length)."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0

    def put(self, content: bytes) -> tuple[int, int]:
        """(offset, length) in bytes of what was put in."""
        place = (self.size, len(content))
        self.parts.append(content)
        self.size += len(content)
        return place


def separators(falling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers that part distinct falling confidences [G] from the next, each the one of the fewest
    decimals in (next, own], the last one below nothing: (float64 [G], their digits uint8 [G]); RAW
    digits: the confidence itself."""
    following = np.append(falling[1:], -np.inf)
    found = falling.copy()
    digits = np.full(len(falling), RAW, np.uint8)
    for count in range(MOST_DIGITS + 1):
        scale = 10.0**count
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.minimum(np.floor(falling * scale), MOST_WHOLE)
            short = whole / scale
        parts = (following < short) & (short <= falling)
        fits = parts & (digits == RAW) & (-MOST_WHOLE <= whole)
        found[fits] = short[fits]
        digits[fits] = count
    return found, digits


def packed_separators(falling: np.ndarray) -> tuple[bytes, bytes, bytes]:
    """:func:`separators` of confidences [G] as (digits, steps, raw): the integer of each is that of
    the one before at the same digits, less its step; of RAW digits, and where the step is no byte,
    float64 in ``raw``."""
    found, digits = separators(falling)
    before = np.append(found[:1], found[:-1])
    with np.errstate(over="ignore", invalid="ignore"):
        scale = 10.0 ** digits.astype(np.float64)
        above = np.floor(before * scale)
        step = above - np.round(found * scale)
        fits = (digits != RAW) & (step >= 0) & (step < 256)
        fits[:1] = False  # nothing stands before it
        again = (above - step)[fits] / scale[fits]
        fits[fits] = again == found[fits]
    digits = np.where(fits, digits, RAW).astype(np.uint8)
    steps = np.where(fits, step, 0).astype(np.uint8)
    return digits.tobytes(), steps.tobytes(), found[~fits].tobytes()


def planes(numbers: np.ndarray) -> bytes:
    """Unsigned integers byte by byte, which compresses better: all lowest bytes, then the next."""
    each = numbers.view(np.uint8).reshape(len(numbers), -1)
    return each.T.tobytes()


def falling_values(confidence: np.ndarray) -> np.ndarray:
    """The distinct ones of confidences [k] that a finite threshold can part, falling: float64 [G]."""
    known = confidence[~np.isnan(confidence)]
    joined = np.minimum(known, LARGEST)
    rising = np.unique(joined)
    return rising[::-1]


def ends_of_range(falling: np.ndarray) -> np.ndarray:
    """The largest and the least of falling confidences [G] as finite numbers; 0 where there are
    none."""
    ends = falling[[0, -1]] if len(falling) else np.zeros(2)
    return np.clip(ends, -LARGEST, LARGEST)


def cut_of(falling: np.ndarray, threshold: float) -> int:
    """How many of the distinct falling confidences [G] leave at a threshold (inside)."""
    if threshold == np.inf:
        return 0
    rising = falling[::-1]
    below = np.searchsorted(rising, min(threshold, LARGEST))
    return len(falling) - int(below)


@dataclass(eq=False)
class Packed:
    """One method and score of :class:`ExploredSplits`, packed.

    Parameters
    ----------
    splits : ExploredSplits
    choice : Choice
        Its method and score.
    cascades : iterable of tuples of names
        Whose every prefix is packed, where an output depends on more than the last model.
    """

    splits: ExploredSplits
    choice: Choice
    cascades: Iterable[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.tasks = [self.splits.task(split, self.choice) for split in self.splits.stores]
        self.names = self.tasks[0].names
        self.last_only = self.tasks[0].last_only
        prefixes: list[Prefix] = [(model,) for model in range(len(self.names))]
        if not self.last_only:
            for models in self.cascades:
                row = tuple(map(self.names.index, models))
                prefixes += [row[:length] for length in range(2, len(row) + 1)]
        self.prefixes = list(dict.fromkeys(prefixes))
        self.values: dict[Prefix, np.ndarray] = {}
        self.blob = Blob()
        self.outputs = {self.key(prefix): self.output(prefix) for prefix in self.prefixes}

    def key(self, prefix: Sequence[int]) -> str:
        """What the output after a prefix of models (positions) is called."""
        if self.last_only:
            return str(prefix[-1])
        return ",".join(map(str, prefix))

    def holds(self, models: Sequence[str]) -> bool:
        """Whether a cascade of these models (names) can be evaluated."""
        row = [self.names.index(name) for name in models]
        keys = [self.key(row[:length]) for length in range(1, len(row) + 1)]
        return all(key in self.outputs for key in keys)

    def output(self, prefix: Prefix) -> dict[str, Any]:
        """Pack the output after a prefix of models on all splits."""
        outcomes = []
        for task in self.tasks:
            row = tuple(task.names.index(self.names[model]) for model in prefix)
            outcomes.append(task.stage(row))
        confidences = [np.asarray(both[1], np.float64) for both in outcomes]
        confidence = np.concatenate(confidences)
        falling = falling_values(confidence)
        self.values[prefix[-1:] if self.last_only else prefix] = falling
        # nan sorts behind all: its rank is that of no cut
        rising = falling[::-1]
        joined = np.minimum(confidence, LARGEST)
        above = np.searchsorted(rising, joined, "right")
        ranks = len(falling) - above
        ranks[np.isnan(confidence)] = len(falling)
        width = np.uint16 if len(falling) < 2**16 else np.uint32
        correct = self.packed_correct([both[0] for both in outcomes])
        digits, steps, raw = packed_separators(falling)
        return {
            "groups": len(falling),
            "ends": own_units(self.tasks[0].metric, ends_of_range(falling)).tolist(),
            "ranks": self.blob.put(planes(ranks.astype(width))),
            "digits": self.blob.put(digits),
            "steps": self.blob.put(steps),
            "raw": self.blob.put(raw),
            "correct": correct,
        }

    def packed_correct(self, each: Sequence[np.ndarray]) -> dict[str, Any]:
        """Who is correct on each split, as bits, or as float64 where scores are graded."""
        correct = np.concatenate([np.asarray(one) for one in each])
        if correct.dtype == bool:
            bits = np.packbits(correct, bitorder="little")
            return {"bits": self.blob.put(bits.tobytes())}
        graded = correct.astype(np.float64)
        return {"graded": self.blob.put(graded.tobytes())}

    def cuts(self, models: Sequence[str], thresholds: Sequence[float]) -> list[int] | None:
        """The cuts of a cascade (names) at thresholds in own units; None where it is not packed."""
        if not self.holds(models):
            return None
        row = tuple(map(self.names.index, models))
        inside = own_units(self.tasks[0].metric, np.array(thresholds, np.float64))
        return [
            cut_of(self.falling(row[: stage + 1]), threshold)
            for stage, threshold in enumerate(inside.tolist())
        ]

    def falling(self, prefix: Prefix) -> np.ndarray:
        """The distinct confidences, falling, after a prefix of models (positions)."""
        if self.last_only:
            return self.values[prefix[-1:]]
        return self.values[prefix]

    def split(self, name: str) -> dict[str, Any]:
        """What the page knows of a split beside the outputs: its size, costs, single models."""
        store = self.splits.stores[name]
        costs = {}
        baselines = {}
        for kind in self.splits.costs:
            task = self.splits.task(name, replace(self.choice, cost=kind))
            order = [task.names.index(model) for model in self.names]
            own = task.costs[order]
            costs[kind] = self.put_costs(own)
            hull = task.baseline.hull
            singles = task.singles.loc[self.names]
            baselines[kind] = {
                "accuracy": task.baseline.accuracy[hull].tolist(),
                "cost": task.baseline.cost[hull].tolist(),
                "best": self.names.index(task.singles["accuracy"].idxmax()),
                "singles": singles[["accuracy", "cost"]].to_numpy().T.tolist(),
            }
        written = {"name": name, "samples": len(store), "costs": costs, "baselines": baselines}
        if self.choice.score == F1:
            positive = np.packbits(store.positives(), bitorder="little")
            written["positive"] = self.blob.put(positive.tobytes())
        return written

    def put_costs(self, costs: np.ndarray) -> dict[str, Any]:
        """Costs [M], or [M, k] of every sample and their means."""
        if costs.ndim == 1:
            return {"each": costs.tolist()}
        samples = np.ascontiguousarray(costs, np.float64)
        return {
            "each": costs.mean(axis=1).tolist(),
            "samples": self.blob.put(samples.tobytes()),
        }

    def to_bytes(self, more: Mapping[str, Any]) -> bytes:
        """All of it, compressed: four bytes, how long the JSON is; the JSON, with what is put beside;
        the arrays."""
        metric = self.tasks[0].metric
        header = {
            "models": self.names,
            "method": self.choice.method,
            "method_words": in_words(self.choice.method),
            "score": self.choice.score,
            "score_words": in_words(self.choice.score),
            "costs": {kind: in_words(kind) for kind in self.splits.costs},
            "sign": float(own_units(metric, 1.0)),
            "last_only": self.last_only,
            "splits": [self.split(name) for name in self.splits.stores],
            "outputs": self.outputs,
        }
        parts = header | dict(more)
        text = json.dumps(parts, ensure_ascii=False, allow_nan=False).encode()
        head = len(text).to_bytes(4, "little")
        whole = b"".join([head, text, *self.blob.parts])
        return zlib.compress(whole, 6)
