"""Forward passes: devices, precision, restored modules, batches limited by memory."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from cascadelib.zoo import forward
from cascadelib.zoo.forward import (
    Positional,
    call_module,
    compute_timed_logits,
    is_out_of_memory,
    place_module,
    select_device,
    upload_batch,
)
from cascadelib.zoo.model import Model

NO_MEMORY = "[enforce fail] DefaultCPUAllocator: can't allocate memory"


@pytest.mark.parametrize(
    "amp, expected",
    [
        (None, False),
        (False, False),
        (True, "bfloat16"),
        ("float16", "float16"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_the_precision_on_a_cpu_follows_amp(amp, expected):
    device = select_device("cpu", amp)
    assert device.torch.type == "cpu" and device.amp == expected
    assert device.name.startswith("cpu ") and device.name.endswith(" threads")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "gpu"])
def test_a_device_that_torch_cannot_use_is_refused(device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    message = rf"device='{device}' cannot be used by torch {re.escape(torch.__version__)} \(CUDA "
    with pytest.raises(ValueError, match=message):
        select_device(device)


@pytest.mark.parametrize(("name", "current"), [("cuda:1", [1]), ("cuda", [])])
def test_an_indexed_gpu_becomes_the_current_device(monkeypatch, name, current):
    """Modules may create tensors on the current device."""
    found = []
    monkeypatch.setattr(torch, "empty", lambda *_, **options: None)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: found.append(device.index))
    monkeypatch.setattr(forward, "_Cuda", lambda device, amp: device)
    assert select_device(name).type == "cuda" and found == current


def test_the_settings_of_products_are_recorded(monkeypatch):
    cudnn = torch.backends.cudnn
    gpu = object.__new__(forward._Cuda)
    before = gpu.arithmetic
    with cudnn.flags(enabled=True, benchmark=True, deterministic=True, allow_tf32=False):
        changed = gpu.arithmetic
    differing = ["float32_convolution", "cudnn_benchmark", "cudnn_deterministic"]
    assert [key for key in before if before[key] != changed[key]] == differing
    precision = torch.get_float32_matmul_precision()
    cpu = select_device("cpu")
    arithmetic = [gpu.arithmetic, cpu.arithmetic]
    torch.set_float32_matmul_precision("medium")
    try:
        for device, earlier in zip((gpu, cpu), arithmetic):
            assert device.arithmetic["float32_matmul"] != earlier["float32_matmul"]
    finally:
        torch.set_float32_matmul_precision(precision)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RuntimeError(NO_MEMORY), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
        (ValueError(NO_MEMORY), False),
        (None, False),
    ],
)
def test_errors_of_exhausted_memory_are_recognized(error, expected):
    assert is_out_of_memory(error) == expected


def test_a_module_is_restored_after_a_forward_pass():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    module[1].eval()
    weight = module[0].weight.detach().clone()
    with place_module(module, torch.device("cpu")):
        assert not any(part.training for part in module.modules())
        assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [part.training for part in module.modules()] == [True, True, False, True]
    assert module[0].weight.is_contiguous() and torch.equal(module[0].weight, weight)
    module.to(memory_format=torch.channels_last)
    with pytest.raises(KeyError), place_module(module, torch.device("cpu")):
        raise KeyError
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert module[0].training


def test_images_are_uploaded_in_channels_last_and_texts_are_unchanged():
    seen = []

    def upload(tensor):
        seen.append(tensor)
        return tensor

    read_only = np.ones((2, 3, 4, 4), np.float32)
    read_only.flags.writeable = False
    batch = {"images": read_only, "ids": torch.ones(2, 5), "texts": ["a", "b"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns about read-only arrays
        moved = upload_batch(batch, upload)
    assert moved["images"].is_contiguous(memory_format=torch.channels_last)
    assert moved["texts"] == ["a", "b"] and len(seen) == 2
    assert torch.equal(moved["images"], torch.ones(2, 3, 4, 4)) and moved["ids"] is batch["ids"]


class Product(nn.Module):
    """Module of two inputs that returns logits as a tensor or as an attribute."""

    def __init__(self, named):
        super().__init__()
        self.named = named

    def forward(self, x, weight):
        logits = x @ weight
        return SimpleNamespace(logits=logits) if self.named else logits


@pytest.mark.parametrize("named", [False, True])
def test_arguments_and_keywords_give_the_same_output(named):
    x = torch.randn(3, 2)
    weight = torch.randn(2, 4)
    module = Product(named)
    expected = x @ weight
    for inputs in ((x, weight), {"weight": weight, "x": x}):
        assert torch.equal(call_module(module, inputs), expected)
    assert torch.equal(Positional(module)(x, weight), expected)
    assert torch.equal(Positional(module, ["weight", "x"])(weight, x), expected)
    assert torch.equal(call_module(lambda only: only, x), x)


class Small(nn.Module):
    """Module with memory for ``most`` samples that records the batch sizes."""

    def __init__(self, most, error=NO_MEMORY):
        super().__init__()
        self.most = most
        self.error = error
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        if len(x) > self.most:
            raise RuntimeError(self.error)
        return x * 2


def test_a_batch_is_halved_until_it_fits():
    x = torch.arange(20.0).reshape(10, 2)
    module = Small(most=3)
    most = {}
    with pytest.warns(UserWarning, match="'m': no memory for a batch of 10 samples, now 3"):
        logits, seconds = compute_timed_logits(Model("m", module), x, select_device("cpu"), most)
    assert torch.equal(logits, 2 * x) and seconds() > 0
    assert module.sizes == [10, 5, 3, 3, 3, 1] and most == {"m": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # only one warning
        compute_timed_logits(Model("m", module), x, select_device("cpu"), most)
    assert module.sizes[6:] == [3, 3, 3, 1]


def test_memory_for_less_than_one_sample_and_other_errors_are_raised():
    x = torch.ones(4, 2)
    with pytest.raises(ValueError, match="'m': not enough memory for one sample"):
        compute_timed_logits(Model("m", Small(most=0)), x, select_device("cpu"), {})
    with pytest.raises(RuntimeError, match="^shapes"):
        compute_timed_logits(Model("m", Small(0, "shapes do not fit")), x, select_device("cpu"), {})


@pytest.mark.parametrize(
    "output, found",
    [
        (lambda x: x[0], r"\(2,\)"),
        (lambda x: x[:1], r"\(1, 2\)"),
        (lambda x: x[None], r"\(1, 4, 2\)"),
        (lambda x: x.tolist(), "list"),
    ],
)
def test_outputs_that_are_not_logits_are_refused(output, found):
    error = f"'m' returned {found} for 4 samples, expected a tensor"
    with pytest.raises(ValueError, match=error):
        compute_timed_logits(Model("m", output), torch.ones(4, 2), select_device("cpu"), {})


def test_mixed_precision_uses_the_requested_dtype():
    module = nn.Linear(2, 3)
    for amp, dtype in ((False, torch.float32), ("bfloat16", torch.bfloat16)):
        device = select_device("cpu", amp)
        logits, _ = compute_timed_logits(Model("m", module), torch.ones(4, 2), device, {})
        assert logits.dtype == dtype
