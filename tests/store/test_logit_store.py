"""A LogitStore returns the stored outputs, tables and costs, for all samples or some."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from toy_store import IDS, LABELS, LOGITS, K

from cascadelib import search
from cascadelib.store.logit_store import LogitStore


def files(store):
    return {p.name: p.read_bytes() for p in store.path.iterdir()}


def test_round_trip_through_the_folder(store):
    store.add(
        "b",
        LOGITS["b"],
        IDS,
        macs=20,
        seconds=0.5,
        family="net",
        parameters=3,
        extraction={"amp": False},
    )
    store.add("a", LOGITS["a"], macs=np.int64(10), frozen=True)
    opened = LogitStore(store.path)
    assert list(opened.models.index) == ["a", "b"] and opened.models.index.name == "model"
    assert list(opened.models.columns) == [
        "top1",
        "top5",
        "macs",
        "seconds",
        "parameters",
        "family",
        "frozen",
    ]
    assert opened.cost_names == ["macs", "seconds"]
    for name in "ab":
        np.testing.assert_array_equal(opened.logits(name), LOGITS[name])
        assert opened.models.top1[name] == (LOGITS[name].argmax(1) == LABELS).mean()
        top5 = np.argsort(-LOGITS[name], 1)[:, :5]
        assert opened.models.top5[name] == (top5 == LABELS[:, None]).any(1).mean()
    np.testing.assert_array_equal(opened.labels, LABELS)
    assert (
        list(opened.sample_ids) == IDS
        and opened.classes[6] == "c6"
        and opened.labels.dtype == np.int64
    )
    assert (opened.dataset, opened.split, len(opened)) == ("toy", "val", K)
    assert opened.metadata("b")["extraction"] == {"amp": False}
    assert opened.origin.fingerprint == store.origin.fingerprint
    opened.verify()
    np.testing.assert_array_equal(load_file(store.path / "a.safetensors")["logits"], LOGITS["a"])


def test_logits_are_memory_mapped_and_read_only(store):
    store.add("a", LOGITS["a"])
    assert isinstance(LogitStore(store.path).logits("a"), np.memmap)
    for some in (store, LogitStore.from_arrays(LABELS, LOGITS)):
        with pytest.raises(ValueError):
            some.logits("a")[0, 0] = 1


def test_a_refused_model_leaves_the_store_unchanged(store):
    store.add("good", LOGITS["b"])
    before = files(store)
    logits = LOGITS["a"].copy()
    logits[3, 2] = np.inf
    with pytest.raises(ValueError, match="'bad'.*row 3 "):
        store.add("bad", logits)
    assert list(store.models.index) == ["good"] and files(store) == before


def test_a_store_of_invalid_labels_is_not_created(tmp_path):
    with pytest.raises(ValueError, match="label 3 of sample 1"):
        LogitStore.create(tmp_path / "s", [0, 3], classes=["x", "y"])
    assert not (tmp_path / "s").exists()


def test_a_store_without_labels_has_no_accuracies():
    store = LogitStore.from_arrays(None, LOGITS, sample_ids=IDS)
    assert store.labels is None and store.models[["top1", "top5"]].isna().all(axis=None)


def test_classes_must_agree_between_models_without_class_names():
    store = LogitStore.from_arrays([0, 1], {"a": np.eye(2)})
    with pytest.raises(ValueError, match="'b'.*3 classes.*the store has 2"):
        store.add("b", np.eye(3)[:2])
    store.add("a", np.eye(3)[:2], replace=True)


def test_a_model_is_replaced_only_on_request(store):
    store.add("a", LOGITS["a"])
    with pytest.raises(ValueError, match="'a'.*replace=True"):
        store.add("a", LOGITS["b"])
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])
    store.add("a", LOGITS["b"], replace=True)
    for some in (store, LogitStore(store.path)):
        np.testing.assert_array_equal(some.logits("a"), LOGITS["b"])
        np.testing.assert_array_equal(some.ranks("a") == 0, LOGITS["b"].argmax(1) == LABELS)


def test_one_class_is_degenerate_but_correct():
    store = LogitStore.from_arrays([0, 0], {"a": [[1.0], [2.0]]}, macs={"a": 1})
    assert store.models.top1["a"] == 1 and math.isnan(store.models.top5["a"])


def test_an_existing_store_is_not_created_and_a_missing_one_not_opened(store, tmp_path):
    with pytest.raises(ValueError, match="already has a store"):
        LogitStore.create(store.path, LABELS)
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        LogitStore(tmp_path / "nothing")
    assert LogitStore(store.path).models.empty


def test_equal_logits_count_for_the_lowest_class():
    store = LogitStore.from_arrays([0, 1], {"a": np.zeros((2, 8))})
    assert store.models.top1["a"] == 0.5 and list(store.ranks("a")) == [0, 1]


def test_an_unknown_model_is_refused_with_the_nearest(store):
    store.add("resnet18", LOGITS["a"])
    for ask in (store.logits, store.select, store.ranks, store.metadata):
        with pytest.raises(ValueError, match="unknown model 'resnet8'; nearest: 'resnet18'"):
            ask("resnet8")


@settings(max_examples=25)
@given(first=st.lists(st.integers(-K, K - 1), min_size=1), data=st.data())
def test_take_composes_like_indexing(first, data):
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1))
    part = LogitStore.from_arrays(LABELS, LOGITS, sample_ids=IDS).take(first).take(second)
    rows = np.arange(K)[first][second]
    np.testing.assert_array_equal(part.logits("b"), LOGITS["b"][rows])
    np.testing.assert_array_equal(part.labels, LABELS[rows])
    assert list(part.sample_ids) == [IDS[r] for r in rows]
    assert part.models.top1["b"] == (LOGITS["b"].argmax(1) == LABELS)[rows].mean()


def test_a_part_of_a_store_has_its_samples_and_takes_no_model(store):
    store.add("a", LOGITS["a"], macs=1)
    part = store.take(slice(5, 9))
    np.testing.assert_array_equal(part.logits("a"), LOGITS["a"][5:9])
    assert part.models.macs["a"] == 1 and part.classes == store.classes
    assert part.origin.fingerprint != store.origin.fingerprint
    store.add("c", LOGITS["c"])
    with pytest.raises(ValueError, match="unknown model 'c'"):
        store.take([3, 4]).select(["a"]).logits("c")
    with pytest.raises(ValueError, match="view of a store"):
        part.add("b", LOGITS["b"][:2])


def test_arrays_are_not_shared_with_the_caller():
    mine = LOGITS["a"].copy()
    store = LogitStore.from_arrays(LABELS, {"a": mine})
    mine[:] = 0
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])


def test_a_failed_write_changes_nothing(store, monkeypatch):
    store.add("a", LOGITS["a"])
    before = files(store)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.add("a", LOGITS["b"], replace=True)
    assert files(store) == before
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])


def test_a_store_without_models_is_refused_with_the_remedy(tmp_path):
    store = LogitStore.create(tmp_path / "empty", np.arange(6) % 3)
    with pytest.raises(ValueError, match="no models yet: store.add.*cl.extract"):
        search(store)


LIMITED = """
import resource, sys
import cascadelib as cl
def size():
    status = open("/proc/self/status").read()
    return 1024 * int(status.partition("VmSize:")[2].split()[0])
warm = cl.LogitStore(sys.argv[2])
def use(store):
    for name in store.models.index:
        cl.confidence(store.logits(name), "max_softmax")
    cl.search(store, 2, "max_softmax_mean_softmax")
    cl.search(store, 2, "max_softmax_mean_logits_ts")
    return len(cl.search(store, 2, "max_softmax_mean_logits").table)
use(warm)
room = 90 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (size() + room, size() + room))
print(use(cl.LogitStore(sys.argv[1])), size() // 2**20)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads the size of a process from Linux")
def test_a_store_may_be_larger_than_the_memory_of_a_process(tmp_path):
    """The store has 120 MB of logits, and the process may allocate or map 90 MB more."""
    rng = np.random.default_rng(0)
    for samples, path in ((15_000, tmp_path / "large"), (200, tmp_path / "warm")):
        labels = rng.integers(0, 500, samples)
        store = LogitStore.create(path, labels, dataset="made up", split="val")
        base = rng.standard_normal((samples, 500), np.float32)
        for i, lead in enumerate((2, 3, 7, 7)):
            logits = np.roll(base, i, 1)
            logits[np.arange(samples), labels] += lead
            store.add(f"m{i}", logits, macs=10.0**i)
    ran = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "large", tmp_path / "warm"],
        capture_output=True,
        text=True,
        env=os.environ | {"MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert int(ran.stdout.split()[0]) > 10
