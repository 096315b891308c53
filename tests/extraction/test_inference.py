"""Batches for a GPU, tested with a fake device that copies late and detects early reads."""

import contextlib
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from cascadelib import datasets
from cascadelib.extraction import feeding, inference, preparation
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo import forward
from cascadelib.zoo.transforms import Cut, Photos

K = 50
C = 4
torch.manual_seed(0)
INPUTS = torch.randint(0, 256, (K, 6, 6), dtype=torch.uint8)
LABELS = torch.randint(0, C, (K,))
SMALL = {"batch_size": 8, "shard_size": 17, "progress": False, "device": "cpu"}


class Late(forward.Device):
    """Device on the CPU with the rules of a GPU. Uploaded tensors are overwritten immediately, and
    logits are written when the host waits. ``seen`` lists the events in order."""

    delay = 1

    def __init__(self, device, amp=False):
        super().__init__(device, amp)
        self.seen = []

    def upload(self, tensor):
        moved = tensor.clone()
        if tensor.dtype == torch.uint8 and tensor.ndim == 4:  # cuts of photographs
            tensor.fill_(0)
        return moved

    def download(self, tensor, out):
        out.fill_(float("nan"))
        number = len([what for what, _ in self.seen if what == "asked"])
        self.seen.append(("asked", number))

        def wait():
            self.seen.append(("read", number))
            out.copy_(tensor)

        return wait


@pytest.fixture
def late(monkeypatch):
    """Return the devices of later extractions."""
    found = []

    def device_of(device, amp):
        found.append(Late(torch.device("cpu"), amp or False))
        return found[-1]

    monkeypatch.setattr(preparation, "select_device", device_of)
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write 50 photographs in four class folders."""
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(1)
    for i in range(K):
        path = root / "abcd"[i % C] / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20 + i % 3, 30, 3), np.uint8)).save(path)
    return root


def same(one, other):
    assert list(one.models.index) == list(other.models.index)
    for name in one.models.index:
        assert one.logits(name).tobytes() == other.logits(name).tobytes()


def test_logits_are_read_after_the_next_batch_has_started(tmp_path, late, monkeypatch):
    models = {"a": net(1), "b": net(2)}
    ours = extract(models, (INPUTS, LABELS), tmp_path / "s", **SMALL)
    seen = late[0].seen  # seven batches of two models, the last of two samples
    expected = [("asked", 0), ("asked", 1)]
    for batch in range(1, 7):
        expected += [
            (what, 2 * at + i)
            for what, at in (("asked", batch), ("read", batch - 1))
            for i in (0, 1)
        ]
    assert seen == [*expected, ("read", 12), ("read", 13)]
    monkeypatch.setattr(preparation, "select_device", forward.select_device)
    same(ours, extract(models, (INPUTS, LABELS), tmp_path / "t", **SMALL))


@pytest.mark.parametrize("workers", [0, 2])
def test_uploaded_batches_may_be_overwritten(tmp_path, late, folder, workers, monkeypatch):
    monkeypatch.setattr(feeding, "CHUNK", 3)
    monkeypatch.setattr(feeding, "PREFETCHED_CHUNKS", 2)
    cuts = [Photos(Cut((s, s), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3) for s in (8, 12)]
    models = {"a": (net(1, 192), cuts[0]), "b": (net(2, 432), cuts[1]), "c": (net(3, 192), cuts[0])}
    samples = datasets.image_folder(folder)
    ours = extract(models, samples, tmp_path / "s", workers=workers, **SMALL)
    monkeypatch.setattr(preparation, "select_device", forward.select_device)
    same(ours, extract(models, samples, tmp_path / "t", workers=0, **SMALL))


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
    cut = Photos(Cut((8, 8), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3)
    store = extract(
        {"a": (net(1, 192), cut)}, datasets.image_folder(folder), tmp_path / "s", workers=0, **SMALL
    )
    assert store.models.seconds["a"] == 0.005 / 8
    upload = ["current_stream.wait_stream", "record_stream"]
    ran = ["current_stream.record_event"] * 2
    batch = [*upload, *upload, *ran, "current_stream.record_event"]
    starts = range(len(called))
    found = sum(called[start : start + len(batch)] == batch for start in starts)
    assert found == 1 + 7  # the probe, and each batch
    assert "Stream.synchronize" not in called and "current_stream.synchronize" not in called


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


class Delayed(forward.Device):
    """Device on the CPU whose tensors are :class:`OnDevice`."""

    delay = 1

    def upload(self, tensor):
        return tensor.as_subclass(OnDevice)

    def download(self, tensor, out):
        assert type(tensor) is OnDevice
        out.copy_(tensor, non_blocking=True)
        return lambda: None


@pytest.fixture
def waits(monkeypatch):
    """Return the names of the operations for which the host waits in later extractions."""
    OnDevice.waits.clear()
    monkeypatch.setattr(preparation, "select_device", lambda *_: Delayed(torch.device("cpu")))

    def noting(name):
        make = getattr(torch, name)

        def made(*arguments, device=None, **options):
            if device is not None:  # pageable memory is copied before the call returns
                OnDevice.waits.append(name)
            return make(*arguments, device=device, **options)

        return made

    for name in ("tensor", "as_tensor", "asarray"):
        monkeypatch.setattr(torch, name, noting(name))
    return OnDevice.waits


def test_the_host_waits_in_no_batch(tmp_path, folder, waits):
    samples = datasets.image_folder(folder)
    counted = []
    for count in (8, 48):  # one batch, and six
        photos = Photos(Cut((8, 8), "bilinear", 0.9), (0.5,) * 3, (1 / count,) * 3)
        waits.clear()
        some = samples.take(slice(0, count))
        extract({"a": (net(1, 192), photos)}, some, tmp_path / str(count), workers=0, **SMALL)
        counted.append(list(waits))
    assert counted[0] == counted[1]  # all waits are in the probe
    waits.clear()
    extract({"b": net(1)}, (INPUTS, LABELS), tmp_path / "tensors", **SMALL)
    assert waits == ["cpu", "numpy"]  # the logits of the probe


def test_the_fake_device_records_waits_of_the_host(tmp_path, waits):
    class Curious(torch.nn.Module):
        def forward(self, x):
            assert float(x.sum().item()) >= 0
            return torch.zeros(len(x), C).copy_(x[:, 0, :C]) + torch.tensor(0.0, device=x.device)

    extract({"a": Curious()}, (INPUTS, LABELS), tmp_path / "s", macs={"a": 1}, **SMALL)
    assert {"item", "copy_", "tensor"} <= set(waits) and len(waits) >= 3 * 7


def test_a_short_batch_does_not_compile_a_second_size(tmp_path, monkeypatch):
    sizes = {True: set(), False: set()}

    class Sized(torch.nn.Module):
        def __init__(self, module, compiled):
            super().__init__()
            self.module = self._orig_mod = module
            self.compiled = compiled

        def forward(self, x):
            sizes[self.compiled].add(len(x))
            return self.module(x)

    monkeypatch.setattr(torch, "compile", lambda module: Sized(module, True))
    stores = []
    for compiled in (True, False):
        model = {"a": Sized(net(1), False)}
        path = tmp_path / str(compiled)
        stores.append(extract(model, (INPUTS, LABELS), path, compile=compiled, **SMALL))
    assert sizes[True] == {8} and {8, 2} <= sizes[False]
    np.testing.assert_allclose(stores[0].logits("a"), stores[1].logits("a"), rtol=1e-5)


@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_a_padded_batch_has_the_memory_format_of_a_full_one(form):
    images = forward.upload_batch(
        torch.rand(3, 2, 4, 4).contiguous(memory_format=form), lambda x: x
    )
    whole = inference.pad_inputs({"images": images}, 5)["images"]
    assert torch.equal(whole, images[[0, 1, 2, 2, 2]])
    assert whole.is_contiguous(memory_format=torch.channels_last)
    assert inference.pad_inputs(images, 3) is images and inference.pad_inputs(images, 0) is images


class Stops(torch.nn.Module):
    """Model that raises at batch ``at``."""

    def __init__(self, at, error):
        super().__init__()
        self.inner = net(1)
        self.at = at
        self.error = error
        self.batches = 0

    def forward(self, x):
        self.batches += 1
        if self.batches == self.at:
            raise self.error
        return self.inner(x)


def test_an_interruption_on_a_gpu_loses_no_more_shards_than_on_a_cpu(tmp_path, late):
    batches = 3 + 4  # the trace, two probes; two shards of two batches
    with pytest.raises(KeyboardInterrupt):
        extract(
            {"m": Stops(batches + 1, KeyboardInterrupt())},
            (INPUTS, LABELS),
            tmp_path / "s",
            **SMALL,
        )
    assert len(list((tmp_path / "s" / ".partial" / "m").glob("[0-9]*"))) == 2
    resumed = Stops(0, None)
    extract({"m": resumed}, (INPUTS, LABELS), tmp_path / "s", **SMALL)
    assert resumed.batches == 3 + 7 - 4


def test_the_default_number_of_workers_is_that_of_usable_cores(tmp_path, folder, monkeypatch):
    asked = []
    own = inference.feed
    monkeypatch.setattr(preparation, "count_usable_cores", lambda: 3)
    monkeypatch.setattr(inference, "feed", lambda *a: asked.append(a[-1]) or own(*a))
    cut = Photos(Cut((8, 8), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3)
    extract({"a": (net(1, 192), cut)}, datasets.image_folder(folder), tmp_path / "s", **SMALL)
    assert asked == [3]


class Crowded(torch.nn.Module):
    """Model on a device that holds few models. More cannot be placed or called."""

    placed = set()
    called = set()

    def __init__(self, seed, holds, loads=8):
        super().__init__()
        self.inner = net(seed)
        self.holds = holds
        self.loads = loads

    def to(self, *arguments, **options):
        if self in self.placed:
            self.placed.remove(self)
        elif len(self.placed) == self.loads:
            raise torch.OutOfMemoryError("CUDA out of memory")
        else:
            self.placed.add(self)
        return super().to(*arguments, **options)

    def forward(self, x):
        if len(self.placed) > self.holds:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


@pytest.mark.parametrize(("holds", "loads"), [(3, 3), (3, 8), (1, 8), (8, 8)])
def test_models_without_memory_next_to_others_run_with_fewer(tmp_path, holds, loads):
    Crowded.placed.clear()
    models = {f"m{seed}": Crowded(seed, holds, loads) for seed in range(8)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no batch is halved
        macs = dict.fromkeys(models, 1)
        store = extract(models, (INPUTS, LABELS), tmp_path / "s", macs=macs, **SMALL)
    for seed in range(8):
        expected = net(seed)(INPUTS.float()).detach()
        np.testing.assert_allclose(store.logits(f"m{seed}"), expected, rtol=1e-4, atol=1e-4)
        assert "largest_batch_in_memory" not in store.metadata(f"m{seed}")["extraction"]
    assert not Crowded.placed and not list((tmp_path / "s").glob(".*"))


class Fails(torch.nn.Module):
    """Model that raises from a batch on, or interrupts the run at a batch."""

    def __init__(self, seed, at, error):
        super().__init__()
        self.inner = net(seed)
        self.at = at
        self.error = error
        self.batches = -2  # two calls of the probe

    def forward(self, x):
        self.batches += 1
        if self.batches > self.at and self.error is not None:
            raise self.error
        return self.inner(x)


def test_a_failing_model_that_lacks_more_shards_does_not_shift_the_batches_of_others(tmp_path):
    """The batches of shards that only failed models lacked were passed to other models."""
    interrupted = {
        "bad": Fails(1, 2, ValueError("bad")),  # after the first of four shards
        "good": Fails(2, 6, KeyboardInterrupt()),  # after the third
    }
    options = SMALL | {"macs": {"bad": 1, "good": 1}}
    with pytest.raises(KeyboardInterrupt):
        extract(interrupted, (INPUTS, LABELS), tmp_path / "s", **options)
    again = {"bad": Fails(1, 0, ValueError("bad")), "good": Fails(2, 0, None)}
    with pytest.raises(ValueError, match="1 of 2 models failed"):
        extract(again, (INPUTS, LABELS), tmp_path / "s", **options)
    alone = extract({"good": net(2)}, (INPUTS, LABELS), tmp_path / "t", **SMALL)
    assert LogitStore(tmp_path / "s").logits("good").tobytes() == alone.logits("good").tobytes()
    assert again["good"].batches == 1  # of the last shard, which has one batch


def test_a_failure_is_printed_as_soon_as_it_is_known(tmp_path, capsys):
    printed = []

    class Watches(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net(1)

        def forward(self, x):
            printed.append("bad news" in capsys.readouterr().out)
            return self.inner(x)

    models = {"bad": Fails(1, 2, ValueError("bad news")), "watches": Watches()}
    options = SMALL | {"macs": {"bad": 1, "watches": 1}, "progress": True}
    with pytest.raises(ValueError, match="bad news"):
        extract(models, (INPUTS, LABELS), tmp_path / "s", **options)
    assert printed.index(True) == 2 + 3  # two probes; the model fails in the third batch
