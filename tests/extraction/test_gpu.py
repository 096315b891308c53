"""On a GPU: groups agree with the CPU, settings are recorded, and a batch without memory is halved.

Tests that need no GPU are in ``test_inference.py``.
"""

import numpy as np
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
SETTINGS = {"batch_size": 64, "progress": False}


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
        pixels = rng.integers(0, 200, 3) + rng.integers(0, 56, (40 + i % 7, 60, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    return datasets.image_folder(root)


def net(width):
    torch.manual_seed(width)
    parts = [torch.nn.Conv2d(3, width, 3), torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
    head = torch.nn.Linear(16 * width, C)
    torch.nn.init.normal_(head.weight, std=0.3)
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), head)


@pytest.mark.parametrize(
    ("options", "recorded", "tolerance"),
    [
        ({"amp": False, "workers": 0}, False, 1e-3),
        ({"amp": False, "memory": 0.02}, False, 1e-3),  # several groups
        ({}, "float16", 0.1),
        ({"amp": "bfloat16"}, "bfloat16", 0.1),
    ],
)
def test_logits_agree_with_those_of_the_cpu(samples, tmp_path, exact, options, recorded, tolerance):
    cuts = [Photos(Cut((s, s), "bilinear", 0.9), (0.5,) * 3, (0.2,) * 3) for s in (32, 32, 48)]
    models = {f"m{width}": (net(width), cut) for width, cut in zip((8, 16, 32), cuts)}
    options = {"device": "cuda", "workers": 2} | options
    ours = extract(models, samples, tmp_path / "gpu", **SETTINGS, **options)
    theirs = extract(models, samples, tmp_path / "cpu", device="cpu", workers=0, **SETTINGS)
    for name in models:
        assert abs(ours.logits(name) - theirs.logits(name)).max() < tolerance
        record = ours.metadata(name)["extraction"]
        assert record["device_name"] == torch.cuda.get_device_name()
        assert record["amp"] == recorded and ours.models.seconds[name] > 0


class Hungry(torch.nn.Module):
    """Model that allocates 4 MiB per sample temporarily."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(16, C)

    def forward(self, x):
        zeros = 0 * x.new_empty(len(x), 2**20).sum(1, keepdim=True).nan_to_num(0, 0, 0)
        return self.linear(x) + zeros


def test_a_batch_that_exceeds_the_memory_is_halved(tmp_path, exact):
    module = Hungry()
    data = torch.rand(K, 16), torch.arange(K) % C
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    # Memory for fewer than 256 samples
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**30) / total)
    options = {"device": "cuda", "amp": False, "macs": {"hungry": 160}, "batch_size": 512}
    try:
        with pytest.warns(UserWarning, match="model 'hungry': no memory for a batch of 512"):
            store = extract({"hungry": module}, data, tmp_path / "s", progress=False, **options)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert store.metadata("hungry")["extraction"]["largest_batch_in_memory"] in (64, 128, 256)
    np.testing.assert_allclose(store.logits("hungry"), module.linear(data[0]).detach(), atol=1e-3)
