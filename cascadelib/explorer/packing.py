"""Outcomes of models on one or two splits as the bytes that the page's evaluator reads.

Of each output: the rank of every sample's confidence among the distinct ones of all splits
together, whether the answer is correct, and for each two neighbouring confidences the shortest
decimal number that parts them. A threshold is then a *cut*: how many of the distinct confidences,
largest first, leave. So the page evaluates with integers, and what it writes down as a threshold
means the same to :func:`cascadelib.evaluate`.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..cost_kinds import cost_of
from ..methods.thresholds import LARGEST, exiting, own_units
from ..origin import samples_in_common
from ..policy.form import threshold_to_json
from ..scoring import F1
from ..tables import in_words
from .splits import Choice, ExploredSplits

MOST_DIGITS = 15  # after the point, of a decimal number that is exact as an integer ÷ 10^digits
MOST_WHOLE = 1e15  # of such an integer
RAW = 255  # digits of a separator that is given as its eight bytes


def separators(falling: Array) -> tuple[Array, Array, Array]:
    """Numbers that part distinct falling confidences [G] from the next, each the one of the fewest
    decimals in (next, own], the last one below nothing: (float64 [G]; their digits uint8 [G]; the
    integers ÷ 10^digits that they are, float64 [G]); RAW digits: the confidence itself."""
    following = np.append(falling[1:], -np.inf)
    found = falling.copy()
    digits = np.full(len(falling), RAW, np.uint8)
    integers = np.zeros(len(falling))
    for count in range(MOST_DIGITS + 1):
        scale = 10.0**count
        with np.errstate(over="ignore", invalid="ignore"):
            whole = np.minimum(np.floor(falling * scale), MOST_WHOLE)
            short = whole / scale
        parts = (following < short) & (short <= falling)
        fits = parts & (digits == RAW) & (-MOST_WHOLE <= whole)
        found[fits] = short[fits]
        integers[fits] = whole[fits]
        digits[fits] = count
    return found, digits, integers


def packed_separators(falling: Array) -> tuple[bytes, bytes, bytes]:
    """:func:`separators` of confidences [G] as (digits, steps, raw): the integer of each is that of
    the one before at the same digits, less its step; of RAW digits, and where the step is no byte,
    float64 in ``raw``."""
    found, digits, integers = separators(falling)
    before = np.append(np.inf, found[:-1])  # nothing stands before the first
    with np.errstate(over="ignore"):
        steps = np.floor(before * 10.0 ** np.minimum(digits, MOST_DIGITS)) - integers
    fits = (digits != RAW) & (steps >= 0) & (steps < 256)
    digits = np.where(fits, digits, RAW).astype(np.uint8)
    steps = np.where(fits, steps, 0).astype(np.uint8)
    return digits.tobytes(), steps.tobytes(), found[~fits].tobytes()


def planes(numbers: Array) -> bytes:
    """Unsigned integers byte by byte, which compresses better: all lowest bytes, then the next."""
    each = numbers.view(np.uint8).reshape(len(numbers), -1)
    return each.T.tobytes()


def falling_values(confidence: Array) -> Array:
    """The distinct ones of confidences [k] that a finite threshold can part, falling: float64
    [G]."""
    joined = np.minimum(confidence, LARGEST)
    return np.unique(joined[~np.isnan(joined)])[::-1]


def cut_of(falling: Array, threshold: float) -> int:
    """How many of the distinct falling confidences [G] leave at a threshold (inside)."""
    return exiting(falling, min(threshold, LARGEST) if threshold < np.inf else np.inf)


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
        task = self.tasks[0]
        self.names = task.names
        self.metric = task.metric
        self.last_only = task.last_only
        self.parts: list[bytes] = []  # arrays one after another
        self.falling: dict[str, Array] = {}  # the distinct confidences of each output
        self.outputs: dict[str, dict[str, Any]] = {}
        for models in [*((name,) for name in self.names), *self.cascades]:
            for length, key in enumerate(self.keys(models), 1):
                if key not in self.outputs:
                    self.outputs[key] = self.output(key, models[:length])

    def put(self, content: bytes) -> tuple[int, int]:
        """(offset, length) in bytes of what is put among the arrays."""
        offset = sum(map(len, self.parts))
        self.parts.append(content)
        return offset, len(content)

    def put_bits(self, flags: Array) -> tuple[int, int]:
        """The place of flags [k], eight to a byte, the first in its lowest bit."""
        packed = np.packbits(flags, bitorder="little")
        return self.put(packed.tobytes())

    def keys(self, models: Sequence[str]) -> list[str]:
        """What the outputs after each model of a cascade (names) are called."""
        row = [str(self.names.index(name)) for name in models]
        if self.last_only:
            return row
        return [",".join(row[: stage + 1]) for stage in range(len(row))]

    def holds(self, models: Sequence[str]) -> bool:
        """Whether a cascade of these models (names) can be evaluated."""
        return set(self.keys(models)) <= set(self.outputs)

    def shows(self, choice: Choice) -> bool:
        """Whether a choice, of any cost, can be shown with what is packed."""
        same = (choice.method, choice.score) == (self.choice.method, self.choice.score)
        return same and self.holds(choice.models)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest confidence in own units, of finite ones."""
        ends = [output["ends"] for output in self.outputs.values()]
        return float(np.min(ends)), float(np.max(ends))

    def output(self, key: str, models: Sequence[str]) -> dict[str, Any]:
        """Pack the output after a prefix of models (names) on all splits."""
        outcomes = [task.stage(tuple(map(task.names.index, models))) for task in self.tasks]
        confidence = np.concatenate([np.asarray(both[1], np.float64) for both in outcomes])
        self.falling[key] = falling = falling_values(confidence)
        # nan sorts behind all: its rank is that of no cut
        above = np.searchsorted(falling[::-1], np.minimum(confidence, LARGEST), "right")
        ranks = np.where(np.isnan(confidence), len(falling), len(falling) - above)
        width = np.uint16 if len(falling) < 2**16 else np.uint32
        digits, steps, raw = packed_separators(falling)
        correct = np.concatenate([both[0] for both in outcomes])
        if correct.dtype == bool:
            written = {"bits": self.put_bits(correct)}
        else:  # graded
            written = {"graded": self.put(correct.astype(np.float64).tobytes())}
        ends = np.clip(falling[[0, -1]] if len(falling) else np.zeros(2), -LARGEST, LARGEST)
        return {
            "groups": len(falling),
            "ends": own_units(self.metric, ends).tolist(),
            "ranks": self.put(planes(ranks.astype(width))),
            "digits": self.put(digits),
            "steps": self.put(steps),
            "raw": self.put(raw),
            "correct": written,
        }

    def row(self, models: Sequence[str], thresholds: Sequence[float]) -> list:
        """A cascade as the page reads it: [models (positions), thresholds (own units), cuts, or
        None where it is not packed]."""
        written = [threshold_to_json(self.metric, threshold) for threshold in thresholds]
        return [list(map(self.names.index, models)), written, self.cuts(models, thresholds)]

    def cuts(self, models: Sequence[str], thresholds: Sequence[float]) -> list[int] | None:
        """The cuts of a cascade (names) at thresholds in own units; None where it is not packed."""
        if not self.holds(models):
            return None
        inside = own_units(self.metric, np.array(thresholds, np.float64)).tolist()
        return [cut_of(self.falling[key], at) for key, at in zip(self.keys(models), inside)]

    def split(self, name: str) -> dict[str, Any]:
        """What the page knows of a split beside the outputs: its size, costs, single models."""
        store = self.splits.stores[name]
        baselines = {}
        for kind in self.splits.costs:
            task = self.splits.task(name, replace(self.choice, cost=kind))
            hull = task.baseline.hull
            singles = task.baseline.table.loc[self.names, ["accuracy", "cost"]]
            baselines[kind] = {
                "accuracy": task.baseline.accuracy[hull].tolist(),
                "cost": task.baseline.cost[hull].tolist(),
                "best": self.names.index(task.baseline.table["accuracy"].idxmax()),
                "singles": singles.to_numpy().T.tolist(),
            }
            if task.costs.ndim == 2:
                paid = task.costs[list(map(task.names.index, self.names))]
                baselines[kind]["paid"] = self.put(paid.astype(np.float64).tobytes())
        written = {
            "name": name,
            "data": f"{store.origin.dataset} {store.origin.split}".strip(),
            "samples": len(store),
            "shared": samples_in_common(self.splits.store.origin, store.origin) or 0,
            "baselines": baselines,
        }
        if self.choice.score == F1:
            written["positive"] = self.put_bits(store.positives())
        return written

    def to_bytes(self, more: Mapping[str, Any]) -> bytes:
        """All of it, compressed: four bytes, how long the JSON is; the JSON, with what is put
        beside; the arrays."""
        header = {
            "models": self.names,
            "method": self.choice.method,
            "method_words": in_words(self.choice.method),
            "score": self.choice.score,
            "score_words": in_words(self.choice.score),
            "costs": {kind: in_words(kind) for kind in self.splits.costs},
            "cost_words": {
                kind: [cost_of(kind).less, cost_of(kind).more] for kind in self.splits.costs
            },
            "sign": float(own_units(self.metric, 1.0)),
            "last_only": self.last_only,
            "splits": [self.split(name) for name in self.splits.stores],
            "outputs": self.outputs,
            **more,
        }
        text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
        return zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *self.parts]))
