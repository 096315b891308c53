"""A classifier with its preprocessing and metadata."""

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
    """Store a classifier with its preprocessing and metadata.

    Parameters
    ----------
    name : str
        Name of the model.
    module : torch.nn.Module
        Network in eval mode and float32.
    transform : callable, optional
        Function from a batch of raw inputs to the module's input. Defaults to ``float()``.
    metadata : dict, optional
        Facts that are stored with the logits, such as family, parameters, checkpoint and
        preprocessing.

    See Also
    --------
    load : Load a model by name.
    extract : Run models on a data set.

    Examples
    --------
    >>> import torch
    >>> import cascadelib as cl
    >>> cl.zoo.Model("linear", torch.nn.Linear(8, 3), metadata={"family": "linear"}).metadata
    {'family': 'linear'}
    """

    name: str
    module: torch.nn.Module
    transform: Callable | None = None
    metadata: dict = field(default_factory=dict)


@contextlib.contextmanager
def record_failure(
    failed: dict[str, Exception], name: str, kinds: type[Exception] = Exception
) -> Iterator[None]:
    """Record an exception of a model in ``failed`` {model: ValueError that names it}."""
    try:
        yield
    except kinds as error:
        traceback.clear_frames(error.__traceback__)  # frees the model's tensors
        text = str(error) if isinstance(error, ValueError | OSError) else f"{error!r:.500}"
        failed[name] = ValueError(text if repr(name) in text else f"model {name!r}: {text}")
        failed[name].__cause__ = error


class _Reordered(torch.nn.Module):
    """Module that returns selected columns of another module's logits."""

    def __init__(self, module: torch.nn.Module, order: np.ndarray):
        super().__init__()
        self.module = module
        self.register_buffer("order", torch.as_tensor(order))

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        output = self.module(*args, **kwargs)
        return getattr(output, "logits", output)[:, self.order]


def reordered(model: Model, order: Any) -> Model:
    """Reorder the logits of a model to match the classes of a data set.

    :func:`extract` raises if a model's classes have another order. The order must then be passed
    explicitly. It is recorded in the store.

    Parameters
    ----------
    model : Model
        Model with another order of classes.
    order : array-like of int, shape (n_classes,)
        Columns of the model's logits in the order of the data set's classes. Columns may be
        omitted.

    Returns
    -------
    Model
        Model whose logit j is the original logit ``order[j]``.

    Raises
    ------
    ValueError
        If columns repeat or are negative.

    See Also
    --------
    extract : Run models on a data set.

    Examples
    --------
    >>> import torch
    >>> import cascadelib as cl
    >>> model = cl.zoo.Model("identity", torch.nn.Identity())
    >>> cl.zoo.reordered(model, [2, 0]).module(torch.tensor([[0.1, 0.2, 0.7]]))
    tensor([[0.7000, 0.1000]])
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


def count_parameters(module: torch.nn.Module) -> int:
    """Count the parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_weight_bytes(module: torch.nn.Module) -> int:
    """Count the bytes of the parameters and buffers of a module."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.nbytes for tensor in tensors)


def unwrap_compiled(module: torch.nn.Module) -> torch.nn.Module:
    """Return the original of a module compiled by ``torch.compile``, or the module itself."""
    return getattr(module, "_orig_mod", module)


def update_digest(digest: Any, tensor: torch.Tensor, name: str = "") -> None:
    """Add a tensor's name, dtype, shape and content to a digest."""
    digest.update(f"{name}{tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)


def describe_identity(model: Model) -> dict:
    """Return the facts that identify a model, compiled or not, among others of the same name.

    These are the SHA-256 of class and weights, and the transform's repr without addresses. The repr
    does not show the values in a function's closure.
    """
    digest = hashlib.sha256(type(unwrap_compiled(model.module)).__qualname__.encode())
    state = model.module.state_dict()
    names = {key.replace("_orig_mod.", ""): key for key in state}
    for key, compiled_key in sorted(names.items()):
        value = state[compiled_key]
        if isinstance(value, torch.Tensor):
            update_digest(digest, value, f"{key} ")
    return {
        "weights_sha256": digest.hexdigest(),
        "transform": re.sub(r" at 0x[0-9a-f]+", "", repr(model.transform)),
    }
