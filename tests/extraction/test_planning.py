"""Models are probed, loaded and divided into groups that fit into memory."""

import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from torch import nn

from cascadelib.extraction import planning
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.planning import (
    Candidate,
    Options,
    Probes,
    Residents,
    compute_needs,
    fits,
    pack,
)
from cascadelib.extraction.preparation import prepare
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.forward import Allocations
from cascadelib.zoo.loaders import Source, list_sources
from cascadelib.zoo.model import Model

INPUTS = torch.arange(400.0).reshape(50, 8) / 400
LABELS = torch.arange(50) % 3


def settings_of(path, models=None, **options):
    models = models or {"m": nn.Linear(8, 3)}
    options = {"batch_size": 10, "shard_size": 20, "device": "cpu"} | options
    return prepare(models, (INPUTS, LABELS), path, Options(**options))


def candidate(name, weights=0, working=0, inputs=0, classes=3, transform="", is_loaded=True):
    source = Source(name, None, weights, is_loaded)
    run = {"transform": transform}
    return Candidate(source, run, 1, classes, 1.0, {}, weights, inputs, working)


def test_the_needs_of_a_group_are_those_of_its_models_and_one_batch(tmp_path):
    settings = settings_of(tmp_path)
    group = [
        candidate("a", weights=1000, working=7, inputs=5, transform="x"),
        candidate("b", weights=500, working=9, inputs=5, transform="x"),
        candidate("c", weights=300, working=1, inputs=2, transform="y", is_loaded=False),
    ]
    device = 1800 + 10 * 9 + 10 * (5 + 2)  # weights, the largest forward pass, two inputs
    host = 20 * 3 * 4 * 3 + 300  # logits of a shard, a copy while c is loaded
    assert compute_needs(group, settings) == (device + host,) * 2
    cuda = torch.device("cuda")
    on_gpu = replace(settings, device=type("Gpu", (), {"torch": cuda, "amp": False})())
    assert compute_needs(group, on_gpu) == (device, host)
    assert not fits(group, replace(on_gpu, memory=device, host_memory=host - 1))
    assert fits(group, replace(on_gpu, memory=device, host_memory=host))


sizes = st.tuples(st.integers(1, 1000), st.integers(0, 50), st.sampled_from("xyz"))


@limits(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(sizes, min_size=1, max_size=12), st.integers(300, 3000), st.randoms())
def test_groups_fit_into_memory_and_do_not_depend_on_the_order(
    tmp_path_factory, models, memory, random
):
    settings = settings_of(tmp_path_factory.getbasetemp() / "none")
    candidates = [
        candidate(str(i), weights, working, transform=transform)
        for i, (weights, working, transform) in enumerate(models)
    ]
    settings = replace(settings, memory=memory, host_memory=memory, batch_limits={}, failed={})
    groups = pack(candidates, settings)
    assert all(fits(group, settings) for group in groups)
    packed = [one.name for group in groups for one in group]
    assert sorted([*packed, *settings.failed]) == sorted(one.name for one in candidates)
    for name in settings.failed:  # it does not fit with one sample at a time
        assert settings.batch_limits[name] == 1
        assert not fits([candidates[int(name)]], settings)
    for early, late in zip(groups, groups[1:]):  # no model of a group fits into an earlier one
        assert not fits([*early, late[0]], settings)


def test_a_model_that_fits_with_smaller_batches_runs_with_these(tmp_path):
    settings = replace(settings_of(tmp_path), memory=1000.0, host_memory=1000.0)
    assert pack([candidate("a", weights=400, working=70)], settings)  # 240 bytes of logits
    assert settings.batch_limits == {"a": 5}
    assert pack([candidate("b", weights=800)], settings) == []
    assert "model 'b' needs 1.04 kB for a batch of one sample" in str(settings.failed["b"])


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
    monkeypatch.setattr("cascadelib.extraction.preparation.list_sources", lambda _: sources)
    alive = []
    own = planning.describe_identity
    monkeypatch.setattr(
        planning, "describe_identity", lambda one: alive.append(count_alive(loaded)) or own(one)
    )
    options = {"progress": False, "device": "cpu", "shard_size": 20, "batch_size": 10}
    data = (INPUTS, LABELS % 2)
    extract("0123", data, tmp_path / "all", **options)
    assert [name for name, _ in loaded] == [*"0123"] and count_alive(loaded) == 0
    loaded.clear()
    alive.clear()
    extract("0123", data, tmp_path / "two", memory=1.5e-5, **options)
    assert max(alive) == 2 and len(loaded) > 4 and count_alive(loaded) == 0
    whole = LogitStore(tmp_path / "all")
    grouped = LogitStore(tmp_path / "two")
    assert all(whole.logits(n).tobytes() == grouped.logits(n).tobytes() for n in "0123")


def test_a_model_that_differs_from_the_probed_one_fails(tmp_path):
    settings = settings_of(tmp_path)
    residents = Residents(settings)
    (source,) = settings.sources
    probed = Probes(residents).find(source)
    residents.keep(())
    assert residents.load(source, probed.run) is residents.load(source, probed.run)
    residents.keep(())
    nn.init.zeros_(source.load().module.weight)
    with pytest.raises(ValueError, match="model 'm' is not the one that was probed"):
        residents.load(source, probed.run)


def test_processes_share_the_results_of_probes(tmp_path):
    settings = settings_of(tmp_path)
    first = Residents(settings)
    (candidate,) = Probes(first).run_all(settings.sources)
    (again,) = Probes(Residents(settings)).run_all(
        list_sources({"m": settings.sources[0].load().module})
    )
    assert again.seconds == candidate.seconds and again.run == candidate.run
    first.keep(())


def test_allocations_count_the_tensors_that_exist_at_the_same_time():
    x = torch.zeros(1000)
    with Allocations() as allocations, torch.inference_mode():
        y = x + 1  # 4,000 bytes
        z = (y * 2)[:5]  # 4,000 more, and a view of them
        del y, z
        x * 3
    assert allocations.peak == 8000 and allocations.bytes == 0
