"""A classifier as extraction and cascades want it: a module, what its input is made of, and where
it comes from.
"""

import contextlib
import hashlib
import re
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier: ``module`` (eval mode, float32), ``transform`` from a batch of raw inputs to
    its input (None: ``float()``), ``metadata`` for the header of its logits.
    """

    name: str
    module: torch.nn.Module
    transform: Callable | None = None
    metadata: dict = field(default_factory=dict)


@contextlib.contextmanager
def noted(
    failed: dict[str, Exception], name: str, kinds: type[Exception] = Exception
) -> Iterator[None]:
    """Inside, what a model raises goes into ``failed`` {model: ValueError that names it}, and the
    others go on.
    """
    try:
        yield
    except kinds as error:
        traceback.clear_frames(error.__traceback__)  # they hold its tensors
        text = str(error) if isinstance(error, ValueError) else f"{error!r:.500}"
        failed[name] = ValueError(text if repr(name) in text else f"model {name!r}: {text}")
        failed[name].__cause__ = error


class _Reordered(torch.nn.Module):
    """``module`` with columns ``order`` of its logits."""

    def __init__(self, module: torch.nn.Module, order: np.ndarray):
        super().__init__()
        self.module = module
        self.register_buffer("order", torch.as_tensor(order))

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = self.module(*args, **kwargs)
        return getattr(output, "logits", output)[:, self.order]


def reordered(model: Model, order: Any) -> Model:
    """The same classifier with its classes in the data set's order: logit j is the model's own
    logit ``order[j]``.

    order: int [classes of the data set]; it may leave classes of the model out, none twice. It is
    the explicit map that extraction asks for where it finds another order, and is recorded.
    ValueError: repeated or negative columns.
    """
    order = np.asarray(order)
    if (
        order.ndim != 1
        or order.dtype.kind not in "iu"
        or len(set(order.tolist())) < len(order)
        or order.min() < 0
    ):
        raise ValueError(
            f"model {model.name!r}: the order of classes must be distinct column numbers, not {order!r}"
        )
    metadata = {key: value for key, value in model.metadata.items() if key != "classes"}
    metadata["class_order"] = order.tolist()
    module = _Reordered(model.module, order.astype(np.int64)).eval()
    return replace(model, module=module, metadata=metadata)


def original(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` was given, or ``module`` itself."""
    return getattr(module, "_orig_mod", module)


def identity(model: Model) -> dict:
    """What tells a model from another of the same name: SHA-256 of its class and weights, and its
    transform's repr without addresses, where values that a function closes over do not show.
    Compiling a module changes neither.
    """
    digest = hashlib.sha256(type(original(model.module)).__qualname__.encode())
    state = {
        key.replace("_orig_mod.", ""): value for key, value in model.module.state_dict().items()
    }
    for key, value in sorted(state.items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(
                value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
            )
    return {
        "weights_sha256": digest.hexdigest(),
        "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(model.transform)),
    }
