"""On a GPU: agreement with the CPU, recorded settings, insufficient memory, notebook 01.

Run with ``pytest -m gpu``. Tests that need no GPU are in ``test_inference.py``.
"""

from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import torch
from PIL import Image

from cascadelib import datasets
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.transforms import Cut, Photos

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
K = 600
C = 10
ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"batch_size": 64, "shard_size": 128, "progress": False}


@pytest.fixture
def exact():
    """Disable TF32, so that products are computed in float32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield
    torch.set_float32_matmul_precision(before)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Write 600 photographs in ten class folders."""
    root = tmp_path_factory.mktemp("tree")
    rng = np.random.default_rng(1)
    for i in range(K):
        path = root / f"{i % C}" / f"{i:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        colour = rng.integers(0, 200, 3, np.uint8)
        noise = rng.integers(0, 56, (40 + i % 7, 60, 3), np.uint8)
        Image.fromarray(colour + noise).save(path)
    return datasets.image_folder(root)


def net(width):
    torch.manual_seed(width)
    parts = [
        torch.nn.Conv2d(3, width, 3),
        torch.nn.BatchNorm2d(width),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(4),
    ]
    head = torch.nn.Linear(16 * width, C)
    torch.nn.init.normal_(head.weight, std=0.3)
    return torch.nn.Sequential(*parts, torch.nn.Flatten(), head)


def models():
    """Build three models with two cuts."""
    cuts = [
        Photos(Cut((size, size), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3) for size in (32, 32, 48)
    ]
    return {f"m{width}": (net(width), cut) for width, cut in zip((8, 16, 32), cuts, strict=True)}


def close(one, other, tolerance):
    """Assert logits within the tolerance, and equal top-1 classes unless two are equally near."""
    for name in one.models.index:
        ours = one.logits(name)
        theirs = other.logits(name)
        assert abs(ours - theirs).max() < tolerance
        first, second = np.sort(theirs, axis=1)[:, :-3:-1].T
        clear = first - second > 2 * tolerance
        np.testing.assert_array_equal(ours.argmax(1)[clear], theirs.argmax(1)[clear])
        assert clear.mean() > 0.5


@pytest.mark.parametrize("workers", [0, 2])
def test_float32_logits_agree_with_those_of_the_cpu(samples, tmp_path, exact, workers):
    ours = extract(
        models(), samples, tmp_path / "gpu", device="cuda", amp=False, workers=workers, **SETTINGS
    )
    theirs = extract(models(), samples, tmp_path / "cpu", device="cpu", workers=0, **SETTINGS)
    close(ours, theirs, 1e-3)
    assert (ours.models.seconds > 0).all()
    assert ours.metadata("m8")["extraction"]["device_name"] == torch.cuda.get_device_name()


def test_tensors_are_uploaded_from_pinned_memory(tmp_path, exact):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(K, 3, 24, 24, generator=generator)
    labels = torch.arange(K) % C
    ours = extract(
        {"a": net(8)}, (inputs, labels), tmp_path / "gpu", device="cuda", amp=False, **SETTINGS
    )
    close(
        ours,
        extract({"a": net(8)}, (inputs, labels), tmp_path / "cpu", device="cpu", **SETTINGS),
        1e-3,
    )


@pytest.mark.parametrize(
    ("amp", "recorded"), [(None, "float16"), ("bfloat16", "bfloat16"), (False, False)]
)
def test_mixed_precision_is_recorded(samples, tmp_path, amp, recorded):
    store = extract(
        models(), samples, tmp_path / "s", device="cuda", amp=amp, workers=2, **SETTINGS
    )
    assert store.metadata("m8")["extraction"]["amp"] == recorded
    close(
        store,
        extract(models(), samples, tmp_path / "cpu", device="cpu", workers=0, **SETTINGS),
        0.1,
    )


def test_compiled_models_agree(samples, tmp_path, exact):
    store = extract(
        models(),
        samples,
        tmp_path / "s",
        device="cuda",
        amp=False,
        compile=True,
        workers=2,
        **SETTINGS,
    )
    assert store.metadata("m8")["extraction"]["compile"] is True
    close(
        store,
        extract(models(), samples, tmp_path / "cpu", device="cpu", workers=0, **SETTINGS),
        1e-3,
    )


class Hungry(torch.nn.Module):
    """Model that allocates 4 MiB per sample temporarily."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, C)

    def forward(self, x):
        return self.linear(x) + 0 * x.new_empty(len(x), 2**20).sum(1, keepdim=True).nan_to_num(
            0, 0, 0
        )


def test_a_batch_that_exceeds_the_memory_is_halved(tmp_path, exact):
    module = Hungry()
    inputs = torch.rand(K, 16, generator=torch.Generator().manual_seed(0))
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction(
        (held + 2**30) / total
    )  # memory for fewer than 256 samples
    try:
        with pytest.warns(
            UserWarning, match="model 'hungry': no memory for a batch of 512 samples"
        ):
            store = extract(
                {"hungry": module},
                (inputs, torch.arange(K) % C),
                tmp_path / "s",
                device="cuda",
                amp=False,
                macs={"hungry": 160},
                batch_size=512,
                progress=False,
            )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert store.metadata("hungry")["extraction"]["largest_batch_in_memory"] in (64, 128, 256)
    np.testing.assert_allclose(store.logits("hungry"), module.linear(inputs).detach(), atol=1e-3)


def test_notebook_01_runs_on_a_gpu(tmp_path):
    notebook = ROOT / "notebooks" / "01_extraction.ipynb"
    parameters = {"device": "cuda", "images": 500, "out": str(tmp_path / "logits")}
    papermill.execute_notebook(
        notebook,
        tmp_path / "01.ipynb",
        parameters,
        cwd=notebook.parent,
        kernel_name="python3",
        progress_bar=False,
    )
    cells = nbformat.read(tmp_path / "01.ipynb", 4).cells
    assert not [o for cell in cells for o in cell.get("outputs", []) if o.output_type == "error"]
