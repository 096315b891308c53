"""Running a classifier on batches: device, precision, memory layout, and the check of what comes out."""

import contextlib
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from .costs import inference_mode_of, synchronize


@dataclass(frozen=True)
class Precision:
    """Where and how precisely models run: a torch device, and automatic mixed precision or not."""

    device: torch.device
    amp: bool

    @classmethod
    def chosen(cls, device=None, amp=None) -> "Precision":
        """Defaults: CUDA where there is one; mixed precision (float16) on CUDA only."""
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return cls(device, device.type == "cuda" if amp is None else bool(amp))

    def autocast(self):
        half = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, half, enabled=self.amp)

    @property
    def device_name(self) -> str:
        """The device in words, for the record beside a measured time."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return f"{self.device.type} {_processor()}, {torch.get_num_threads()} threads"


def _processor():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return platform.processor() or platform.machine()


def on_device(inputs, device: torch.device):
    """A tensor, or tuple or dict of tensors, on ``device``; images [N, C, H, W] in channels_last."""
    if isinstance(inputs, dict):
        return {key: on_device(value, device) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return tuple(on_device(value, device) for value in inputs)
    if inputs.device.type == "cpu" and device.type == "cuda":
        inputs = inputs.pin_memory()
    inputs = inputs.to(device, non_blocking=True)
    return inputs.contiguous(memory_format=torch.channels_last) if inputs.ndim == 4 else inputs


@contextlib.contextmanager
def ready(module: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """``module`` in eval mode on ``device`` in channels_last inside; as it was found afterwards."""
    weights = [p for p in module.parameters() if p.ndim == 4]
    home = next((p.device for p in module.parameters()), torch.device("cpu"))
    was_last = any(not p.is_contiguous() for p in weights)
    with inference_mode_of(module):
        module.to(device, memory_format=torch.channels_last)
        try:
            yield
        finally:
            module.to(home, memory_format=torch.channels_last if was_last else torch.contiguous_format)


def logits_of(name: str, module: torch.nn.Module, inputs) -> torch.Tensor:
    """Output of ``module`` for a batch (tensor; tuple of arguments; dict of keywords): float tensor [N, classes].

    Raises ValueError naming the model where the output (or its ``.logits``) is no such tensor.
    """
    if isinstance(inputs, dict):
        output, batch = module(**inputs), len(next(iter(inputs.values())))
    else:
        inputs = inputs if isinstance(inputs, tuple) else (inputs,)
        output, batch = module(*inputs), len(inputs[0])
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != batch:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ValueError(f"model {name!r} gave {found} for {batch} samples; expected a tensor of logits [N, classes]")
    return logits


def timed_logits(name: str, module: torch.nn.Module, inputs, precision: Precision) -> tuple[torch.Tensor, float]:
    """(logits [N, classes] on the device, seconds a sample that the forward pass took)."""
    synchronize(precision.device)
    start = time.perf_counter()
    with precision.autocast():
        logits = logits_of(name, module, inputs)
    synchronize(precision.device)
    return logits, (time.perf_counter() - start) / len(logits)
