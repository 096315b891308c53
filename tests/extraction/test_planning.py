"""Models are probed, loaded and divided into groups that fit into memory."""

import itertools
import weakref
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import nn

from cascadelib.extraction import planning, shards
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.planning import (
    Candidate,
    Options,
    Queue,
    Residents,
    check_disk,
    compute_need,
    halve_batch,
)
from cascadelib.extraction.preparation import prepare
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.forward import Allocations
from cascadelib.zoo.loaders import Source
from cascadelib.zoo.model import Model

INPUTS = torch.arange(400.0).reshape(50, 8) / 400
LABELS = torch.arange(50) % 3


@pytest.fixture(autouse=True)
def shards_of_two_batches(monkeypatch, small_shards):
    monkeypatch.setattr(shards, "SHARD_SAMPLES", 20)


def settings_of(path, models=None, **options):
    models = models or {"m": nn.Linear(8, 3)}
    options = {"batch_size": 10, "device": "cpu"} | options
    return prepare(models, (INPUTS, LABELS), path, Options(**options))


def candidate(name, weights=0, working=0, is_loaded=True):
    source = Source(name, None, weights, is_loaded)
    return Candidate(source, {}, 1, 3, 1.0, {}, weights, working)


def test_the_need_of_a_group_is_that_of_its_models_and_one_batch(tmp_path):
    settings = settings_of(tmp_path)
    group = [
        candidate("a", weights=1000, working=7),
        candidate("b", weights=500, working=9),
        candidate("c", weights=300, working=1, is_loaded=False),
    ]
    device = 1800 + 10 * 9  # weights, the largest forward pass
    host = 20 * 3 * 4 * 3 + 300  # logits of a shard, a copy while c is loaded
    assert compute_need(group, settings) == device + host
    on_gpu = SimpleNamespace(torch=torch.device("cuda"), amp=False)
    assert compute_need(group, replace(settings, device=on_gpu)) == device


def queue_of(settings, candidates):
    """Return a queue of models that are measured without being loaded."""
    settings.shards.path.mkdir(parents=True, exist_ok=True)
    queue = Queue([one.source for one in candidates], Residents(settings))
    found = {one.name: one for one in candidates}

    def measure(source, is_alone):
        if is_alone:
            halve_batch(found[source.name], settings)
        return found[source.name]

    queue._measure = measure
    return queue


def form_groups(queue):
    groups = []
    while queue.rest:
        groups.append(queue.form_group())
    return groups


sizes = st.tuples(st.integers(1, 1000), st.integers(0, 50))


@limits(suppress_health_check=[*HealthCheck], deadline=None)
@given(st.lists(sizes, min_size=1, max_size=12), st.integers(300, 3000))
def test_groups_fit_into_memory_and_begin_with_the_largest(tmp_path_factory, models, memory):
    settings = settings_of(tmp_path_factory.getbasetemp() / "none")
    candidates = [candidate(str(number), *sizes) for number, sizes in enumerate(models)]
    settings = replace(settings, memory=memory, batch_limits={}, failed={})
    groups = form_groups(queue_of(settings, candidates))
    assert all(compute_need(group, settings) <= memory for group in groups if group)
    formed = [one for group in groups for one in group]
    assert [one.weights for one in formed] == sorted((one.weights for one in formed), reverse=True)
    names = [one.name for one in formed]
    assert sorted([*names, *settings.failed]) == sorted(one.name for one in candidates)
    for name in settings.failed:  # it does not fit with one sample at a time
        assert settings.batch_limits[name] == 1
        assert compute_need([candidates[int(name)]], settings) > memory


def test_the_time_of_loading_doubles_with_each_group_up_to_a_limit(tmp_path, monkeypatch):
    """A model takes three seconds: after 2, 4, 8, 16, 32, 60 and 60 s, loading stops."""
    clock = itertools.count(0, 1.5)
    monkeypatch.setattr(planning, "time", SimpleNamespace(monotonic=clock.__next__))
    candidates = [candidate(str(number)) for number in range(200)]
    groups = form_groups(queue_of(settings_of(tmp_path), candidates))
    assert [len(group) for group in groups[:7]] == [2, 3, 6, 11, 22, 40, 40]


def test_a_model_that_fits_with_smaller_batches_runs_with_these(tmp_path):
    settings = replace(settings_of(tmp_path), memory=1000.0)
    halve_batch(candidate("a", weights=400, working=70), settings)  # 240 bytes of logits
    assert settings.batch_limits == {"a": 5}
    with pytest.raises(ValueError, match="model 'b' needs 1.04e-06 GB for a batch of one sample"):
        halve_batch(candidate("b", weights=800), settings)


def test_the_disk_needs_space_for_missing_shards_and_one_model(tmp_path, monkeypatch):
    settings = settings_of(tmp_path)
    settings.shards.write("a", {}, (0, 20), np.zeros((20, 3), np.float32), [])
    needed = (50 + 30 + 50) * 3 * 4  # logits of a model, shards of both
    for free in (needed, needed - 1):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(planning.shutil, "disk_usage", lambda path, usage=usage: usage)
        is_refused = pytest.raises(OSError, match=r"1.56e-06 GB are needed, 1.559e-06 GB are free")
        with nullcontext() if free == needed else is_refused:
            check_disk([candidate("a"), candidate("b")], settings)


def named_sources(loaded):
    """List four models of 1,000 parameters that are loaded by name."""

    def load(name):
        module = nn.Sequential(nn.Linear(8, 100, bias=False), nn.Linear(100, 2, bias=False))
        loaded.append((name, weakref.ref(module)))
        torch.manual_seed(int(name))
        module.apply(lambda part: hasattr(part, "weight") and nn.init.normal_(part.weight))
        return Model(name, module.requires_grad_(False))

    return [Source(name, lambda name=name: load(name), 4000) for name in "0123"]


def count_alive(loaded):
    return sum(module() is not None for _, module in loaded)


def test_models_are_loaded_when_they_are_needed_and_freed_afterwards(tmp_path, monkeypatch):
    loaded = []
    sources = named_sources(loaded)
    alive = []
    own = planning.describe_identity
    monkeypatch.setattr(
        planning, "describe_identity", lambda one: alive.append(count_alive(loaded)) or own(one)
    )
    options = {"progress": False, "device": "cpu", "batch_size": 10}
    data = (INPUTS, LABELS % 2)
    extract(sources, data, tmp_path / "all", **options)
    assert [name for name, _ in loaded] == [*"0123"] and count_alive(loaded) == 0
    loaded.clear()
    alive.clear()
    extract(sources, data, tmp_path / "two", memory=1.5e-5, **options)
    assert max(alive) == 2 and len(loaded) > 4 and count_alive(loaded) == 0
    whole = LogitStore(tmp_path / "all")
    grouped = LogitStore(tmp_path / "two")
    assert all(whole.logits(n).tobytes() == grouped.logits(n).tobytes() for n in "0123")


def test_a_model_that_differs_from_the_measured_one_fails(tmp_path):
    settings = settings_of(tmp_path)
    (source,) = settings.sources
    residents = Residents(settings)
    run = settings.describe_run(source.load())
    assert residents.load(source, run) is residents.load(source, run)
    residents.keep(())
    nn.init.zeros_(source.load().module.weight)
    with pytest.raises(ValueError, match="model 'm' is not the one that was measured"):
        residents.load(source, run)


def test_a_model_whose_weights_exceed_the_memory_is_not_put_on_the_device(tmp_path, monkeypatch):
    """The size of a source may be known only when the model is loaded."""
    moved = []
    monkeypatch.setattr(nn.Module, "to", lambda self, *a, **o: moved.append(self))
    source = Source("m", lambda: Model("m", nn.Linear(8, 300)))
    with pytest.raises(ValueError, match="memory=1e-05 GB is too small .*'m'.* 1.08e-05 GB"):
        extract([source], (INPUTS, LABELS), tmp_path, memory=1e-5, progress=False)
    assert moved == []


def test_allocations_count_the_tensors_that_exist_at_the_same_time():
    x = torch.zeros(1000)
    with Allocations() as allocations, torch.inference_mode():
        y = x + 1  # 4,000 bytes
        z = (y * 2)[:5]  # 4,000 more, and a view of them
        del y, z
        x * 3
    assert allocations.peak == 8000 and allocations.bytes == 0
