"""The decisions of a cascade without its models, and the small JSON file that holds them.

The file is readable by a human, keeps floats to the last bit, and holds nothing that runs when it is read. To load one
and to decide takes numpy alone: neither torch nor pandas nor compiled kernels.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import known
from ..files import replacing
from ..methods.confidence_metrics import metric_of
from ..methods.thresholds import WORDS, leaves, own_units

if TYPE_CHECKING:
    from ..fronts.front import Point

FORMAT, VERSION = "cascadelib cascade", 1
CHOSEN = ("accuracy", "cost", "exit_rates", "improvement")
PARTS = ("models", "thresholds", "method", "score", "cost_kind", "chosen", "chosen_on", "expected", "versions")
METHOD = ("metric", "ensemble", "temperature", "temperatures")


@dataclass(frozen=True)
class Policy:
    """Which models run, in which order, and who leaves after each: a cascade as its file has it, without its models.

    Made by :meth:`from_point` or :meth:`load`; :class:`Cascade` decides by one, and either reads what the other wrote.
    description: what the file says; thresholds: in use, one fewer than ``models``, in the metric's own units (default:
    the file's). Raises ValueError for another number of thresholds, and for nan.
    """

    description: Mapping
    thresholds: tuple[float, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        values = self.thresholds
        if values is None:
            values = [threshold_from_json(self.metric, t) for t in self.description["thresholds"]]
        values = tuple(float(t) for t in values)
        if len(values) != len(self.models) - 1 or any(map(math.isnan, values)):
            raise ValueError(f"{len(self.models) - 1} thresholds without nan are needed, not {values}")
        object.__setattr__(self, "thresholds", values)

    @classmethod
    def from_point(cls, point: "Point", store: Any = None, held_out: Any = None) -> "Policy":
        """The policy of a :class:`Point`; store, held_out: as in :meth:`Cascade.from_point`."""
        from .cascade_file import description_of

        return cls(description_of(point, store, held_out))

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """A policy from :meth:`save` or :meth:`Cascade.save`. ValueError names the file and what is wrong with it: no
        JSON, another format or version, an edit, thresholds, names or a method that no cascade can have."""
        try:
            return cls(parse_cascade(Path(path).read_text(encoding="utf-8")))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all, with its point's thresholds, on which the expectations rest; ValueError
        for a metric or an ensemble that is a function."""
        text = text_of(self.description)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    @property
    def models(self) -> tuple[str, ...]:
        """Names, in the order in which they run."""
        return tuple(model["name"] for model in self.description["models"])

    @property
    def metric(self) -> str | None:
        """The confidence metric; None for a policy of a ScoreTable, whose confidences have no name."""
        return self.description["method"] and self.description["method"]["metric"]

    @cached_property
    def inside(self) -> np.ndarray:
        """Thresholds as they are compared with confidences (higher = surer), float64 [n − 1]."""
        return own_units(self.metric, np.array(self.thresholds, np.float64))

    def exits(self, stage: int, confidence: np.ndarray, inside: bool = False) -> np.ndarray:
        """Which samples leave after a stage (0 = first model), bool [N]: all after the last one; nan passes on.

        confidence: float [N] of the cascade's output after that stage (of an ensemble, where the method has one), in
        the metric's own units; ``inside``: higher = surer instead. Raises ValueError for a stage that is not there.
        """
        if not 0 <= stage < len(self.models):
            raise ValueError(f"stage must be 0 to {len(self.models) - 1}, not {stage}")
        if stage == len(self.models) - 1:
            return np.ones(np.shape(confidence), bool)
        return leaves(np.asarray(confidence) if inside else own_units(self.metric, confidence), self.inside[stage])


def text_of(description: Mapping) -> str:
    """The JSON text of a description, with format, version and a checksum that tells later edits; ValueError for a
    metric or an ensemble that is a function: it has no name to write."""
    functions = [f"{key} {value!r}" for key, value in (description["method"] or {}).items() if callable(value)]
    if functions:
        raise ValueError(f"the {' and the '.join(functions)} is a function; only what has a name can be written")
    description = {part: description[part] for part in PARTS}
    head = {"format": FORMAT, "version": VERSION, "checksum": checksum(description)}
    text = json.dumps(head | description, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", on_one_line, text) + "\n"


def on_one_line(match: re.Match) -> str:
    """A list or object of plain values on one line, unless that makes it a long one."""
    opening, *middle, closing = (line.strip() for line in match[0].split("\n"))
    line = opening + " ".join(middle) + closing
    return line if len(line) < 120 else match[0]


def parse_cascade(text: str) -> dict:
    """The description in a JSON text. Raises as :meth:`Policy.load`."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"this is no JSON ({error})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"this is no cascade: 'format' is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"format version {content.get('version')!r}, but this cascadelib reads version {VERSION}: use the "
            "cascadelib that wrote it, or save the cascade again with this one"
        )
    missing = [part for part in PARTS if part not in content]
    if missing:
        raise ValueError(f"the cascade lacks {', '.join(map(repr, missing))}")
    description = {part: content[part] for part in PARTS}
    check_description(description)
    if content.get("checksum") != checksum(description):
        raise ValueError(
            "the file was edited after it was written: its checksum does not fit. Its expected accuracy, cost and exit "
            "rates may no longer hold. Choose the point anew; or, where the edit is meant, write it again: "
            "cascadelib.Policy(json.loads(Path(path).read_text())).save(path)"
        )
    return description


def checksum(description: Mapping) -> str:
    """SHA-256 of a description's content, whatever its layout on the page."""
    return hashlib.sha256(json.dumps(description, sort_keys=True, allow_nan=False).encode()).hexdigest()


def check_description(description: Mapping) -> None:
    """Raise ValueError, naming the part, unless the decisions that a description asks for can be made."""
    try:
        names = [model["name"] for model in description["models"]]
        if not names or len(set(names)) < len(names) or not all(isinstance(name, str) and name for name in names):
            raise ValueError(f"'models' must be distinct names, not {names}")
        if (count := len(description["thresholds"])) != len(names) - 1:
            raise ValueError(f"{count} thresholds for {len(names)} models; one fewer is needed")
        for key in CHOSEN:
            np.array(description["chosen"][key], np.float64)
        if description["method"] is not None:
            check_method(description["method"], names)
        for t in description["thresholds"]:
            threshold_from_json(description["method"] and description["method"]["metric"], t)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"a part of the cascade is missing or of another kind ({error!r})") from None


def check_method(method: Mapping, names: Sequence[str]) -> None:
    """Raise ValueError unless ``method`` has the parts of a :class:`Method`, a known metric, and temperatures. An
    ensemble is only named here: whoever runs it (:class:`Cascade`) refuses one that it does not know."""
    if set(method) != set(METHOD):
        raise TypeError(f"a method has {', '.join(METHOD)}, not {', '.join(method)}")
    metric_of(method["metric"])
    for name in names if method["temperature"] else ():
        t = method["temperatures"][known(name, method["temperatures"], "model with a fitted temperature")]
        if not (isinstance(t, (int, float)) and math.isfinite(t) and t > 0):
            raise ValueError(f"the temperature of {name!r} must be a positive number, not {t!r}")


def threshold_to_json(metric: str | Callable | None, threshold: float) -> float | str:
    """A threshold in the metric's own units → the number; at the two ends when to exit: "always" or "never"."""
    inside = float(own_units(metric, threshold))
    return next((word for word, end in WORDS.items() if inside == end), float(threshold))


def threshold_from_json(metric: str | Callable | None, value: Any) -> float:
    """The inverse of :func:`threshold_to_json`; ValueError for anything but a finite number and the two words."""
    if isinstance(value, str):
        return float(own_units(metric, WORDS[known(value, WORDS, "threshold")]))
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"a threshold must be a finite number, 'always' or 'never', not {value!r}")
    return float(value)
