"""Run the models of a cascade: their inputs and their logits."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ..checks import error_context
from ..evaluation.point import Point, records_of
from ..labels import refuse_masked
from ..zoo.batches import count_samples, map_parts
from ..zoo.forward import call_module, upload_batch
from ..zoo.loaders import as_model, load, split_transform
from ..zoo.model import Model
from ..zoo.transforms import prepare_batch

COMMIT = re.compile("[0-9a-f]{40}")
# Exceptions that modules and transforms raise for a batch of the wrong kind.
UNFIT = (TypeError, ValueError, AttributeError, LookupError, AssertionError, RuntimeError)


class CallableModule(torch.nn.Module):
    """Wrap a callable as a module: an API, another framework or a compiled function.

    It receives batches unchanged, including values that are not finite.
    """

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def forward(self, batch: Any) -> Any:
        """Return the function's output for a batch, or its ``.logits``."""
        output = self.function(batch)
        return getattr(output, "logits", output)


@dataclass(eq=False)
class Member:
    """One model of a cascade.

    Parameters
    ----------
    name, module, transform
        As in a :class:`~cascadelib.zoo.Model`.
    classes : int, optional
        Number of classes, set at the first output.
    """

    name: str
    module: torch.nn.Module
    transform: Callable | None
    classes: int | None = None

    @contextlib.contextmanager
    def explain_errors(self, batch: Any) -> Iterator[None]:
        """Re-raise an exception about an unsuitable batch as a ValueError that describes it."""
        try:
            yield
        except torch.cuda.OutOfMemoryError:
            raise
        except UNFIT as error:
            kind = getattr(batch, "dtype", type(batch).__name__)
            shape = list(getattr(batch, "shape", [len(batch)]))
            takes = "floats, as its module does"
            if self.transform is not None:
                takes = f"inputs of {self.transform!r:.200}"
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
            raise ValueError(
                f"model {self.name!r} cannot run on {kind} {shape}; expected {takes} ({reason})"
            ) from error

    def inputs(self, batch: Any) -> Any:
        """Return the module's input for a raw batch, with the device and dtype of its weights."""
        weight = next(self.module.parameters(), None)
        device = None if weight is None else weight.device
        floats = None if weight is None else weight.dtype

        def to_device(part: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
            return part.to(device, dtype if part.is_floating_point() else None, non_blocking=True)

        raw = upload_batch(batch, to_device)
        return upload_batch(prepare_batch(self.transform, raw), partial(to_device, dtype=floats))

    def logits(self, batch: Any) -> np.ndarray:
        """Return the logits of a raw batch of N samples, nan if the input has nan or inf.

        Returns
        -------
        array of shape (N, n_classes)
            float64 if the model's logits are, else float32. Module and transform receive the batch
            on the device of the weights, and the module receives it in their dtype.

        Raises
        ------
        ValueError
            If the model cannot take the inputs, or its outputs are not logits. The message names
            the model.
        """
        samples = count_samples(batch)
        if isinstance(self.module, CallableModule):
            raw = batch if self.transform is None else self.transform(batch)
            return self.check_logits(self.module(raw), samples)
        with self.explain_errors(batch):
            inputs = self.inputs(batch)
            output = call_module(self.module, inputs)
            unusable = unusable_rows(inputs, samples)  # some modules answer nan and inf
        logits = self.check_logits(output, samples)
        return logits if unusable is None else np.where(unusable[:, None], np.nan, logits)

    def check_logits(self, output: Any, samples: int) -> np.ndarray:
        """Return a module's output as logits [samples, classes], or raise ValueError."""
        if isinstance(output, torch.Tensor):  # numpy does not support bfloat16
            wide = output.dtype == torch.float64
            output = output.detach().cpu().to(torch.float64 if wide else torch.float32)
        with error_context(f"model {self.name!r}"):
            logits = np.asarray(refuse_masked(output, "its logits"))
        if logits.ndim != 2 or len(logits) != samples or logits.dtype.kind not in "fiu":
            raise ValueError(
                f"model {self.name!r} gave {logits.dtype} {list(logits.shape)} for {samples} "
                "samples; expected logits [samples, classes]"
            )
        classes = logits.shape[1]
        if self.classes not in (None, classes):
            raise ValueError(f"model {self.name!r} gave {classes} classes, {self.classes} before")
        self.classes = classes
        narrow = logits.dtype in (np.float16, np.float32)
        with np.errstate(over="ignore"):  # an overflow to inf marks the sample as failed
            return logits.astype(np.float32 if narrow else np.float64, copy=False)


def unusable_rows(inputs: Any, samples: int) -> np.ndarray | None:
    """Return which samples of a module's inputs hold nan or inf, bool [samples].

    Return None if no sample does. A sum over each tensor shows this in one pass: it is nan or
    infinite if a value is, or if the sum overflows.
    """
    parts: list[Any] = []
    map_parts(parts.append, inputs)
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    floats = [part for part in tensors if part.is_floating_point() or part.is_complex()]
    if all(torch.isfinite(part.sum()) for part in floats):
        return None
    unusable = np.zeros(samples, bool)
    for part in floats:
        finite = torch.isfinite(part)
        if part.ndim and len(part) == samples:
            unusable |= ~finite.reshape(samples, -1).all(dim=1).cpu().numpy()
        else:  # all samples share it
            unusable |= not bool(finite.all())
    return unusable


def check_class_counts(members: list[Member]) -> None:
    """Raise ValueError if models are known to have different numbers of classes."""
    counts = {member.name: member.classes for member in members}
    if len({*counts.values()} - {None}) > 1:
        raise ValueError(
            f"the models of a cascade must have the same number of classes, not {counts}"
        )


def revision_of(checkpoint: Any) -> str | None:
    """Return the Hub's revision in a checkpoint's record, or None.

    Raises ValueError unless it is a full commit hash, as branches and pull requests change.
    """
    revision = checkpoint.get("revision") if isinstance(checkpoint, Mapping) else None
    if revision is None:
        return None
    if not (isinstance(revision, str) and COMMIT.fullmatch(revision)):
        raise ValueError(f"the revision {revision!r:.80} is not the full hash of a commit")
    return revision


def check_pinned(point: Point, models: Mapping | None) -> None:
    """Raise ValueError if a file names "repository@revision" without its commit."""
    for record in records_of(point):
        name = record["name"]
        repository, _, revision = name.partition("@")
        is_local = name in (models or {}) or "/" not in repository or os.path.isdir(name)
        if revision and not is_local and revision_of(record.get("checkpoint")) is None:
            with error_context(f"model {name!r}"):
                revision_of({"revision": revision})


def check_revision(model: Model, record: Mapping, now: Mapping) -> None:
    """Raise ValueError if a file records another revision of a model than the one loaded.

    Two revisions with the same digest of the weights, in ``record`` and ``now``, are equal.
    """
    recorded = revision_of(record.get("checkpoint"))
    loaded = (model.metadata.get("checkpoint") or {}).get("revision")
    digest = now.get("weights_sha256")
    if recorded in (None, loaded) or (digest and digest == record.get("weights_sha256")):
        return
    raise ValueError(
        f"model {model.name!r}: the file records the Hub's revision {recorded}, and {loaded} has "
        "different weights. Load that revision with allow_download=True, or pass the model: "
        f"models={{{model.name!r}: (module, transform)}}"
    )


def member_named(
    name: str, models: Mapping, checkpoint: Any = None, anywhere: bool = True
) -> Model:
    """Return the :class:`Model` that was passed under a name, or that of the zoo.

    The revision in ``checkpoint`` is loaded only with ``anywhere``, since a commit of the Hub may
    belong to a pull request, which anyone can open.
    """
    if name not in models:
        try:
            revision = revision_of(checkpoint)
            options = {"revision": revision} if revision and anywhere else {}
            return load(name, anywhere=anywhere, **options)
        except (ValueError, TypeError, FileNotFoundError) as error:
            remedy = f"pass the model: models={{{name!r}: (module, transform)}}"
            if not anywhere:
                remedy += ", or allow any folder or repository: allow_download=True"
            raise ValueError(f"{error}; {remedy}") from None
    value = models[name]
    module, transform = split_transform(value)
    if isinstance(module, torch.nn.Module | Model) or not callable(module):
        return as_model(name, value)
    return Model(name, CallableModule(module), transform)
