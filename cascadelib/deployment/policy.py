"""The decisions of a cascade without its models, and the small JSON file that holds them.

The file keeps floats to the last bit and holds nothing that runs when it is read. To load one and to decide takes numpy
alone: neither torch nor pandas nor compiled kernels.
"""

import base64
import binascii
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import CLASSES, TEXT, about, check_count, fits, items_of, known, reals
from ..files import digest_of, parsed, read_json, replacing
from ..labels import CONTENT, KEY
from ..methods.confidence_metrics import metric_of
from ..methods.fitted import Fitted, fitted_from_json
from ..methods.thresholds import WORDS, leaves, own_units
from .answers import ask_models, by_model, objects, write_answer
from .decisions import Decisions, nothing

if TYPE_CHECKING:
    from ..fronts.front import Point
    from .monitoring import Running

FORMAT, VERSION = "cascadelib cascade", 1
CHOSEN = ("accuracy", "cost", "exit_rates", "improvement")
LARGEST = 2**23  # bytes of a file, written or read
MOST_SAMPLES = 2**23  # of which a file may keep quantiles
SPLIT = dict.fromkeys(("dataset", "split", "fingerprint", "ids"), TEXT) | {"samples": range(2**53)}
SEEN = SPLIT | {"keys": TEXT, "contents": TEXT}  # of samples that a cascade has seen: digests, too
CHOSEN_ON = SEEN | {"also": ([(SEEN, None)], None)}
ENDS = dict.fromkeys(("value", "low", "high"), float)
SHARE = ENDS | {"value": slice(0, 1)}
METHOD = {
    "metric": str,
    "ensemble": str,
    "temperature": bool,
    "temperatures": (dict, None),
    "fitted": ([dict], None),
}
CONFIDENCES = [
    {"values": [float], "counts": [range(1, MOST_SAMPLES + 1)], "ties": ([SHARE["value"]], None)}
]
EXPECTED = {
    "on": SPLIT,
    "accuracy": ENDS,
    "cost": ENDS,
    "exit_rates": [SHARE],
    "confidences": CONFIDENCES,
}
FORM = {  # of the parts of a description, as fits() reads it
    "models": [{"name": str, "classes": (CLASSES, None)}],
    "thresholds": list,
    "method": (METHOD, None),
    "score": TEXT,
    "cost_kind": TEXT,
    "chosen": dict.fromkeys(CHOSEN, (float, None)) | {"exit_rates": [float]},
    "chosen_on": (CHOSEN_ON, None),
    "expected": (EXPECTED, None),
    "versions": dict,
}


@dataclass(frozen=True, repr=False)
class Policy:
    """Which models run, in which order, and who leaves after each: a cascade as its file has it, without its models.

    :class:`Cascade` decides by one, and either reads what the other wrote; here the models' answers come from the
    caller (:meth:`decide`), or from functions that ask them (:meth:`run`). description: what the file says; thresholds:
    in use, one fewer than ``models``, in the metric's own units (default: the file's), without nan.
    """

    description: Mapping
    thresholds: tuple[float, ...] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        values = self.thresholds
        if values is None:
            values = [threshold_from_json(self.metric, t) for t in self.description["thresholds"]]
        values = tuple(reals(items_of(values), "thresholds").tolist())
        if len(values) != len(self.models) - 1 or any(map(math.isnan, values)):
            raise ValueError(
                f"{len(self.models) - 1} thresholds without nan are needed, not {values}"
            )
        object.__setattr__(self, "thresholds", values)

    @classmethod
    def from_point(cls, point: "Point", store: Any = None, held_out: Any = None) -> "Policy":
        """The policy of a :class:`Point`; store, held_out: as in :meth:`Cascade.from_point`."""
        from .cascade_file import description_of

        return cls(description_of(point, store, held_out))

    @classmethod
    def load(cls, path: str | Path) -> "Policy":
        """A policy from :meth:`save` or :meth:`Cascade.save`. ValueError names the file and what is wrong with it: no
        regular file, no JSON, another format or version, an edit, or a part that no cascade can have."""
        content = read_json(Path(path), LARGEST)
        with about(str(path)):
            return cls(parse_cascade(content))

    def save(self, path: str | Path) -> None:
        """Write the file, whole or not at all, with its point's thresholds, on which the expectations rest; ValueError
        for a metric or an ensemble that is a function."""
        text = text_of(self.description)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def __repr__(self) -> str:
        stages = [f"{name} at {t:.4g}" for name, t in zip(self.models, self.thresholds)]
        by = self.metric or (self.fitted[0].kind if self.fitted else "given confidences")
        return f"<Policy: {' → '.join([*stages, self.models[-1]])}, {by}>"

    @property
    def models(self) -> tuple[str, ...]:
        """Names, in the order in which they run."""
        return tuple(model["name"] for model in self.description["models"])

    @property
    def metric(self) -> str | None:
        """The metric that thresholds are on; None where that has no name: of a ScoreTable, or fitted."""
        return units_of(self.description["method"])

    @cached_property
    def fitted(self) -> list[Fitted]:
        """The fitted confidence after each model; empty where there is none."""
        return [
            fitted_from_json(value)
            for value in (self.description["method"] or {}).get("fitted") or ()
        ]

    @property
    def is_fitted(self) -> bool:
        """Whether labels gave the method its temperatures, or its confidences."""
        method = self.description["method"] or {}
        return bool(method.get("temperatures") or method.get("fitted"))

    @cached_property
    def inside(self) -> np.ndarray:
        """Thresholds as they are compared with confidences (higher = surer), float64 [n − 1]."""
        return own_units(self.metric, np.array(self.thresholds, np.float64))

    @cached_property
    def running(self) -> "Running":
        """Counts, time and drift of what :meth:`run` decided: a :class:`Running`."""
        from .monitoring import Running

        return Running(self.models, self.metric, self.description["expected"])  # type: ignore[arg-type]

    def exits(self, stage: int, confidence: np.ndarray, inside: bool = False) -> np.ndarray:
        """Which samples leave after a stage (0 = first model), bool [N]: all after the last one; nan passes on.

        confidence: float [N] of the cascade's output after that stage (of an ensemble, where the method has one), in
        the metric's own units; ``inside``: higher = surer instead. Raises ValueError for a stage that is not there.
        """
        stage, confidence = (
            check_count(stage, "stage", 0, len(self.inside)),
            reals(confidence, "confidence"),
        )
        if stage == len(self.inside):
            return np.ones(confidence.shape, bool)
        return leaves(
            confidence if inside else own_units(self.metric, confidence), self.inside[stage]
        )

    def decide(self, confidences: Any, predictions: Any = None) -> Decisions:
        """Who leaves where, from what the models say of N samples: :class:`Decisions`, by the rule of :func:`evaluate`.

        confidences: of each model, in their order or as {name: …}, [N] in the metric's own units, of the output after
        that stage (of an ensemble, where the method has one), or [N, c] columns that a fitted confidence reads (higher
        = surer); nan only where no sample gets; the last model's decide nothing and may be missing. predictions:
        likewise, [N] each, of any kind. ValueError naming the model where something is missing, or of another length.
        """
        sure, said = (
            by_model(self, confidences, "confidences"),
            by_model(self, predictions, "predictions"),
        )
        sure = [
            values if values is None else np.atleast_1d(reals(values, "confidences"))
            for values in sure
        ]
        said = [values if values is None else objects(values) for values in said]
        sizes = {len(values) for values in (*sure, *said) if values is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"confidences and predictions must be of equally many samples, not {sorted(sizes)}"
            )
        decisions = nothing(max(sizes, default=0), len(sure))
        for stage, parts in enumerate(zip(said, sure)):
            rows = np.flatnonzero(decisions.exit_stage < 0)
            write_answer(
                self,
                decisions,
                stage,
                rows,
                *(part if part is None else part[rows] for part in parts),
            )
        return decisions

    def run(
        self,
        calls: Any,
        inputs: Iterable,
        batch_size: int = 64,
        concurrency: int = 8,
        on_error: str = "stop",
    ) -> Decisions:
        """Ask the models, each about those of N inputs that are undecided: :class:`Decisions` in the inputs' order.

        calls: a function for each model, in their order or as {name: function}, async or not: from a list of at most
        ``batch_size`` inputs to (predictions, confidences), one each an input, confidences as :meth:`decide` takes
        them, at the method's temperature (of the last model None, where it has none). At most ``concurrency`` calls of
        a model are under way at once, each in a thread, those that are async in one event loop. Whoever calls a service
        retries within the function.

        on_error: what an exception in a call leads to: "stop" (no call begins after it, and it goes on to the caller,
        with ``error.decided`` as in :meth:`Cascade.run`), or "next" (its inputs go to the next model, or keep the
        answer that they have, with a warning). An answer of another length, or with a confidence that is nan (−inf
        sends an input on), is a ValueError naming the model in either case; so is a policy with an ensemble.
        """
        return ask_models(self, calls, inputs, batch_size, concurrency, on_error)


def text_of(description: Mapping) -> str:
    """The JSON text of a description, with format, version and a checksum that tells later edits; ValueError for a
    metric or an ensemble that is a function: it has no name to write."""
    functions = [
        f"{key} {value!r}"
        for key, value in (description["method"] or {}).items()
        if callable(value)
    ]
    if functions:
        raise ValueError(
            f"the {' and the '.join(functions)} is a function; only what has a name can be written"
        )
    said: dict[str, Any] = {part: description[part] for part in FORM}
    text = written(said)
    while (size := len(text.encode())) > LARGEST and (less := without_digests(said["chosen_on"])):
        said["chosen_on"] = less  # what it has seen is then not known, and promises say so
        text = written(said)
    if size > LARGEST:
        raise ValueError(
            f"a part is too large: the cascade takes {size} bytes, and {LARGEST} at most are written "
            "and read; use a confidence that is fitted with fewer parameters, as 'logistic'"
        )
    return text


def written(description: dict) -> str:
    """The JSON text of a description in all its parts, however long."""
    head = {"format": FORMAT, "version": VERSION, "checksum": digest_of(description)}
    text = json.dumps(head | description, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"[\[{]\n[^\[\]{}]*[\]}]", on_one_line, text) + "\n"


def without_digests(chosen_on: Mapping | None) -> dict | None:
    """The samples seen, without the longest list of digests of their ids or contents; None where
    there is none."""
    less = deepcopy(dict(chosen_on or {}))
    lists = [
        (len(split[part]), part, split)
        for split in splits_seen(less)
        for part in ("keys", "contents")
        if split and split.get(part)
    ]
    if not lists:
        return None
    _, part, split = max(lists, key=itemgetter(0))
    split[part] = None
    return less


def on_one_line(match: re.Match) -> str:
    """A list or object of plain values on one line, unless that makes it a long one.

    Lists within a fitted confidence are on one line however long: a class has two of them.
    """
    opening, *middle, closing = (line.strip() for line in match[0].split("\n"))
    line = opening + " ".join(middle) + closing
    within_fitted = re.fullmatch(" {12,}.*", match[0].rpartition("\n")[2])
    return line if len(line) < 120 or within_fitted else match[0]


def parse_cascade(content: str | dict) -> dict:
    """The description in a JSON text, or in the object there. Raises as :meth:`Policy.load`."""
    content = parsed(content, "the text") if isinstance(content, str) else content
    if content.get("format") != FORMAT:
        raise ValueError(f"this is no cascade: 'format' is not {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"format version {content.get('version')!r}, but this cascadelib reads version {VERSION}: use the "
            "cascadelib that wrote it, or save the cascade again with this one"
        )
    if missing := [part for part in FORM if part not in content]:
        raise ValueError(f"the cascade lacks {', '.join(map(repr, missing))}")
    if unknown := sorted(content.keys() - {"format", "version", "checksum", *FORM}):
        raise ValueError(f"a cascade has no {', '.join(map(repr, unknown))}")
    description = {part: content[part] for part in FORM}
    check_description(description)
    if content.get("checksum") != digest_of(description):
        raise ValueError(
            "the file was edited after it was written: its checksum does not fit. Its expected accuracy, cost and exit "
            "rates may no longer hold. Choose the point anew; or, where the edit is meant, write it again: "
            "cascadelib.Policy(json.loads(Path(path).read_text())).save(path)"
        )
    return description


def check_description(description: Mapping) -> None:
    """Raise ValueError, naming the part, unless a cascade of this description can be made, watched and written."""
    for part, form in FORM.items():
        if not fits(description[part], form):
            raise ValueError(f"a part of {part!r} is missing or of another kind")
    names, method, expected = (
        [m["name"] for m in description["models"]],
        description["method"],
        description["expected"],
    )
    if not names or len(set(names)) < len(names) or not all(names):
        raise ValueError(f"'models' must be distinct names, not {names}")
    if (count := len(description["thresholds"])) != len(names) - 1:
        raise ValueError(f"{count} thresholds for {len(names)} models; one fewer is needed")
    lists = [description["chosen"]["exit_rates"]]
    lists += [expected["exit_rates"], expected["confidences"]] if expected else []
    if {*map(len, lists)} != {len(names)}:
        raise ValueError(f"exit rates and confidences are needed of {len(names)} models")
    if method is not None:
        check_method(method, names)
    for t in description["thresholds"]:
        threshold_from_json(units_of(method), t)
    for split in splits_seen(description["chosen_on"]):
        keys_from_json(split)
        keys_from_json(split, "contents", CONTENT)
    samples = reach = expected["on"]["samples"] if expected else 0
    for part, rate in zip(expected["confidences"], expected["exit_rates"]) if expected else ():
        counts, ties = (
            part["counts"],
            part.get("ties") or [1.0] * len(part["values"]),
        )  # old files have none
        order, lengths = (
            list(zip(part["values"], ties)),
            {len(part["values"]), len(counts), len(ties)},
        )
        if (
            len(lengths) > 1
            or sorted({*order}) != order
            or not sum(counts) == reach <= MOST_SAMPLES
        ):
            raise ValueError(
                f"confidences must rise, with a count each, of all {reach} samples that reach the stage"
            )
        reach -= round(rate["value"] * samples)
    try:
        text_of(description)
    except RecursionError:
        raise ValueError("a part is nested too deep") from None


def splits_seen(chosen_on: Mapping | None) -> list[Any]:
    """The sets of samples that a description says its cascade has seen; None: one that is not known."""
    if chosen_on is None:
        return [None]
    return [chosen_on, *(chosen_on.get("also") or [])]


def keys_from_json(split: Mapping | None, part: str = "keys", kind: np.dtype = KEY) -> bytes | None:
    """The digests of ids, or of contents, that a description has of a set of samples; ValueError
    for text that is no such digests."""
    text = None if split is None else split.get(part)
    if text is None:
        return None
    try:
        keys = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"'chosen_on': its {part} are not base64") from None
    if len(keys) % kind.itemsize:
        raise ValueError(f"'chosen_on': its {part} are not {kind.itemsize} bytes each")
    return keys


def check_method(method: Mapping, names: Sequence[str]) -> None:
    """Raise ValueError unless ``method`` has the parts of a :class:`Method`, a known metric, and temperatures. An
    ensemble is only named here: whoever runs it (:class:`Cascade`) refuses one that it does not know."""
    needed = set(METHOD) - {"fitted"}
    if not needed <= set(method) <= set(METHOD) or method["temperature"] is (
        method["temperatures"] is None
    ):
        raise ValueError(
            f"a part of 'method' is missing or of another kind: it has {', '.join(METHOD)}"
        )
    metric_of(method["metric"])
    for name in names if method["temperature"] else ():
        t = method["temperatures"][
            known(name, method["temperatures"], "model with a fitted temperature")
        ]
        if not (fits(t, float) and t > 0):
            raise ValueError(f"the temperature of {name!r} must be a positive number, not {t!r}")
    fitted = [fitted_from_json(value) for value in method.get("fitted") or ()]
    if fitted and (
        len(fitted) != len(names) or len({(one.kind, one.columns) for one in fitted}) > 1
    ):
        raise ValueError(
            f"fitted confidences of one kind are needed, of each of the {len(names)} models"
        )


def units_of(method: Mapping | None) -> str | None:
    """The metric that thresholds are on, by the ``method`` of a description: None for given and for fitted ones."""
    return None if method is None or method.get("fitted") else method["metric"]


def threshold_to_json(metric: str | Callable | None, threshold: float) -> float | str:
    """A threshold in the metric's own units → the number; at the two ends when to exit: "always" or "never"."""
    inside = float(own_units(metric, threshold))
    return next((word for word, end in WORDS.items() if inside == end), float(threshold))


def threshold_from_json(metric: str | Callable | None, value: Any) -> float:
    """The inverse of :func:`threshold_to_json`; ValueError for anything but a finite number and the two words."""
    if isinstance(value, str):
        return float(own_units(metric, WORDS[known(value, WORDS, "threshold")]))
    if not fits(value, float):
        raise ValueError(f"a threshold must be a finite number, 'always' or 'never', not {value!r}")
    return float(value)
