"""The models of a running cascade, and the batches that they take: a tensor or array [N, …], a list or tuple of N
samples (texts, pairs of texts), or several batches of the same N samples side by side, in a mapping or in a tuple."""

import contextlib
import copy
import timeit
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..checks import about, known, unmasked
from ..zoo.forward import Positional, on_device, output_of, over, side_by_side
from ..zoo.loaders import load, resolved
from ..zoo.model import Model, identity, original
from ..zoo.transforms import prepared
from .cascade_file import versions


def size_of(batch: Any) -> int:
    """Number of samples N of a batch; ValueError where its parts disagree, and for one text or nothing."""
    listed = (
        hasattr(batch, "__len__")
        and hasattr(batch, "__getitem__")
        and getattr(batch, "ndim", 1) > 0
    )
    if isinstance(batch, str | bytes) or not listed:
        raise ValueError(
            f"a batch is needed, not {batch!r:.80}: a tensor or array [N, …], or a list of N samples"
        )
    if not (isinstance(batch, Mapping) or side_by_side(batch)):
        return len(unmasked(batch, "a batch"))
    sizes = {size_of(part) for part in (batch.values() if isinstance(batch, Mapping) else batch)}
    if len(sizes) != 1:
        raise ValueError(
            f"the parts of a batch must hold equally many samples, not {sorted(sizes)}"
        )
    return sizes.pop()


def rows_of(batch: Any, rows: np.ndarray) -> Any:
    """Some samples of a batch, in its own form. rows: int64 [n]."""

    def chosen(part):
        if isinstance(part, torch.Tensor):
            return part.index_select(0, torch.from_numpy(rows).to(part.device))
        return part[rows] if isinstance(part, np.ndarray) else [part[i] for i in rows]

    return over(chosen, batch)


def joined(batches: Sequence) -> Any:
    """Batches of one form, one after another, as one."""

    def whole(*parts):
        if isinstance(parts[0], torch.Tensor):
            return torch.cat(parts)
        return (
            np.concatenate(parts)
            if isinstance(parts[0], np.ndarray)
            else [s for part in parts for s in part]
        )

    return over(whole, *batches)


class Called(torch.nn.Module):
    """Any callable as a module: an API, another framework, a compiled function. It gets batches as they are."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, batch: Any) -> Any:
        """The function's output for a batch, or its ``.logits``."""
        output = self.function(batch)
        return getattr(output, "logits", output)


@dataclass(eq=False)
class Member:
    """One model of a cascade; ``classes`` is learnt from its first output; ``graphs``: see :meth:`optimize`."""

    name: str
    module: torch.nn.Module
    transform: Callable | None
    classes: int | None = None
    graphs: dict = field(
        default_factory=dict
    )  # {kind_of(inputs): what runs in place of the module}

    def __getstate__(self) -> dict:
        return self.__dict__ | {"graphs": {}}  # a copy has none

    @contextlib.contextmanager
    def given(self, *batches: Any) -> Iterator[None]:
        """Inside, what batches of a wrong kind raise is a ValueError that says what they are, and what is expected."""
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except (
            TypeError,
            ValueError,
            AttributeError,
            LookupError,
            AssertionError,
            RuntimeError,
        ) as error:
            given = [
                f"{getattr(b, 'dtype', type(b).__name__)} {list(getattr(b, 'shape', [len(b)]))}"
                for b in batches
            ]
            forms = " and ".join(dict.fromkeys(given))
            takes = (
                "floats, as its module does"
                if self.transform is None
                else f"what {self.transform!r:.200} takes"
            )
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            raise ValueError(
                f"model {self.name!r} cannot run on {forms}; expected {takes} ({reason})"
            ) from error

    def inputs(self, batch: Any) -> Any:
        """The module's input for a raw batch, as :meth:`logits` takes it."""
        weight = next(self.module.parameters(), None)
        device, dtype = (weight.device, weight.dtype) if weight is not None else (None, None)

        def moved(part, dtype=None):
            return part.to(device, dtype if part.is_floating_point() else None, non_blocking=True)

        return on_device(
            prepared(self.transform, on_device(batch, moved)), partial(moved, dtype=dtype)
        )

    def logits(self, batch: Any) -> np.ndarray:
        """Logits of a raw batch of N samples, numpy [N, classes], float64 where the model's are, else float32. Module
        and transform get it on the device of the weights, the module in their dtype. ValueError, naming the model, for
        inputs that either cannot take, and for outputs that are no logits."""
        samples = size_of(batch)
        if isinstance(self.module, Called):
            logits = self.module(batch if self.transform is None else self.transform(batch))
        else:
            with self.given(batch):
                inputs = self.inputs(batch)
                logits = output_of(self.graphs.get(kind_of(inputs), self.module), inputs)
        if isinstance(logits, torch.Tensor):  # numpy knows no bfloat16
            logits = (
                logits.detach()
                .cpu()
                .to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
            )
        with about(f"model {self.name!r}"):
            logits = np.asarray(unmasked(logits, "its logits"))
        if logits.ndim != 2 or len(logits) != samples or logits.dtype.kind not in "fiu":
            gave = f"model {self.name!r} gave {logits.dtype} {list(logits.shape)} for {samples} samples"
            raise ValueError(f"{gave}; expected logits [samples, classes]")
        if self.classes not in (None, logits.shape[1]):
            raise ValueError(
                f"model {self.name!r} gave {logits.shape[1]} classes, {self.classes} before"
            )
        self.classes = logits.shape[1]
        with np.errstate(over="ignore"):  # what no float64 holds is infinite: no output
            return logits.astype(
                np.float32 if logits.dtype in (np.float16, np.float32) else np.float64, copy=False
            )

    def optimize(self, batch: Any) -> None:
        """From now on the fastest on a raw batch of N samples runs: the module, or one of two frozen graphs of it.

        A graph is traced: it does again what the module did for the batch. So it is taken only where the module runs on
        tensors without values (else its code looks at them, and might do something else), and where the logits of 1, of
        half and of all samples are the module's, up to ε^⅔ of the largest (ε: of their dtype). RuntimeError, or what
        the tracing raises, where that is not so.
        """
        inputs, choices = self.inputs(batch), [replace(self, graphs={})]
        if isinstance(self.module, Called) or not isinstance(inputs, torch.Tensor):
            raise RuntimeError("only a module that takes one tensor can be frozen")
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of what tracing might miss, which is checked here
            module = Positional(original(self.module)).eval()
            copy.deepcopy(module).to("meta")(inputs.to("meta"))
            parts = [
                rows_of(batch, np.arange(count)) for count in (1, len(inputs) // 2 + 1, len(inputs))
            ]
            expected = [choices[0].logits(part) for part in parts]
            for form in (torch.jit.freeze, torch.jit.optimize_for_inference):
                graph = form(torch.jit.trace(module, inputs, check_trace=False))
                choices.append(replace(self, graphs={kind_of(inputs): graph}))
                for part, logits in zip(parts, expected):
                    most = torch.finfo(inputs.dtype).eps ** (2 / 3) * np.abs(logits).max()
                    if not np.abs(choices[-1].logits(part) - logits).max() <= most:
                        raise RuntimeError(
                            f"its graph gives other logits for {len(logits)} samples"
                        )
            rounds = [
                [timeit.timeit(partial(c.logits, batch), number=1) for c in choices]
                for _ in range(7)
            ]
        self.graphs = choices[np.argmin(np.min(rounds, axis=0))].graphs


def kind_of(inputs: Any) -> tuple | None:
    """What inputs of one graph have in common: shape without N, dtype, device; None of what is no tensor."""
    return (
        (inputs.shape[1:], inputs.dtype, inputs.device)
        if isinstance(inputs, torch.Tensor)
        else None
    )


def members_of(
    description: Mapping, models: Mapping | None, anywhere: bool
) -> tuple[list[Member], dict, tuple[str, ...]]:
    """The models of a cascade file: (members, the description with their identities, differences: a sentence for each
    thing that is not as recorded: weights, transform, library versions). models: as in :meth:`Cascade.from_point`;
    anywhere: whether names that are of neither the bundled zoos nor timm may be loaded. Raises ValueError for unknown
    names, and for other numbers of classes."""
    models, members, identified, differences = {} if models is None else models, [], [], []
    for name in models:
        known(name, [record["name"] for record in description["models"]], "model of this cascade")
    for record in description["models"]:
        model = member_named(record["name"], models, record.get("checkpoint"), anywhere)
        now = (
            {} if isinstance(model.module, Called) else identity(model)
        )  # nothing is known of a mere callable
        differences += [
            f"model {model.name!r}: {key} is not as recorded ({record[key]!r:.60} then, {value!r:.60} now)"
            for key, value in now.items()
            if record.get(key) not in (None, value)
        ]
        identified.append(now | record)
        members.append(Member(model.name, model.module, model.transform, record.get("classes")))
    here, then = versions(), description["versions"]
    differences += [
        f"{p} is {here.get(p, 'missing')}, it was {then[p]}" for p in then if here.get(p) != then[p]
    ]
    if len({m.classes for m in members if m.classes}) > 1:
        stated = {m.name: m.classes for m in members}
        raise ValueError(
            f"the models of a cascade must have the same number of classes, not {stated}"
        )
    return members, {**description, "models": identified}, tuple(differences)


def member_named(
    name: str, models: Mapping, checkpoint: Any = None, anywhere: bool = True
) -> Model:
    """The :class:`Model` handed over under a name, or the zoo's, at the revision that ``checkpoint`` records."""
    if name not in models:
        revision = (
            checkpoint.get("revision") if isinstance(checkpoint, Mapping) else None
        )  # of the Hub
        try:
            return load(
                name,
                anywhere=anywhere,
                **({"revision": revision} if isinstance(revision, str) else {}),
            )
        except (ValueError, TypeError, FileNotFoundError) as error:
            other = (
                ""
                if anywhere
                else ", or let any folder or repository be loaded: allow_download=True"
            )
            raise ValueError(
                f"{error}; hand your own over: models={{{name!r}: (module, transform)}}{other}"
            ) from None
    value = models[name]
    module, transform = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if isinstance(module, torch.nn.Module | Model) or not callable(module):
        return resolved({name: value})[0]
    return Model(name, Called(module), transform)
