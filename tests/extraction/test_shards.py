"""Several processes fill one store, and workers decode each photograph once."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_modules import MEAN, STD, head

from cascadelib import datasets
from cascadelib.datasets.images import File, Photographs
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.transforms import Cut, Photos

ROOT = Path(__file__).resolve().parents[2]


class Ends(torch.nn.Module):
    """Module that calls a function after some batches, in the second of two processes or alone."""

    def __init__(self, module, end, batches=5):
        super().__init__()
        self.module = module
        self.end = end
        self.batches = batches

    def forward(self, x):
        self.batches -= 1
        if self.batches < 0 and os.environ.get("RANK") != "0":
            self.end()
        return self.module(x)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def fail():
    raise RuntimeError("boom")


def stop():
    raise KeyboardInterrupt


def extract_photographs(folder, out, end=""):
    """Extract two models. One of them dies, a third one fails, or one stops at its first batch."""
    torch.set_num_threads(1)
    networks = {}
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        layers = [torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.Flatten()]
        networks[f"m{seed}"] = torch.nn.Sequential(*layers, torch.nn.Linear(196, 4))
    third = networks.pop("m3")
    if end == "dies":
        networks["m2"] = Ends(networks["m2"], die)
    elif end == "stops":
        networks["m2"] = Ends(networks["m2"], stop, 3)  # the trace and two calls of the probe
    elif end == "fails":
        networks["bad"] = Ends(third, fail)
    photos = Photos(Cut((32, 32), "bilinear", 0.9), (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))
    models = {name: (module, photos) for name, module in networks.items()}
    samples = datasets.image_folder(folder, split="val")
    extract(models, samples, out, batch_size=5, shard_size=5, workers=1, progress=True)


def forked(*arguments):
    """Run :func:`extract_photographs` in two processes. Return (success, output of both).

    As under torchrun, one is ended if the other fails.
    """
    with socket.socket() as free, tempfile.TemporaryFile() as output:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        children = []
        for rank in range(2):
            if child := os.fork():
                children.append(child)
                continue
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
            try:
                extract_photographs(*arguments)
                status = 0
            except BaseException:
                traceback.print_exc()
                status = 1
            sys.stdout.flush()
            os._exit(status)
        success = True
        while children:
            child, status = os.wait()
            children.remove(child)
            if status and success:
                success = False
                time.sleep(0.5)  # the other may store what is finished
                for other in children:
                    os.kill(other, signal.SIGKILL)
        output.seek(0)
        return success, output.read().decode()


def torchrun(*arguments):
    """As :func:`forked`, with the processes of torchrun."""
    call = f"import test_shards; test_shards.extract_photographs(*{[*map(str, arguments)]})"
    script = Path(arguments[1]).with_suffix(".py")
    script.write_text(call)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "extraction")))
    environment = os.environ | {"PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run([*command, script], capture_output=True, text=True, env=environment)
    return ran.returncode == 0, ran.stdout + ran.stderr


def same(one, other):
    one = LogitStore(one)
    other = LogitStore(other)
    assert one.fingerprint == other.fingerprint and set(one.models.index) == set(
        other.models.index
    ) == {"m1", "m2"}
    for name in one.models.index:
        np.testing.assert_array_equal(one.logits(name), other.logits(name))
    one.verify()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("launch", [forked, pytest.param(torchrun, marks=pytest.mark.soak)])
def test_two_processes_fill_one_store_and_another_number_resumes(
    folder, tmp_path, launch, one_thread
):
    success, output = launch(folder, tmp_path / "together")
    assert success, output
    assert output.count("2 models × 62 samples") == 1  # one of the two prints
    assert not (tmp_path / "together" / ".partial").exists()
    extract_photographs(folder, tmp_path / "alone")
    same(tmp_path / "alone", tmp_path / "together")

    assert not launch(folder, tmp_path / "resumed", "dies")[0]
    partial = list((tmp_path / "resumed" / ".partial").glob("m1/*.safetensors"))
    assert 0 < len(partial) < 13  # of thirteen shards
    times = {path: path.stat().st_mtime_ns for path in partial}
    with pytest.raises(KeyboardInterrupt):
        extract_photographs(folder, tmp_path / "resumed", "stops")
    assert times == {path: path.stat().st_mtime_ns for path in partial}
    success, output = launch(folder, tmp_path / "resumed", "fails")
    assert not success and "1 of 3 models failed" in output, output
    assert "model 'bad': RuntimeError('boom')" in output
    same(tmp_path / "alone", tmp_path / "resumed")
    shutil.rmtree(tmp_path / "resumed" / ".partial" / "bad")
    assert [path.name for path in (tmp_path / "resumed").glob(".*/*")] == [".lock"]


class Counted(File):
    """File that records its decoding in a list of this process."""

    decoded = []

    def __call__(self):
        self.decoded.append(self.path)
        return super().__call__()


def test_each_photograph_is_decoded_once_and_each_cut_computed_once(folder, tmp_path, monkeypatch):
    found = datasets.image_folder(folder)
    paths = [file.path for file in found.inputs]
    samples = Photographs(tuple(map(Counted, paths)), found.labels, found.sample_ids, found.classes)
    cuts = []
    own = Cut.__call__
    monkeypatch.setattr(Cut, "__call__", lambda self, image: cuts.append(self) or own(self, image))
    small = Cut((16, 16), "bilinear", 0.9)
    large = Cut((24, 24), "bicubic", 1.0)
    models = {
        "a": (head(1), Photos(small, MEAN, STD)),
        "b": (head(2), Photos(small, MEAN, STD)),
        "c": (head(3), Photos(small, STD, MEAN)),  # the same cut with another normalization
        "d": (head(4, 24), Photos(large, MEAN, STD)),
    }
    Counted.decoded.clear()
    store = extract(models, samples, tmp_path / "s", batch_size=8, workers=0, progress=False)
    probed = 32
    assert Counted.decoded[probed:] == paths
    assert cuts.count(small) == cuts.count(large) == probed + 62
    for name, (module, transform) in models.items():
        expected = module.eval()(transform(found.batch(0, 62))).detach().numpy()
        np.testing.assert_allclose(store.logits(name), expected, rtol=1e-4, atol=1e-4)


def test_a_function_of_one_image_is_accepted_as_a_transform(folder, tmp_path):
    from torchvision.transforms import v2

    crop = v2.Compose(
        [v2.Resize(20), v2.CenterCrop(16), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    )
    samples = datasets.image_folder(folder)
    store = extract({"a": (head(1), crop)}, samples, tmp_path / "s", workers=2, progress=False)
    expected = (
        head(1)(torch.stack([crop(image) for image in samples.batch(0, 62)])).detach().numpy()
    )
    np.testing.assert_allclose(store.logits("a"), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="photographs needs a transform"):
        extract({"b": head(1)}, samples, tmp_path / "t", progress=False, workers=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_photograph_that_cannot_be_read_stops_the_run_and_loses_nothing(
    folder, tmp_path, workers
):
    samples = datasets.image_folder(folder)
    path = samples.inputs[45].path
    whole = path.read_bytes()
    models = {"a": (head(1), Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD))}
    settings = {"batch_size": 8, "shard_size": 8, "workers": workers, "progress": False}
    try:
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=rf"^{path}: cannot be decoded"):
            extract(models, samples, tmp_path / "s", **settings)
        assert len(list((tmp_path / "s" / ".partial" / "a").iterdir())) == 5
    finally:
        path.write_bytes(whole)
    assert len(extract(models, samples, tmp_path / "s", **settings).models) == 1


class Narrow(torch.nn.Module):
    """Model that reports insufficient memory for more than ``room`` samples, as a device or as the
    CPU's allocator."""

    def __init__(self, room, error):
        super().__init__()
        self.linear = head(5)
        self.room = room
        self.error = error
        self.seen = []

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise self.error
        return self.linear(x)


OUT = [
    torch.cuda.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", OUT, ids=["device", "processor"])
def test_batches_are_halved_until_they_fit(folder, tmp_path, error):
    samples = datasets.image_folder(folder)
    transform = Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD)
    models = {"narrow": (Narrow(5, error), transform), "wide": (head(5), transform)}
    store = extract(models, samples, tmp_path / "s", batch_size=16, workers=0, progress=False)
    np.testing.assert_allclose(store.logits("narrow"), store.logits("wide"), rtol=1e-5, atol=1e-5)
    assert store.metadata("narrow")["extraction"]["largest_batch_in_memory"] == 4
    assert "largest_batch_in_memory" not in store.metadata("wide")["extraction"]
    assert models["narrow"][0].seen.count(16) <= 1  # a size that failed is not tried again
    with pytest.raises(ValueError, match="'none': not enough memory for one sample"):
        extract(
            {"none": (Narrow(0, error), transform)},
            samples,
            tmp_path / "t",
            macs={"none": 1},
            progress=False,
        )


def test_other_errors_are_not_treated_as_insufficient_memory(folder, tmp_path):
    samples = datasets.image_folder(folder)
    transform = Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD)
    with pytest.raises(
        ValueError, match=r"1 of 1 models failed:\nmodel 'a': RuntimeError\('something else'\)$"
    ):
        models = {"a": (Narrow(0, RuntimeError("something else")), transform)}
        extract(models, samples, tmp_path / "s", macs={"a": 1}, workers=0, progress=False)


def test_a_full_disk_names_the_file_and_loses_nothing(folder, tmp_path, monkeypatch):
    def full(self, *_):
        raise OSError(28, "No space left on device")

    samples = datasets.image_folder(folder)
    transform = Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match=r"No space left on device: .*/s"):
            extract({"a": (head(1), transform)}, samples, tmp_path / "s", workers=0, progress=False)
    assert (
        len(
            extract(
                {"a": (head(1), transform)}, samples, tmp_path / "s", workers=0, progress=False
            ).models
        )
        == 1
    )
