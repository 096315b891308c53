"""Batches for a GPU, tested with a fake device that copies late and detects early reads."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from small_runs import INPUTS, SMALL, C, Counting, run

from cascadelib import datasets
from cascadelib.extraction import feeding, preparation
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo import forward
from cascadelib.zoo.transforms import Cut, Photos

PHOTOGRAPHS = 62  # in the folder of conftest.py


class OnDevice(torch.Tensor):
    """Tensor on a fake GPU that records operations for which the host would wait."""

    waits: list[str] = []
    READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "nonzero")

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), options=None):
        options = options or {}
        name = getattr(function, "__name__", "")
        blocking = name == "copy_" and not options.get("non_blocking", False)
        if name in cls.READS or (blocking and type(arguments[0]) is not type(arguments[1])):
            cls.waits.append(name)
        return super().__torch_function__(function, types, arguments, options)


class FakeGpu(forward.Device):
    """Device on the CPU with the rules of a GPU.

    Uploaded tensors are overwritten immediately, and logits are written when the host waits.
    ``seen`` lists the events in order.
    """

    delay = 1

    def __init__(self, device, amp=False):
        super().__init__(torch.device("cpu"), amp or False)
        self.seen = []

    def upload(self, tensor):
        moved = tensor.clone().as_subclass(OnDevice)
        if tensor.dtype == torch.uint8 and tensor.ndim == 4:  # cuts of photographs
            tensor.fill_(0)
        return moved

    def download(self, tensor, out):
        assert type(tensor) is OnDevice
        out.fill_(float("nan"))
        number = len([what for what, _ in self.seen if what == "asked"])
        self.seen.append(("asked", number))

        def wait():
            self.seen.append(("read", number))
            out.copy_(tensor, non_blocking=True)

        return wait


@pytest.fixture
def gpus(monkeypatch):
    """Return the fake GPUs of later extractions."""
    found = []
    OnDevice.waits.clear()

    def make(device, amp):
        found.append(FakeGpu(device, amp))
        return found[-1]

    def record(name):
        own = getattr(torch, name)

        def recorded(*arguments, device=None, **options):
            if device is not None:  # pageable memory is copied before the call returns
                OnDevice.waits.append(name)
            return own(*arguments, device=device, **options)

        return recorded

    monkeypatch.setattr(preparation, "select_device", make)
    for name in ("tensor", "as_tensor", "asarray"):
        monkeypatch.setattr(torch, name, record(name))
    return found


class Stub:
    """Fake CUDA stream or event that records its calls and returns itself."""

    def __init__(self, called, name):
        self.called = called
        self.name = name

    def __call__(self, *arguments, **options):
        return self

    def __getattr__(self, method):
        def noted(*arguments, **options):
            self.called.append(f"{self.name}.{method}")
            return 5.0 if method == "elapsed_time" else Stub(self.called, f"{self.name}'s event")

        return noted


def net(seed, size=36):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, C))


def cut(size, std=0.2):
    return Photos(Cut((size, size), "bilinear", 0.9), (0.5,) * 3, (std,) * 3)


def same(one, other):
    assert list(one.models.index) == list(other.models.index)
    for name in one.models.index:
        assert one.logits(name).tobytes() == other.logits(name).tobytes()


def test_logits_are_read_after_the_next_batch_has_started(tmp_path, gpus, monkeypatch):
    models = {"a": net(1), "b": net(2)}
    ours = run(models, tmp_path / "s")
    expected = [("asked", 0), ("asked", 1)]  # seven batches of two models
    for batch in range(1, 7):
        expected += [
            (what, 2 * at + i)
            for what, at in (("asked", batch), ("read", batch - 1))
            for i in (0, 1)
        ]
    assert gpus[0].seen == [*expected, ("read", 12), ("read", 13)]
    monkeypatch.setattr(preparation, "select_device", forward.select_device)
    same(ours, run(models, tmp_path / "t", device="cpu"))


@pytest.mark.parametrize("workers", [0, 2])
def test_uploaded_batches_may_be_overwritten(tmp_path, gpus, folder, workers, monkeypatch):
    monkeypatch.setattr(feeding, "CHUNK", 3)
    monkeypatch.setattr(feeding, "PREFETCHED_CHUNKS", 2)
    models = {"a": (net(1, 192), cut(8)), "b": (net(2, 432), cut(12)), "c": (net(3, 192), cut(8))}
    samples = datasets.image_folder(folder)
    ours = extract(models, samples, tmp_path / "s", workers=workers, **SMALL)
    monkeypatch.setattr(preparation, "select_device", forward.select_device)
    same(ours, extract(models, samples, tmp_path / "t", workers=0, device="cpu", **SMALL))


def test_cuda_is_called_in_the_expected_order(tmp_path, monkeypatch, folder):
    """Test names and order of the calls with fake streams, events and pinned memory."""
    called = []
    for name in ("Stream", "current_stream", "Event"):
        monkeypatch.setattr(torch.cuda, name, Stub(called, name))
    for name in ("stream", "device"):
        monkeypatch.setattr(torch.cuda, name, contextlib.nullcontext)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: called.append("record_stream")
    )
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda device: 0)
    monkeypatch.setattr(forward._Cuda, "pins_memory", False)
    monkeypatch.setattr(
        preparation, "select_device", lambda device, amp: forward._Cuda(torch.device("cpu"), False)
    )
    samples = datasets.image_folder(folder)
    store = extract({"a": (net(1, 192), cut(8))}, samples, tmp_path / "s", workers=0, **SMALL)
    assert store.models.seconds["a"] == 0.005 / 8
    upload = ["current_stream.wait_stream", "record_stream"]
    ran = ["current_stream.record_event"] * 2
    batch = [*upload, *upload, *ran, "current_stream.record_event"]
    starts = range(len(called))
    found = sum(called[start : start + len(batch)] == batch for start in starts)
    assert found == 1 + -(-PHOTOGRAPHS // 8)  # the probe, and each batch
    assert "Stream.synchronize" not in called and "current_stream.synchronize" not in called


def test_the_host_waits_in_no_batch(tmp_path, folder, gpus):
    samples = datasets.image_folder(folder)
    counted = []
    for count in (8, 48):  # one batch, and six
        OnDevice.waits.clear()
        some = samples.take(slice(0, count))
        model = {"a": (net(1, 192), cut(8, 1 / count))}
        extract(model, some, tmp_path / str(count), workers=0, **SMALL)
        counted.append(list(OnDevice.waits))
    assert counted[0] == counted[1]  # all waits are in the probe
    OnDevice.waits.clear()
    run({"b": net(1)}, tmp_path / "tensors")
    assert OnDevice.waits == []


class Crowded(torch.nn.Module):
    """Model on a device that holds few models. More cannot be placed or called.

    room: samples of the largest batch.
    """

    placed = set()

    def __init__(self, seed, holds, loads=8, room=8):
        super().__init__()
        self.inner = net(seed)
        self.holds = holds
        self.loads = loads
        self.room = room

    def to(self, *arguments, **options):
        if self in self.placed:
            self.placed.remove(self)
        elif len(self.placed) == self.loads:
            raise torch.OutOfMemoryError("CUDA out of memory")
        else:
            self.placed.add(self)
        return super().to(*arguments, **options)

    def forward(self, x):
        if len(self.placed) > self.holds or len(x) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


def check_logits(store, seeds):
    for seed in seeds:
        expected = net(seed)(INPUTS.float()).detach()
        np.testing.assert_allclose(store.logits(f"m{seed}"), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("holds", "loads"), [(3, 3), (3, 8), (1, 8), (8, 8)])
def test_models_without_memory_next_to_others_run_with_fewer(tmp_path, holds, loads):
    Crowded.placed.clear()
    models = {f"m{seed}": Crowded(seed, holds, loads, room=32) for seed in range(8)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no batch is halved
        store = run(models, tmp_path / "s", macs=dict.fromkeys(models, 1))
    check_logits(store, range(8))
    for name in models:
        assert "largest_batch_in_memory" not in store.metadata(name)["extraction"]
    assert not Crowded.placed and not list((tmp_path / "s").glob(".*"))


def test_a_model_without_memory_is_called_alone_and_with_smaller_batches(tmp_path):
    Crowded.placed.clear()
    models = {f"m{seed}": Crowded(seed, 1, room=room) for seed, room in enumerate((32, 9, 0))}
    with (
        pytest.warns(UserWarning, match="'m1': no memory for a batch of 32 samples, now 8"),
        pytest.raises(ValueError, match="1 of 3 models failed:\nmodel 'm2': not enough memory"),
    ):
        run(models, tmp_path, macs=dict.fromkeys(models, 24), device="cpu")
    store = LogitStore(tmp_path)
    check_logits(store, (0, 1))
    assert store.metadata("m1")["extraction"]["largest_batch_in_memory"] == 8
    assert "largest_batch_in_memory" not in store.metadata("m0")["extraction"]


def test_a_failing_model_that_lacks_more_shards_does_not_shift_the_batches_of_others(tmp_path):
    """The batches of shards that only failed models lacked were passed to other models."""
    interrupted = {
        "bad": Counting(2 + 2, ValueError("bad")),  # after two probes and the first of four shards
        "good": Counting(2 + 6),  # after the third
    }
    macs = {"bad": 1, "good": 1}
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, tmp_path / "s", macs=macs)
    again = {"bad": Counting(2, ValueError("bad")), "good": Counting()}
    with pytest.raises(ValueError, match="1 of 2 models failed"):
        run(again, tmp_path / "s", macs=macs)
    alone = run({"good": Counting()}, tmp_path / "t")
    assert LogitStore(tmp_path / "s").logits("good").tobytes() == alone.logits("good").tobytes()
    assert len(again["good"].batches) == 2 + 1  # the last shard has one batch
