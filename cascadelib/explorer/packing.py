"""Pack outcomes of models on one or two splits into the bytes that the page's evaluator reads.

The output after a model consists of three arrays:

- the rank of each sample's confidence among the distinct confidences of all splits
- the correctness of each sample
- a *separator* for each two neighbouring confidences: the number between them with the fewest
  decimals

The page replaces a threshold by a *cut*, the number of distinct confidences that exit, the largest
first. So it evaluates with integers, and its results equal those of :func:`cascadelib.evaluate`.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy import ndarray as Array

from ..figures.cost_kinds import cost_of
from ..figures.tables import in_words
from ..methods.thresholds import LARGEST, convert_units, count_exiting
from ..origin import samples_in_common
from ..policy.form import threshold_to_json
from ..stages import F1
from .splits import Choice, ExploredSplits

MAX_DIGITS = 15  # decimals of a separator, so that 10^decimals is exact
MAX_INTEGER = 1e15
RAW = 255  # value of "digits" that marks a separator stored as eight bytes


def separators(falling: Array) -> tuple[Array, Array, Array]:
    """Return separators of distinct falling confidences [G]: (separators, digits, integers).

    A separator, float64 [G], is at most its confidence and above the next one. It is an integer,
    float64 [G], ÷ 10^digits, uint8 [G]. If digits are RAW, the separator is the confidence itself.
    """
    following = np.append(falling[1:], -np.inf)
    found = falling.copy()
    digits = np.full(len(falling), RAW, np.uint8)
    integers = np.zeros(len(falling))
    for count in range(MAX_DIGITS + 1):
        scale = 10.0**count
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = np.minimum(np.floor(falling * scale), MAX_INTEGER)
            short = rounded / scale
        separates = (following < short) & (short <= falling)
        fits = separates & (digits == RAW) & (-MAX_INTEGER <= rounded)
        found[fits] = short[fits]
        integers[fits] = rounded[fits]
        digits[fits] = count
    return found, digits, integers


def pack_separators(falling: Array) -> tuple[bytes, bytes, bytes]:
    """Pack the :func:`separators` of confidences [G] as (digits, steps, raw).

    A step is the difference between the previous separator and the current one, in units of the
    last digit of the current one. For this, the previous separator is rounded down to that digit.
    ``raw`` contains float64 numbers: the separators with RAW digits, and those whose step is not a
    byte.
    """
    found, digits, integers = separators(falling)
    before = np.append(np.inf, found[:-1])
    with np.errstate(over="ignore"):
        steps = np.floor(before * 10.0 ** np.minimum(digits, MAX_DIGITS)) - integers
    fits = (digits != RAW) & (steps >= 0) & (steps < 256)
    digits = np.where(fits, digits, RAW).astype(np.uint8)
    steps = np.where(fits, steps, 0).astype(np.uint8)
    return digits.tobytes(), steps.tobytes(), found[~fits].tobytes()


def distinct_falling(confidence: Array) -> Array:
    """Return the distinct confidences that finite thresholds separate, falling, float64 [G]."""
    joined = np.minimum(confidence, LARGEST)
    return np.unique(joined[~np.isnan(joined)])[::-1]


@dataclass(eq=False)
class Packed:
    """Arrays and JSON of one method and score of :class:`ExploredSplits`.

    They contain the outputs of all single models and, for an ensemble, those of all prefixes of the
    cascades, which are tuples of names.
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
        self.arrays: list[bytes] = []
        self.size = 0  # bytes of the arrays
        self.falling: dict[str, Array] = {}  # distinct confidences of each output
        self.outputs: dict[str, dict[str, Any]] = {}
        for models in [*((name,) for name in self.names), *self.cascades]:
            for length, key in enumerate(self.keys(models), 1):
                if key not in self.outputs:
                    self.outputs[key] = self.pack_output(key, models[:length])

    def put(self, content: bytes) -> tuple[int, int]:
        """Append an array and return its (offset, length) in bytes."""
        place = self.size, len(content)
        self.arrays.append(content)
        self.size += len(content)
        return place

    def put_bits(self, flags: Array) -> tuple[int, int]:
        """Append flags [k], eight per byte, the first one in the lowest bit."""
        return self.put(np.packbits(flags, bitorder="little").tobytes())

    def keys(self, models: Sequence[str]) -> list[str]:
        """Return the keys of the outputs after each model of a cascade."""
        row = [str(self.names.index(name)) for name in models]
        if self.last_only:
            return row
        return [",".join(row[: stage + 1]) for stage in range(len(row))]

    def holds(self, models: Sequence[str]) -> bool:
        """Return whether the outputs of a cascade are packed."""
        return set(self.keys(models)) <= set(self.outputs)

    def shows(self, choice: Choice) -> bool:
        """Return whether the outputs of a choice are packed. Its cost does not matter."""
        is_same = (choice.method, choice.score) == (self.choice.method, self.choice.score)
        return is_same and self.holds(choice.models)

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest finite confidence in native units."""
        ends = [output["ends"] for output in self.outputs.values()]
        return float(np.min(ends)), float(np.max(ends))

    def pack_output(self, key: str, models: Sequence[str]) -> dict[str, Any]:
        """Pack the output after a prefix of models on all splits."""
        outcomes = [task.stage(tuple(map(task.names.index, models))) for task in self.tasks]
        confidence = np.concatenate([np.asarray(both[1], np.float64) for both in outcomes])
        self.falling[key] = falling = distinct_falling(confidence)
        # The rank of nan is above all cuts, so it never exits.
        above = np.searchsorted(falling[::-1], np.minimum(confidence, LARGEST), "right")
        ranks = np.where(np.isnan(confidence), len(falling), len(falling) - above)
        ranks = ranks.astype(np.uint16 if len(falling) < 2**16 else np.uint32)
        digits, steps, raw = pack_separators(falling)
        correct = np.concatenate([both[0] for both in outcomes])
        if correct.dtype == bool:
            written = {"bits": self.put_bits(correct)}
        else:  # graded
            written = {"graded": self.put(correct.astype(np.float64).tobytes())}
        ends = np.clip(falling[[0, -1]] if len(falling) else np.zeros(2), -LARGEST, LARGEST)
        return {
            "groups": len(falling),
            "ends": convert_units(self.metric, ends).tolist(),
            # All lowest bytes, then all next ones: this order compresses better.
            "ranks": self.put(ranks.view(np.uint8).reshape(len(ranks), -1).T.tobytes()),
            "digits": self.put(digits),
            "steps": self.put(steps),
            "raw": self.put(raw),
            "correct": written,
        }

    def row(self, models: Sequence[str], thresholds: Sequence[float]) -> list:
        """Return a cascade for the page: [positions, thresholds in native units, cuts]."""
        written = [threshold_to_json(self.metric, threshold) for threshold in thresholds]
        return [list(map(self.names.index, models)), written, self.cuts(models, thresholds)]

    def cuts(self, models: Sequence[str], thresholds: Sequence[float]) -> list[int] | None:
        """Return the cuts at thresholds in native units, or None if an output is not packed."""
        if not self.holds(models):
            return None
        inside = convert_units(self.metric, np.array(thresholds, np.float64)).tolist()
        return [count_exiting(self.falling[key], at) for key, at in zip(self.keys(models), inside)]

    def pack_split(self, name: str) -> dict[str, Any]:
        """Return the JSON of a split without its outputs: size, costs, single models."""
        store = self.splits.stores[name]
        baselines = {}
        for kind in self.splits.costs:
            task = self.splits.task(name, replace(self.choice, cost=kind))
            baseline = task.baseline
            singles = baseline.table.loc[self.names, ["accuracy", "cost"]]
            baselines[kind] = {
                "accuracy": baseline.accuracy[baseline.hull].tolist(),
                "cost": baseline.cost[baseline.hull].tolist(),
                "best": self.names.index(baseline.table["accuracy"].idxmax()),
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

    def to_bytes(self, details: Mapping[str, Any]) -> bytes:
        """Compress the length of the JSON (four bytes), the JSON with `details`, and the arrays."""
        kinds = self.splits.costs
        header = {
            "models": self.names,
            "method": self.choice.method,
            "score": self.choice.score,
            "score_words": in_words(self.choice.score),
            "costs": {kind: in_words(kind) for kind in kinds},
            "cost_words": {kind: [cost_of(kind).less, cost_of(kind).more] for kind in kinds},
            "sign": float(convert_units(self.metric, 1.0)),
            "last_only": self.last_only,
            "splits": [self.pack_split(name) for name in self.splits.stores],
            "outputs": self.outputs,
            **details,
        }
        text = json.dumps(header, ensure_ascii=False, allow_nan=False).encode()
        return zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *self.arrays]))
