"""A forward pass: on which device, how precisely, how fast; on the CPU, freed memory is kept for the next batch."""

import contextlib
import ctypes
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .batches import over
from .model import Model

AMP = (None, False, True, "float16", "bfloat16")
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4  # parameters of glibc's mallopt(3)
ALL = 2**31 - 1
# What glibc's own adjustment comes to in a process that has freed a large tensor (mallopt(3), M_MMAP_THRESHOLD).
USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Inside, what tensors free stays with the process; afterwards it goes back to the system.

    glibc hands blocks above 32 MB back as soon as they are free, and those for the next layer's output are mapped and
    cleared page by page: for wide layers that takes as long as the layer itself. Other mallocs are left alone.
    """
    libc = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if libc is None:
        yield
        return
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, ALL)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def _processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return next(
            (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), ""
        )
    return platform.processor() or platform.machine()


class Device:
    """Where and how precisely models run, and how tensors come and go. This one, the CPU, has done what it is asked for
    on return. amp: the dtype of automatic mixed precision, or False."""

    delay, pins = (
        0,
        False,
    )  # batches that may be under way while the next one runs; is memory for copies pinned?

    def __init__(self, device: torch.device, amp: str | bool = False):
        self.torch, self.amp = device, amp

    @property
    def name(self) -> str:
        """The device in words, for the record beside a measured time."""
        if self.torch.type == "cuda":
            return torch.cuda.get_device_name(self.torch)
        return f"{self.torch.type} {_processor()}, {torch.get_num_threads()} threads"

    def pinned(self, buffers: list[torch.Tensor]) -> contextlib.AbstractContextManager:
        """Inside, these buffers, which workers may share, are pinned where they are."""
        return contextlib.nullcontext()

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device, for all that is asked for from now on."""
        return tensor.to(self.torch)

    def uploaded(self) -> Callable[[], None]:
        """A function that waits for the uploads so far: then what they read may be overwritten."""
        return lambda: None

    def download(self, tensor: torch.Tensor, out: torch.Tensor) -> Callable[[], None]:
        """Copy into a tensor of the host; a function that waits until it is there."""
        out.copy_(tensor)
        return lambda: None

    def now(self) -> Any:
        """The moment when all that was asked for so far is done."""
        return time.perf_counter()

    def seconds(self, began: Any, ended: Any) -> float:
        """Between two moments, once the second has come."""
        return ended - began


class _Cuda(Device):
    """A GPU. Uploads run in a stream of their own, from pinned memory, while models compute; nothing waits but where it
    says so. Of what is not pinned, a copy is, in torch's pool, which gives none out again before its event."""

    delay, pins = 1, True

    def __init__(self, device, amp=False):
        super().__init__(device, amp)
        self.copies, self.computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)

    @contextlib.contextmanager
    def pinned(self, buffers):
        cudart = torch.cuda.cudart()
        with torch.cuda.device(
            self.torch
        ):  # else every process of torchrun would take memory of the first GPU
            for buffer in buffers:
                torch.cuda.check_error(cudart.cudaHostRegister(buffer.data_ptr(), buffer.nbytes, 0))
        try:
            yield
        finally:
            self.copies.synchronize()
            for buffer in buffers:
                cudart.cudaHostUnregister(buffer.data_ptr())

    def upload(self, tensor):
        if tensor.device.type != "cpu":
            return super().upload(tensor)
        with torch.cuda.stream(self.copies):
            moved = tensor.pin_memory().to(self.torch, non_blocking=True)
        self.computing.wait_stream(self.copies)
        moved.record_stream(
            self.computing
        )  # its memory is not given away while a model may read it
        return moved

    def uploaded(self):
        return self.copies.record_event().synchronize

    def download(self, tensor, out):
        out.copy_(tensor.to(out.dtype), non_blocking=True)
        return self.computing.record_event().synchronize

    def now(self):
        return self.computing.record_event(torch.cuda.Event(enable_timing=True))

    def seconds(self, began, ended):
        ended.synchronize()
        return began.elapsed_time(ended) / 1000


def device_of(device: Any = None, amp: str | bool | None = None) -> Device:
    """By default CUDA where there is one, and mixed precision on CUDA only. amp: as in :data:`AMP`; True is float16
    there, else bfloat16."""
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    kind, usual = (_Cuda, "float16") if found.type == "cuda" else (Device, "bfloat16")
    return (
        kind(found, usual if amp or amp is None and kind is _Cuda else False)
        if amp in AMP[:3]
        else kind(found, amp)
    )


def on_device(batch: Any, upload: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch with its tensors and arrays uploaded, images [N, C, H, W] in channels_last; texts stay."""

    def moved(part):
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.require(part, requirements=["C", "W"]))
        if not isinstance(part, torch.Tensor):
            return part
        part = upload(part)
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    return over(moved, batch)


@contextlib.contextmanager
def ready(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """``module`` in eval mode on ``device`` in channels_last inside; as it was found afterwards."""
    weights = [p for p in module.parameters() if p.ndim == 4]
    home = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_last = any(not p.is_contiguous() for p in weights)
    with inference_mode_of(module):
        module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            yield
        finally:
            as_found = torch.channels_last if was_last else torch.contiguous_format
            module.to(home, memory_format=as_found)  # type: ignore[call-overload]


def output_of(module: torch.nn.Module, inputs: Any) -> Any:
    """What a module gives for a tensor, a tuple of arguments or a dict of keywords: its ``.logits`` if it has them."""
    if isinstance(inputs, dict):
        output = module(**inputs)
    else:
        output = module(*inputs) if isinstance(inputs, tuple) else module(inputs)
    return getattr(output, "logits", output)


class Positional(torch.nn.Module):
    """``module`` with positional tensors in place of keywords and a tensor in place of an output with ``.logits``."""

    def __init__(self, module: torch.nn.Module, keys: list[str] | None = None):
        super().__init__()
        self.module, self.keys = module, keys

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """The module's logits for the values of its keywords, or for its arguments."""
        return output_of(
            self.module, dict(zip(self.keys, values, strict=True)) if self.keys else values
        )


def _logits_of(model, inputs) -> torch.Tensor:
    logits, batch = output_of(model.module, inputs), batch_of(inputs)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != batch:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(
            f"model {model.name!r} gave {found} for {batch} samples; expected a tensor [N, classes]"
        )
    return logits


def timed_logits(
    model: Model, inputs: Any, device: Device, most: dict[str, int]
) -> tuple[torch.Tensor, Callable[[], float]]:
    """(logits [N, classes] on the device, a function that waits for them: seconds a sample of the forward pass).

    inputs: as for :func:`output_of`. most: {model: samples at once}; where memory runs out, the batch is halved until
    it fits, which is said and kept there. ValueError names a model of another output, or too large for one sample.
    """
    half, began = getattr(torch, str(device.amp or "bfloat16")), device.now()
    with torch.autocast(device.torch.type, half, enabled=bool(device.amp)):
        logits = _in_pieces(model, inputs, most)
    ended = device.now()
    return logits, lambda: device.seconds(began, ended) / len(logits)


def _in_pieces(model, inputs, most):
    name, batch = model.name, batch_of(inputs)
    before = most.get(name, batch)
    while True:
        size = most.get(name, batch)
        try:
            parts = [
                _logits_of(model, piece_of(inputs, a, a + size)) for a in range(0, batch, size)
            ]
            if size < before:
                warnings.warn(
                    f"model {name!r}: no memory for {before} samples at once; now {size}",
                    stacklevel=2,
                )
            return parts[0] if len(parts) == 1 else torch.cat(parts)
        except RuntimeError as error:  # the device's own error is one, too
            if not isinstance(
                error, torch.cuda.OutOfMemoryError
            ) and "DefaultCPUAllocator: " not in str(error):
                raise
            if size == 1:
                raise ValueError(
                    f"model {name!r}: not enough memory for one sample ({error})"
                ) from None
            most[name] = (min(size, batch) + 1) // 2
        torch.cuda.empty_cache()


def batch_of(inputs: Any) -> int:
    """Number of samples in a module's input: a tensor, or the first of a tuple or dict of them."""
    if isinstance(inputs, dict):
        return len(next(iter(inputs.values())))
    return len(inputs[0]) if isinstance(inputs, tuple) else len(inputs)


def piece_of(inputs: Any, start: int, stop: int) -> Any:
    """Samples start … stop − 1 of a module's input; what is not one a sample stays whole."""
    batch = batch_of(inputs)
    return over(lambda value: value[start:stop] if len(value) == batch else value, inputs)


@contextlib.contextmanager
def inference_mode_of(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every submodule is back in the mode it was in."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
