"""Layouts of models on a GPU, measured with a fake device with a fixed time per layout."""

import itertools
import threading

import numpy as np
import pytest
import torch
from torch.backends import cudnn

from cascadelib.extraction import extraction, inference
from cascadelib.extraction.extraction import extract
from cascadelib.zoo import forward

BATCH = 4
C = 3
K = inference.MIN_LAYOUT_BATCHES * BATCH + 1  # the last batch has one sample
INPUTS = torch.rand(K, 2, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5
LABELS = torch.arange(K) % C
SETTINGS = {"batch_size": BATCH, "shard_size": 20, "progress": False}
LAYOUTS = list(itertools.product(inference.MEMORY_FORMATS, (False, True)))


class Clocked(torch.nn.Module):
    """Small network with a fixed time per layout. ``seen`` lists (layout, samples, whether in the
    main thread)."""

    def __init__(self, costs):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = torch.nn.Conv2d(2, 5, 3)
        self.linear = torch.nn.Linear(5 * 16, C)
        self.costs = costs
        self.time = 0.0
        self.seen = []

    def forward(self, images):
        weight = self.convolution.weight
        formats = {
            name: all(part.is_contiguous(memory_format=name) for part in (images, weight))
            for name in inference.MEMORY_FORMATS
        }
        layout = (next(name for name, held in formats.items() if held), cudnn.benchmark)
        main = threading.current_thread() is threading.main_thread()
        if not torch.jit.is_tracing():
            self.time += self.costs[layout]
            self.seen.append((layout, len(images), main))
        return self.linear(self.convolution(images).flatten(1))


class Choosing(forward.Device):
    """Device that selects layouts by the clock of a module."""

    measures_layouts = True

    def __init__(self, module):
        super().__init__(torch.device("cpu"))
        self.module = module

    def now(self):
        return self.module.time


@pytest.fixture(autouse=True)
def flags():
    """Restore cuDNN's flags."""
    before = (cudnn.benchmark, cudnn.deterministic)
    yield
    cudnn.benchmark, cudnn.deterministic = before


def ran(path, monkeypatch, costs, inputs=INPUTS):
    """Return (module, store) of an extraction on a fake GPU."""
    module = Clocked(costs)
    monkeypatch.setattr(extraction, "select_device", lambda *_: Choosing(module))
    labels = LABELS[: len(inputs)]
    return module, extract({"m": module}, (inputs, labels), path, macs={"m": 1}, **SETTINGS)


@pytest.mark.parametrize("best", LAYOUTS)
def test_the_fastest_layout_runs_and_is_recorded(tmp_path, monkeypatch, best):
    costs = dict.fromkeys(LAYOUTS, 2.0) | {best: 1.0}
    module, store = ran(tmp_path / "s", monkeypatch, costs)
    header = store.metadata("m")
    gain = 1.0 if best == LAYOUTS[0] else 2.0
    assert (header["memory_format"], header["cudnn_benchmark"]) == (str(best[0]), best[1])
    assert header["layout_gain"] == gain and header["image_size"] == 6
    tried = [layout for layout, _, main in module.seen if not main]
    assert sorted(map(str, tried)) == sorted(map(str, LAYOUTS * inference.TIMED_BATCHES))
    # Two of the probe, 65 of the run; the last is padded, since cuDNN would search again.
    assert [seen for seen in module.seen if seen[2]] == [(best, BATCH, True)] * (2 + 65)
    assert store.models.seconds["m"] == 1.0 / BATCH
    assert not cudnn.benchmark and module.convolution.weight.is_contiguous()
    expected = Clocked(costs)(INPUTS).detach().numpy()
    np.testing.assert_allclose(store.logits("m"), expected, rtol=1e-4, atol=1e-5)


def test_a_layout_that_is_hardly_faster_is_not_selected(tmp_path, monkeypatch):
    costs = dict.fromkeys(LAYOUTS, 0.96) | {LAYOUTS[0]: 1.0}
    _, store = ran(tmp_path / "s", monkeypatch, costs)
    header = store.metadata("m")
    assert (header["memory_format"], header["cudnn_benchmark"]) == ("torch.channels_last", False)


def test_deterministic_cudnn_does_not_search(tmp_path, monkeypatch):
    cudnn.deterministic = True
    module, store = ran(tmp_path / "s", monkeypatch, dict.fromkeys(LAYOUTS, 1.0))
    assert not any(searched for (_, searched), *_ in module.seen)
    assert not store.metadata("m")["cudnn_benchmark"] and cudnn.deterministic


def test_cudnn_searches_if_its_flag_is_set(tmp_path, monkeypatch):
    cudnn.benchmark = True
    module, store = ran(tmp_path / "s", monkeypatch, dict.fromkeys(LAYOUTS, 1.0))
    assert all(searched for (_, searched), *_ in module.seen)
    assert store.metadata("m")["cudnn_benchmark"] and cudnn.benchmark


def test_layouts_are_not_measured_for_few_batches_or_other_inputs(tmp_path, monkeypatch):
    few = inference.MIN_LAYOUT_BATCHES * BATCH - 1
    module, store = ran(tmp_path / "few", monkeypatch, dict.fromkeys(LAYOUTS, 1.0), INPUTS[:few])
    assert {layout for layout, *_ in module.seen} == {LAYOUTS[0]}
    assert "memory_format" not in store.metadata("m")
    monkeypatch.setattr(Choosing, "now", forward.Device.now)
    linear = torch.nn.Linear(72, C)
    path = tmp_path / "flat"
    store = extract({"m": linear}, (INPUTS.flatten(1), LABELS), path, **SETTINGS)
    assert "memory_format" not in store.metadata("m")


def test_a_model_that_fails_in_a_layout_is_skipped_with_its_error(tmp_path, monkeypatch):
    class Unwilling(Clocked):
        def forward(self, images):
            if cudnn.benchmark:
                raise RuntimeError("no algorithm at all")
            return super().forward(images)

    module = Unwilling(dict.fromkeys(LAYOUTS, 1.0))
    monkeypatch.setattr(extraction, "select_device", lambda *_: Choosing(module))
    with pytest.raises(ValueError, match="model 'm': .*no algorithm at all"):
        extract({"m": module}, (INPUTS, LABELS), tmp_path / "s", macs={"m": 1}, **SETTINGS)
    assert not cudnn.benchmark and module.convolution.weight.is_contiguous()
