"""Timed forward passes on a CPU or GPU, with or without mixed precision."""

import contextlib
import platform
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from .batches import count_inputs, map_parts, take_rows
from .model import Model

# Messages of the CPU's allocator, CUDA, cuBLAS and cuDNN if memory is exhausted.
EXHAUSTED = (
    "DefaultCPUAllocator: ",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
AMP = (None, False, True, "float16", "bfloat16")


class Allocations(TorchDispatchMode):
    """Context that measures the memory of the tensors which operations create on a CPU.

    ``peak`` is the largest number of bytes that these tensors have at the same time. The scratch
    memory of an operation is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self.peak = 0
        self._seen: weakref.WeakSet = weakref.WeakSet()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage not in self._seen:
                    self._seen.add(storage)
                    self._change(storage.nbytes())
                    weakref.finalize(storage, self._change, -storage.nbytes())
        return result

    def _change(self, size: int) -> None:
        """Count bytes that were allocated (positive) or freed (negative)."""
        self.bytes += size
        self.peak = max(self.peak, self.bytes)


class Device:
    """Device and precision of the forward passes, with transfers and clocks.

    On a CPU, an operation is complete when its method returns.

    Parameters
    ----------
    device : torch.device
        Device of the models.
    amp : str or False
        Dtype of automatic mixed precision, if any.
    """

    delay = 0  # batches that may be pending while the next one runs
    pins_memory = False  # whether copies use pinned memory

    def __init__(self, device: torch.device, amp: str | bool = False):
        self.torch = device
        self.amp = amp

    @property
    def name(self) -> str:
        """Description of the device that is stored with measured times."""
        if self.torch.type == "cuda":
            return torch.cuda.get_device_name(self.torch)
        processor = platform.processor() or platform.machine()
        return f"{self.torch.type} {processor}, {torch.get_num_threads()} threads"

    @property
    def arithmetic(self) -> dict:
        """Settings of torch that change the last digits of logits on this device."""
        products = torch.backends.mkldnn
        return {
            "float32_matmul": products.matmul.fp32_precision,
            "float32_convolution": products.conv.fp32_precision,
        }

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        """Copy a tensor to the device. Later operations there see the copy."""
        return tensor.to(self.torch)

    def download(self, tensor: torch.Tensor, out: torch.Tensor) -> Callable[[], None]:
        """Copy a tensor into host memory and return a function that waits for the copy."""
        out.copy_(tensor)
        return lambda: None

    def now(self) -> Any:
        """Return the moment at which all operations so far are complete."""
        return time.perf_counter()

    def seconds(self, began: Any, ended: Any) -> float:
        """Wait for the second moment and return the seconds between both."""
        return ended - began

    def measure_memory(self, call: Callable[[], Any]) -> int:
        """Return the largest number of bytes that a call needs in addition to existing tensors."""
        with Allocations() as allocations:
            call()
        return allocations.peak


class _Cuda(Device):
    """GPU whose uploads run in a separate stream, from pinned memory, while models compute.

    The host waits only in the functions whose docstring or comment states it.
    """

    delay = 1
    pins_memory = True

    def __init__(self, device: torch.device, amp: str | bool):
        super().__init__(device, amp)
        self.copies = torch.cuda.Stream(device)
        self.computing = torch.cuda.current_stream(device)

    @property
    def arithmetic(self) -> dict:
        cudnn = torch.backends.cudnn
        return {
            "float32_matmul": torch.backends.cuda.matmul.fp32_precision,
            "float32_convolution": cudnn.conv.fp32_precision,
            "cudnn_benchmark": cudnn.benchmark,
            "cudnn_deterministic": cudnn.deterministic,
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        }

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu":
            return super().upload(tensor)
        # The caller may overwrite its tensor immediately, since the upload reads a pinned copy.
        # torch reuses the copy's memory only after the upload.
        with torch.cuda.stream(self.copies):
            uploaded = tensor.pin_memory().to(self.torch, non_blocking=True)
        self.computing.wait_stream(self.copies)
        uploaded.record_stream(self.computing)  # keep its memory while a model may read it
        return uploaded

    def download(self, tensor: torch.Tensor, out: torch.Tensor) -> Callable[[], None]:
        out.copy_(tensor.to(out.dtype), non_blocking=True)
        return self.computing.record_event().synchronize

    def now(self) -> Any:
        return self.computing.record_event(torch.cuda.Event(enable_timing=True))

    def seconds(self, began: Any, ended: Any) -> float:
        ended.synchronize()  # the host waits
        return began.elapsed_time(ended) / 1000

    def measure_memory(self, call: Callable[[], Any]) -> int:
        torch.cuda.reset_peak_memory_stats(self.torch)
        before = torch.cuda.memory_allocated(self.torch)
        call()
        return torch.cuda.max_memory_allocated(self.torch) - before


def select_device(device: Any, amp: str | bool | None = None) -> Device:
    """Return the device to run on, by default CUDA if available.

    amp: one of :data:`AMP`. None means mixed precision on CUDA only. True means float16 on CUDA and
    bfloat16 elsewhere. Raises ValueError if torch cannot use the device.
    """
    try:
        found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={str(device)!r} cannot be used by torch {torch.__version__} (CUDA "
            f"{torch.version.cuda}): {error!s:.150}"
        ) from None
    on_cuda = found.type == "cuda"
    if on_cuda and found.index is not None:
        torch.cuda.set_device(found)  # modules may create tensors on the current device
    if amp is None:
        amp = on_cuda
    if amp is True:
        amp = "float16" if on_cuda else "bfloat16"
    return _Cuda(found, amp) if on_cuda else Device(found, amp)


def upload_batch(batch: Any, upload: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Upload the tensors and arrays of a batch, images [N, C, H, W] in channels_last.

    Texts are returned unchanged.
    """

    def upload_part(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.require(part, requirements=["C", "W"]))
        if not isinstance(part, torch.Tensor):
            return part
        part = upload(part)
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    return map_parts(upload_part, batch)


@contextlib.contextmanager
def place_module(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Put a module on a device in eval mode and channels_last, and restore all three afterwards."""
    home = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_channels_last = any(p.ndim == 4 and not p.is_contiguous() for p in module.parameters())
    with eval_mode(module):
        try:
            module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            yield
        finally:
            memory_format = torch.channels_last if was_channels_last else torch.contiguous_format
            module.to(home, memory_format=memory_format)  # type: ignore[call-overload]


def call_module(module: torch.nn.Module, inputs: Any) -> Any:
    """Call a module with a tensor, a tuple of arguments or a dict of keywords.

    Returns the output's ``logits`` if it has them, else the output.
    """
    if isinstance(inputs, dict):
        output = module(**inputs)
    elif isinstance(inputs, tuple):
        output = module(*inputs)
    else:
        output = module(inputs)
    return getattr(output, "logits", output)


class Positional(torch.nn.Module):
    """Module that takes positional tensors and returns logits.

    Parameters
    ----------
    module : torch.nn.Module
        Module to call.
    keys : list of str, optional
        Keywords of the module, in the order of the arguments. By default the module receives the
        arguments as positional ones.
    """

    def __init__(self, module: torch.nn.Module, keys: list[str] | None = None):
        super().__init__()
        self.module = module
        self.keys = keys

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """Return the module's logits for the values of its keywords or arguments."""
        named = dict(zip(self.keys, values, strict=True)) if self.keys else values
        return call_module(self.module, named)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error means that the memory of a device or of the host is exhausted."""
    is_named = isinstance(error, RuntimeError) and any(text in str(error) for text in EXHAUSTED)
    return is_named or isinstance(error, torch.OutOfMemoryError | MemoryError)


def compute_timed_logits(
    model: Model, inputs: Any, device: Device, batch_limits: dict[str, int], halve: bool = True
) -> tuple[torch.Tensor, Callable[[], float]]:
    """Compute the logits of a batch and measure the time of the forward pass.

    Parameters
    ----------
    model : Model
        Model to call.
    inputs : tensor, tuple or dict
        Input of :func:`call_module`.
    device : Device
        Device of the model.
    batch_limits : dict
        Largest batch by model name. If memory runs out, the batch is halved until it fits, a
        warning reports the new size and this dict stores it.
    halve : bool, default=True
        Whether a batch is halved. Otherwise the error of the device is raised.

    Returns
    -------
    logits : torch.Tensor
        Logits of shape (n, n_classes) on the device.
    seconds : callable
        Function that waits for the logits and returns the seconds per sample.

    Raises
    ------
    ValueError
        If the model does not return logits, or if memory does not suffice for one sample.
    """
    half = getattr(torch, str(device.amp or "bfloat16"))
    name = model.name
    samples = count_inputs(inputs)
    before = size = batch_limits.get(name, samples)
    began = device.now()
    while True:
        pieces = [slice(start, start + size) for start in range(0, samples, size)]
        try:
            with torch.autocast(device.torch.type, half, enabled=bool(device.amp)):
                parts = [_compute_logits(model, take_rows(inputs, p, samples)) for p in pieces]
                logits = torch.cat(parts)
            break
        except (RuntimeError, MemoryError) as error:
            if not (halve and is_out_of_memory(error)):
                raise
            if size == 1:
                raise ValueError(
                    f"model {name!r}: not enough memory for one sample ({error})"
                ) from None
            batch_limits[name] = size = (min(size, samples) + 1) // 2
        torch.cuda.empty_cache()
    ended = device.now()
    if size < before:
        warnings.warn(
            f"model {name!r}: no memory for a batch of {before} samples, now {size}", stacklevel=2
        )
    return logits, lambda: device.seconds(began, ended) / len(logits)


def _compute_logits(model: Model, inputs: Any) -> torch.Tensor:
    """Return a model's logits, or raise ValueError if they are not a tensor [N, classes]."""
    logits = call_module(model.module, inputs)
    samples = count_inputs(inputs)
    if not isinstance(logits, torch.Tensor):
        found: Any = type(logits).__name__
    elif logits.ndim != 2 or len(logits) != samples:
        found = tuple(logits.shape)
    else:
        return logits
    raise ValueError(
        f"model {model.name!r} returned {found} for {samples} samples, expected a tensor "
        "[N, classes]"
    )


@contextlib.contextmanager
def eval_mode(module: torch.nn.Module) -> Iterator[None]:
    """Put a module into eval mode, and restore the mode of every submodule afterwards."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
