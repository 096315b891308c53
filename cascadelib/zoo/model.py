"""A classifier as extraction and cascades want it."""

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
    """A classifier: its network, what its input is made of, and where it comes from.

    Parameters
    ----------
    name : str
    module : torch.nn.Module
        In eval mode, float32.
    transform : callable, optional
        From a batch of raw inputs to the module's input; by default ``float()``.
    metadata : dict
        What the header of its logits says: family, parameters, checkpoint, preprocessing, …
    """

    name: str
    module: torch.nn.Module
    transform: Callable | None = None
    metadata: dict = field(default_factory=dict)


@contextlib.contextmanager
def noted(
    failed: dict[str, Exception], name: str, kinds: type[Exception] = Exception
) -> Iterator[None]:
    """Inside, what a model raises is noted in ``failed`` {model: ValueError that names it}."""
    try:
        yield
    except kinds as error:
        traceback.clear_frames(error.__traceback__)  # which hold its tensors
        text = str(error) if isinstance(error, ValueError) else f"{error!r:.500}"
        if "to have 1 channels, but got 3" in text:
            text += ': for a model of grey images, image_folder(…, mode="L") gives one channel'
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
    """Bring the classes of a model into the order of a data set.

    This is the explicit map that extraction asks for where it finds another order; it is recorded.

    Parameters
    ----------
    model : Model
    order : array_like
        int [classes of the data set]: logit j is to be the model's own logit ``order[j]``. Classes
        of the model may be left out.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For columns that repeat or are negative.
    """
    order = np.asarray(order)
    numbers = order.ndim == 1 and order.dtype.kind in "iu"
    if not numbers or len(np.unique(order)) < len(order) or order.min() < 0:
        raise ValueError(
            f"model {model.name!r}: the order of classes must be distinct column numbers, "
            f"not {order!r}"
        )
    metadata = {key: value for key, value in model.metadata.items() if key != "classes"}
    metadata["class_order"] = order.tolist()
    module = _Reordered(model.module, order.astype(np.int64)).eval()
    return replace(model, module=module, metadata=metadata)


def parameters_of(module: torch.nn.Module) -> int:
    """Number of a module's parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def original(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile`` was given, or ``module`` itself."""
    return getattr(module, "_orig_mod", module)


def digest_tensor(digest: Any, tensor: torch.Tensor, name: str = "") -> None:
    """Take a tensor's name, dtype, shape and content into a digest."""
    digest.update(f"{name}{tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)


def identity(model: Model) -> dict:
    """What distinguishes a model from others of the same name, whether compiled or not.

    It has the SHA-256 of class and weights, and the transform's repr without addresses, in which
    values that a function closes over do not show.
    """
    digest = hashlib.sha256(type(original(model.module)).__qualname__.encode())
    state = model.module.state_dict()
    names = {key.replace("_orig_mod.", ""): key for key in state}
    for key, own in sorted(names.items()):
        value = state[own]
        if isinstance(value, torch.Tensor):
            digest_tensor(digest, value, f"{key} ")
    return {
        "weights_sha256": digest.hexdigest(),
        "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(model.transform)),
    }
