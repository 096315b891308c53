"""A forward pass: on which device, how precisely, how fast.

On the CPU, freed memory is kept for the next batch.
"""

import contextlib
import ctypes
import platform
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from .batches import count_inputs, map_parts, take_rows
from .model import Model

AMP = (None, False, True, "float16", "bfloat16")
# Parameters of glibc's mallopt(3).
TRIM_THRESHOLD = -1
MMAP_THRESHOLD = -3
MMAP_MAX = -4
UNLIMITED = 2**31 - 1
# What glibc's own adjustment comes to in a process that has freed a large tensor (mallopt(3),
# M_MMAP_THRESHOLD).
GLIBC_DEFAULTS = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 * 2**20, TRIM_THRESHOLD: 64 * 2**20}


@contextlib.contextmanager
def retain_freed_memory() -> Iterator[None]:
    """Inside, what tensors free stays with the process; afterwards it goes back to the system.

    glibc hands blocks above 32 MB back as soon as they are free, and those for the next layer's
    output are mapped and cleared page by page: for wide layers that takes as long as the layer
    itself. Other mallocs are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, UNLIMITED)
    try:
        yield
    finally:
        for parameter, value in GLIBC_DEFAULTS.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def _find_processor() -> str:
    """Name of the processor, as far as the system tells it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
        return ""
    return platform.processor() or platform.machine()


class Device:
    """Where and how precisely models run, and how tensors come and go.

    This one, the CPU, has done what it is asked for on return.

    Parameters
    ----------
    device : torch.device
    amp : str or False
        The dtype of automatic mixed precision, if any.
    """

    delay = 0  # batches that may be under way while the next one runs
    pins = False  # is memory for copies pinned?
    chooses = False  # are layouts of models measured, and all batches of one size?
    computing: Any = None  # the stream in which models run, where there are streams

    def __init__(self, device: torch.device, amp: str | bool = False):
        self.torch = device
        self.amp = amp

    @property
    def name(self) -> str:
        """The device in words, for the record beside a measured time."""
        if self.torch.type == "cuda":
            return torch.cuda.get_device_name(self.torch)
        return f"{self.torch.type} {_find_processor()}, {torch.get_num_threads()} threads"

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor on the device, for all that is asked for from now on."""
        return tensor.to(self.torch)

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
    """A GPU: uploads run in a stream of their own, from pinned memory, while models compute.

    The host waits only where a comment or a docstring says so.
    """

    delay = 1
    pins = True
    chooses = True

    def __init__(self, device: torch.device, amp: str | bool = False):
        super().__init__(device, amp)
        self.copies = torch.cuda.Stream(device)
        self.computing = torch.cuda.current_stream(device)

    def upload(self, tensor: torch.Tensor) -> torch.Tensor:
        if tensor.device.type != "cpu":
            return super().upload(tensor)
        # From a copy in pinned memory: what was given may be overwritten at once, and torch's pool
        # gives the copy's memory to nobody else before it is on the device.
        with torch.cuda.stream(self.copies):
            moved = tensor.pin_memory().to(self.torch, non_blocking=True)
        self.computing.wait_stream(self.copies)
        moved.record_stream(self.computing)  # nor its memory while a model may read it
        return moved

    def download(self, tensor: torch.Tensor, out: torch.Tensor) -> Callable[[], None]:
        out.copy_(tensor.to(out.dtype), non_blocking=True)
        return self.computing.record_event().synchronize

    def now(self) -> Any:
        return self.computing.record_event(torch.cuda.Event(enable_timing=True))

    def seconds(self, began: Any, ended: Any) -> float:
        ended.synchronize()  # the host waits
        return began.elapsed_time(ended) / 1000


def select_device(device: Any = None, amp: str | bool | None = None) -> Device:
    """The device to run on: by default CUDA where there is one.

    amp: one of :data:`AMP`. None: mixed precision on CUDA only; True: float16 there, else bfloat16.
    """
    found = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    on_cuda = found.type == "cuda"
    if amp is None:
        amp = on_cuda
    if amp is True:
        amp = "float16" if on_cuda else "bfloat16"
    return _Cuda(found, amp) if on_cuda else Device(found, amp)


def upload_batch(batch: Any, upload: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """A batch with its tensors and arrays uploaded, images [N, C, H, W] in channels_last.

    Texts stay as they are.
    """

    def moved(part: Any) -> Any:
        if isinstance(part, np.ndarray):
            part = torch.from_numpy(np.require(part, requirements=["C", "W"]))
        if not isinstance(part, torch.Tensor):
            return part
        part = upload(part)
        return part.contiguous(memory_format=torch.channels_last) if part.ndim == 4 else part

    return map_parts(moved, batch)


@contextlib.contextmanager
def place_module(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """``module`` in eval mode on ``device`` in channels_last inside; as it was found afterwards."""
    home = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_last = any(p.ndim == 4 and not p.is_contiguous() for p in module.parameters())
    with eval_mode(module):
        module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            yield
        finally:
            as_found = torch.channels_last if was_last else torch.contiguous_format
            module.to(home, memory_format=as_found)  # type: ignore[call-overload]


def call_module(module: torch.nn.Module, inputs: Any) -> Any:
    """A module's output, or its ``.logits``, for a tensor, a tuple of arguments or a dict of
    keywords.
    """
    if isinstance(inputs, dict):
        output = module(**inputs)
    elif isinstance(inputs, tuple):
        output = module(*inputs)
    else:
        output = module(inputs)
    return getattr(output, "logits", output)


class Positional(torch.nn.Module):
    """A module with positional tensors in place of keywords, and a tensor in place of an output.

    Parameters
    ----------
    module : torch.nn.Module
    keys : list of str, optional
        Its keywords, in the order of the arguments; None: it takes the arguments as they are.
    """

    def __init__(self, module: torch.nn.Module, keys: list[str] | None = None):
        super().__init__()
        self.module = module
        self.keys = keys

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """The module's logits for the values of its keywords, or for its arguments."""
        if self.keys:
            return call_module(self.module, dict(zip(self.keys, values, strict=True)))
        return call_module(self.module, values)


def compute_timed_logits(
    model: Model, inputs: Any, device: Device, most: dict[str, int]
) -> tuple[torch.Tensor, Callable[[], float]]:
    """Logits of a batch, and how long the forward pass took.

    Parameters
    ----------
    model : Model
    inputs
        As for :func:`call_module`.
    device : Device
    most : dict
        {model: samples at once}. Where memory runs out, the batch is halved until it fits, which is
        said and noted there.

    Returns
    -------
    logits : torch.Tensor
        [N, classes], on the device.
    seconds : callable
        Waits for them, and returns the seconds per sample.

    Raises
    ------
    ValueError
        Naming a model with another output, or one too large for a single sample.
    """
    half = getattr(torch, str(device.amp or "bfloat16"))
    began = device.now()
    with torch.autocast(device.torch.type, half, enabled=bool(device.amp)):
        logits = _compute_in_pieces(model, inputs, most)
    ended = device.now()
    return logits, lambda: device.seconds(began, ended) / len(logits)


def _compute_in_pieces(model: Model, inputs: Any, most: dict[str, int]) -> torch.Tensor:
    """Logits [N, classes] in pieces that fit into the memory: see :func:`compute_timed_logits`."""
    name = model.name
    samples = count_inputs(inputs)
    before = most.get(name, samples)
    while True:
        size = most.get(name, samples)
        pieces = [slice(start, start + size) for start in range(0, samples, size)]
        try:
            parts = [_compute_logits(model, take_rows(inputs, piece, samples)) for piece in pieces]
            logits = torch.cat(parts)
        except RuntimeError as error:
            # On the host, the error has no class.
            on_device = isinstance(error, torch.cuda.OutOfMemoryError)
            if not (on_device or "DefaultCPUAllocator: " in str(error)):
                raise
            if size == 1:
                raise ValueError(
                    f"model {name!r}: not enough memory for one sample ({error})"
                ) from None
            most[name] = (min(size, samples) + 1) // 2
        else:
            if size < before:
                warnings.warn(
                    f"model {name!r}: no memory for {before} samples at once; now {size}",
                    stacklevel=2,
                )
            return logits
        torch.cuda.empty_cache()


def _compute_logits(model: Model, inputs: Any) -> torch.Tensor:
    """A model's output for its inputs, or ValueError where that is no tensor [N, classes]."""
    logits = call_module(model.module, inputs)
    samples = count_inputs(inputs)
    if not isinstance(logits, torch.Tensor):
        found: Any = type(logits).__name__
    elif logits.ndim != 2 or len(logits) != samples:
        found = tuple(logits.shape)
    else:
        return logits
    raise ValueError(
        f"model {model.name!r} gave {found} for {samples} samples; expected a tensor [N, classes]"
    )


@contextlib.contextmanager
def eval_mode(module: torch.nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards every submodule is back in the mode it was in."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
