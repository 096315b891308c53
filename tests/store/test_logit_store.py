"""LogitStore: what goes in comes out; bad input is refused and nothing is lost."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from toy_store import IDS, LABELS, LOGITS, RNG, C, K

from cascadelib import search
from cascadelib.cost_kinds import COSTS, Cost
from cascadelib.methods.confidence_metrics import softmax
from cascadelib.origin import samples_in_common
from cascadelib.store.logit_store import LogitStore
from tools.side_by_side import select_classes


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
    store.add("a", LOGITS["a"], macs=np.int64(10))
    opened = LogitStore(store.path)
    assert list(opened.models.index) == ["a", "b"] and opened.models.index.name == "model"
    assert list(opened.models.columns) == [
        "top1",
        "top5",
        "macs",
        "seconds",
        "parameters",
        "family",
    ]
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
    assert opened.fingerprint == store.fingerprint
    opened.verify()
    np.testing.assert_array_equal(load_file(store.path / "a.safetensors")["logits"], LOGITS["a"])


def test_logits_are_memory_mapped_and_read_only(store):
    store.add("a", LOGITS["a"])
    assert isinstance(LogitStore(store.path).logits("a"), np.memmap)
    for some in (store, LogitStore.from_arrays(LABELS, LOGITS)):
        with pytest.raises(ValueError):
            some.logits("a")[0, 0] = 1


def with_value(row, value):
    logits = LOGITS["a"].copy()
    logits[row, 2] = value
    return logits


BAD_LOGITS = {
    "nan": (with_value(17, np.nan), {}, r"'bad'.*row 17 \(image/017.png\)"),
    "inf": (with_value(3, np.inf), {}, "'bad'.*row 3 "),
    "half overflow": (with_value(5, 1e6), {"dtype": "float16"}, "'bad'.*row 5 .*float16"),
    "one-dimensional": (LOGITS["a"][:, 0], {}, "'bad'.*shape|'bad'.*classes"),
    "too few rows": (LOGITS["a"][1:], {}, "'bad'.*39 rows.*40 samples"),
    "too few classes": (LOGITS["a"][:, :3], {}, "'bad'.*3 classes"),
    "too many classes": (np.pad(LOGITS["a"], ((0, 0), (0, 1))), {}, "'bad'.*8 classes"),
    "text": (LOGITS["a"].astype(str), {}, "'bad'.*numbers"),
    "other order": (
        LOGITS["a"],
        {"sample_ids": IDS[:1] + IDS[1:][::-1]},
        "'bad'.*another order: row 1 .*039",
    ),
    "other split": (
        LOGITS["a"],
        {"sample_ids": [i + "x" for i in IDS]},
        "'bad'.*other samples: row 0",
    ),
    "too few ids": (LOGITS["a"], {"sample_ids": IDS[1:]}, "'bad'.*39 sample ids"),
    "zero macs": (LOGITS["a"], {"macs": 0}, "'bad'.*macs"),
    "negative seconds": (LOGITS["a"], {"seconds": -1.0}, "'bad'.*seconds"),
    "nan macs": (LOGITS["a"], {"macs": math.nan}, "'bad'.*macs"),
    "text macs": (LOGITS["a"], {"macs": "12"}, "'bad'.*macs"),
    "dtype": (LOGITS["a"], {"dtype": "float23"}, "dtype 'float23'.*float32"),
    "reserved": (LOGITS["a"], {"top1": 1.0}, "'bad'.*top1"),
    "metadata": (LOGITS["a"], {"thing": object()}, "'thing'"),
}


@pytest.mark.parametrize("case", BAD_LOGITS)
@pytest.mark.parametrize("in_memory", [False, True])
def test_bad_logits_are_refused_and_the_store_unchanged(store, case, in_memory):
    logits, keywords, message = BAD_LOGITS[case]
    if in_memory:
        some = LogitStore.from_arrays(
            LABELS, {"good": LOGITS["b"]}, sample_ids=IDS, classes=store.classes
        )
    else:
        store.add("good", LOGITS["b"])
        some = store
        before = files(store)
    with pytest.raises(ValueError, match=message):
        some.add("bad", logits, **keywords)
    assert list(some.models.index) == ["good"]
    assert in_memory or files(store) == before


def test_classes_must_agree_between_models_where_they_have_no_names():
    store = LogitStore.from_arrays([0, 1], {"a": np.eye(2)})
    with pytest.raises(ValueError, match="'b'.*3 classes.*the store has 2"):
        store.add("b", np.eye(3)[:2])
    store.add("a", np.eye(3)[:2], replace=True)


def test_same_name_twice(store):
    store.add("a", LOGITS["a"])
    with pytest.raises(ValueError, match="'a'.*replace=True"):
        store.add("a", LOGITS["b"])
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])
    store.add("a", LOGITS["b"], replace=True)
    for some in (store, LogitStore(store.path)):
        np.testing.assert_array_equal(some.logits("a"), LOGITS["b"])
        np.testing.assert_array_equal(some.ranks("a") == 0, LOGITS["b"].argmax(1) == LABELS)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"labels": []}, "empty"),
        ({"labels": [0, 3], "classes": ["x", "y"]}, "label 3 of sample 1.*2 classes"),
        ({"labels": [0, -1]}, "label -1 of sample 1"),
        ({"labels": [0.5, 1.0]}, "integers"),
        ({"labels": [[0, 1]]}, "one per sample"),
        ({"labels": [0, 1], "sample_ids": ["x", "x"]}, "'x' occurs twice or more"),
        ({"labels": [0, 1], "sample_ids": ["x"]}, "sample_ids has shape"),
        ({"labels": [0, 1], "classes": ["x", "x"]}, "repeat"),
    ],
)
def test_bad_labels(tmp_path, keywords, message):
    with pytest.raises(ValueError, match=message):
        LogitStore.create(tmp_path / "s", **keywords)
    assert not (tmp_path / "s").exists()
    labels = keywords.pop("labels")
    with pytest.raises(ValueError, match=message):
        LogitStore.from_arrays(labels, {}, **keywords)


def test_one_class_is_degenerate_but_correct():
    store = LogitStore.from_arrays([0, 0], {"a": [[1.0], [2.0]]}, macs={"a": 1})
    assert store.models.top1["a"] == 1 and math.isnan(store.models.top5["a"])


def test_create_and_open_refuse(store, tmp_path):
    with pytest.raises(ValueError, match="already holds a store"):
        LogitStore.create(store.path, LABELS)
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        LogitStore(tmp_path / "nothing")
    assert LogitStore(store.path).models.empty


def test_equal_logits_count_for_the_lowest_class():
    store = LogitStore.from_arrays([0, 1], {"a": np.zeros((2, 8))})
    assert store.models.top1["a"] == 0.5 and list(store.ranks("a")) == [0, 1]


def test_order_is_by_macs_then_seconds_then_age():
    def order(macs, seconds):
        return list(LogitStore.from_arrays(LABELS, LOGITS, macs, seconds).models.index)

    assert order({"a": 3, "b": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}) == ["b", "c", "a"]
    assert order({"a": 3, "b": 1}, {"a": 2, "b": 3, "c": 1}) == ["c", "a", "b"]
    assert order({"a": 3, "b": 1}, None) == ["a", "b", "c"]
    assert order({"a": 1, "b": 1, "c": 1}, None) == ["a", "b", "c"]


def test_costs():
    store = LogitStore.from_arrays(LABELS, LOGITS, {"a": 3, "b": 1, "c": 2}, {"a": 0.5})
    assert list(store.costs("macs")) == [1, 2, 3] and store.costs("macs").dtype == np.float64
    with pytest.raises(ValueError, match="seconds.*'b'.*'c'"):
        store.costs("seconds")
    assert list(store.select(["a"]).costs("seconds")) == [0.5]
    for wrong in ("mac", "top1"):
        with pytest.raises(ValueError, match="unknown cost.*'macs'"):
            store.costs(wrong)
    with pytest.raises(ValueError, match="'d'"):
        LogitStore.from_arrays(LABELS, LOGITS, {"d": 3})


def test_the_only_cost_is_the_default():
    def default(**costs):
        return LogitStore.from_arrays(LABELS, LOGITS, **costs)

    values = {"a": 3, "b": 1, "c": 2}
    for kind in ("macs", "seconds", "published_seconds", "joules"):
        store = default(**{kind: values})
        assert store.default_cost == kind and list(store.models.index) == ["b", "c", "a"]
        assert store.costs(kind).tolist() == [1, 2, 3]
    assert default(joules=values, macs=values).default_cost == "macs"
    assert default(joules=values, seconds=values).default_cost == "seconds"
    assert default().default_cost == "macs"
    several = default(joules=values, euros=values)
    assert several.default_cost == "macs"
    assert list(several.models.index) == ["a", "b", "c"]
    with pytest.raises(
        ValueError, match="macs must be positive.*or pass cost=, one of .*'euros', 'joules'"
    ):
        search(several, 2)
    assert search(several, 2, cost="euros").cost_kind == "euros"
    for wrong in ({"a": 0}, {"a": "x"}, {"d": 1}, 5):
        with pytest.raises(ValueError, match="joules"):
            default(joules=wrong)


def test_only_costs_are_costs(monkeypatch):
    store = LogitStore.from_arrays(LABELS, LOGITS, {"a": 3, "b": 1, "c": 2})
    store.add("z", LOGITS["a"], macs=9, joules=0, image_size=224)
    for wrong in ("image_size", "top1", "parameters"):
        with pytest.raises(ValueError, match="unknown cost.*'macs'"):
            search(store, 2, cost=wrong)
    with pytest.raises(ValueError, match=r"joules must be positive.*'z' \(0\)"):
        search(store, 2, cost="joules")
    monkeypatch.setitem(COSTS, "joules", Cost("joules", "J", "joules a sample"))
    with pytest.raises(ValueError, match=r"joules.*'z' \(0\)"):
        store.costs("joules")
    with pytest.raises(ValueError, match="'y': joules must be a positive number, not 'x'"):
        store.add("y", LOGITS["a"], joules="x")


@pytest.mark.parametrize("watts", [-1, -0.5, np.float32(-1)])
def test_a_negative_number_that_may_be_a_cost_is_refused_at_once(watts):
    store = LogitStore.from_arrays(LABELS, LOGITS)
    with pytest.raises(ValueError, match="model 'z': watts must not be negative, got -"):
        store.add("z", LOGITS["a"], watts=watts)
    assert "z" not in store.models.index
    store.add("z", LOGITS["a"], settings={"watts": -1})


def test_unknown_model(store):
    store.add("resnet18", LOGITS["a"])
    for ask in (store.logits, store.select, store.ranks, store.metadata):
        with pytest.raises(ValueError, match="unknown model 'resnet8'; nearest: 'resnet18'"):
            ask("resnet8")


@settings(max_examples=60, deadline=None)
@given(first=st.lists(st.integers(-K, K - 1), min_size=1), data=st.data())
def test_take_composes_like_indexing(first, data):
    second = data.draw(st.lists(st.integers(0, len(first) - 1), min_size=1))
    part = LogitStore.from_arrays(LABELS, LOGITS, sample_ids=IDS).take(first).take(second)
    rows = np.arange(K)[first][second]
    np.testing.assert_array_equal(part.logits("b"), LOGITS["b"][rows])
    np.testing.assert_array_equal(part.labels, LABELS[rows])
    assert list(part.sample_ids) == [IDS[r] for r in rows]
    assert part.models.top1["b"] == (LOGITS["b"].argmax(1) == LABELS)[rows].mean()


def test_take_forms(store):
    store.add("a", LOGITS["a"], macs=1)
    mask = LABELS == 2
    for form, rows in (
        (mask, np.flatnonzero(mask)),
        (slice(5, 9), range(5, 9)),
        ([1, 1], [1, 1]),
    ):
        part = store.take(form)
        np.testing.assert_array_equal(part.logits("a"), LOGITS["a"][rows])
        assert part.models.macs["a"] == 1 and part.classes == store.classes
    assert store.take(slice(0, 9)).fingerprint != store.fingerprint
    with pytest.raises(ValueError, match="view of a store"):
        part.add("b", LOGITS["b"][:2])


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([], "no sample"),
        (np.zeros(K, bool), "no sample"),
        (np.ones(3, bool), "mask has 3 entries"),
        ([K], "40 samples"),
        ([0.5], "indices"),
        ([[0, 1]], "indices"),
    ],
)
def test_take_refuses(indices, message):
    with pytest.raises(ValueError, match=message):
        LogitStore.from_arrays(LABELS, LOGITS).take(indices)


def test_select_on_a_part():
    part = (
        LogitStore.from_arrays(LABELS, LOGITS, {"a": 3, "b": 1, "c": 2})
        .take([3, 4])
        .select(["a", "b"])
    )
    assert list(part.models.index) == ["b", "a"]
    with pytest.raises(ValueError, match="unknown model 'c'"):
        part.logits("c")


def test_probabilities():
    p = np.exp(LOGITS["a"].astype(float))
    p /= p.sum(1, keepdims=True)
    p[0] = np.eye(C)[2]
    store = LogitStore.from_probabilities(LABELS, {"a": p}, macs={"a": 5})
    z = store.logits("a")
    np.testing.assert_allclose(np.exp(z) / np.exp(z).sum(1, keepdims=True), p, atol=1e-15)
    assert np.isfinite(z).all() and store.models.macs["a"] == 5
    for value in (0.9, np.nan, -0.1):
        wrong = p.copy()
        wrong[4, 0] = value
        with pytest.raises(ValueError, match="'a'.*row 4"):
            LogitStore.from_probabilities(LABELS, {"a": wrong})


def test_probabilities_of_the_best_classes_alone_are_normalised_on_request():
    p = np.random.default_rng(0).random((len(LABELS), C)) + 0.1
    with pytest.raises(ValueError, match="normalise=True.*add.*from_probabilities"):
        LogitStore.from_probabilities(LABELS, {"a": p})
    store = LogitStore.from_probabilities(LABELS, {"a": p}, normalise=True)
    store.add("b", probabilities=p, normalise=True, dtype="float64")
    for name in "ab":
        np.testing.assert_allclose(store.output(name), p / p.sum(1, keepdims=True), rtol=1e-15)
        assert store.holds_probabilities(name)
    for wrong in (-p, 0 * p):
        with pytest.raises(ValueError, match="'c'.*row 0"):
            store.add("c", probabilities=wrong, normalise=True)
    with pytest.raises(ValueError, match="not both"):
        store.add("c", p, probabilities=p)


def test_torch_bfloat16_and_stored_dtypes(store):
    torch = pytest.importorskip("torch")
    store.add("a", torch.from_numpy(LOGITS["a"]))
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])
    np.testing.assert_array_equal(store.take(torch.tensor([1, 1])).labels, LABELS[[1, 1]])
    store.add("bf", torch.from_numpy(LOGITS["a"]).bfloat16().requires_grad_())
    store.add("half", LOGITS["a"], dtype="float16")
    assert store.logits("bf").dtype == np.float32 and store.logits("half").dtype == np.float16
    np.testing.assert_array_equal(store.logits("half"), LOGITS["a"].astype(np.float16))


def test_arrays_are_not_shared_with_the_caller():
    mine = LOGITS["a"].copy()
    store = LogitStore.from_arrays(LABELS, {"a": mine})
    mine[:] = 0
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])


def test_a_failed_write_leaves_nothing(store, monkeypatch):
    store.add("a", LOGITS["a"])
    before = files(store)

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        store.add("a", LOGITS["b"], replace=True)
    assert files(store) == before
    np.testing.assert_array_equal(store.logits("a"), LOGITS["a"])


def test_a_file_replaced_behind_an_open_store(store):
    store.add("a", LOGITS["a"])
    early = LogitStore(store.path)
    late = LogitStore(store.path)
    early.logits("a")
    store.add("a", LOGITS["b"], replace=True, note="a longer header than before")
    np.testing.assert_array_equal(early.logits("a"), LOGITS["a"])
    with pytest.raises(ValueError, match="replaced since"):
        late.logits("a")


def test_some_of_the_classes_sample_by_sample(store):
    for name, logits in LOGITS.items():
        store.add(name, logits, macs=10 + len(name), family="net", extraction={"amp": False})
    chosen = [5, 1, 3]
    part = select_classes(store.take(slice(0, None, 2)).select(["a", "c"]), chosen)
    rows = [i for i in range(0, K, 2) if LABELS[i] in chosen]
    assert part.labels.tolist() == [sorted(chosen).index(LABELS[i]) for i in rows]
    assert part.sample_ids.tolist() == [IDS[i] for i in rows] and part.classes == ("c1", "c3", "c5")
    assert list(part.models.index) == ["a", "c"] and (part.dataset, part.split) == ("toy", "val")
    for name in part.models.index:
        expected = LOGITS[name][np.ix_(rows, sorted(chosen))]
        np.testing.assert_array_equal(part.logits(name), expected)
        assert part.models.top1[name] == (expected.argmax(1) == part.labels).mean() and np.isnan(
            part.models.top5[name]
        )
        assert part.models.macs[name] == 11 and part.metadata(name)["extraction"] == {"amp": False}
        assert "sha256" not in part.metadata(name)
    assert samples_in_common(store.origin, part.origin) == len(part) and part.path is None
    assert len(store) == K and store.logits("a").shape == (K, C)
    part.add("d", part.logits("a"))


def test_some_of_the_classes_of_probabilities_are_normed_again():
    p = RNG.dirichlet(np.ones(4), 20)
    labels = np.arange(20) % 4
    part = select_classes(LogitStore.from_probabilities(labels, {"m": p}), [0, 2])
    rows = np.isin(labels, [0, 2])
    expected = p[rows][:, [0, 2]] / p[rows][:, [0, 2]].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(part.logits("m"), 1.0), expected)


@pytest.mark.parametrize("classes", [[], [1], [2, 2], [0, C], [-1, 0]])
def test_classes_that_are_none_are_refused(store, classes):
    store.add("a", LOGITS["a"])
    with pytest.raises(ValueError, match=f"two or more labels of 0 … {C - 1}"):
        select_classes(store, classes)


def test_some_of_the_classes_of_a_store_without_models(store):
    part = select_classes(store, [0, 1])
    assert part.classes == ("c0", "c1") and len(part) == (LABELS < 2).sum() and part.models.empty


def test_classes_without_a_sample_are_refused():
    store = LogitStore.from_arrays([0, 0], {"a": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="no sample is selected"):
        select_classes(store, [1, 2])


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
    cl.Method("max_softmax", temperature=True).fit(store)
    cl.search(store, 2, "max_softmax_mean_softmax")
    cl.search(store, 2, "max_softmax_mean_logits_ts")
    return len(cl.search(store, 2, "max_softmax_mean_logits").table)
use(warm)
room = 150 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (size() + room, size() + room))
print(use(cl.LogitStore(sys.argv[1])), size() // 2**20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how large a process is")
def test_a_store_may_be_larger_than_the_memory_of_a_process(tmp_path):
    """240 MB of logits where 150 MB more than at the start may be mapped or allocated.

    Four of the models are wrong on so few samples that their temperature is found on all of them.
    """
    rng = np.random.default_rng(0)
    for samples, path in ((20_000, tmp_path / "large"), (200, tmp_path / "warm")):
        labels = rng.integers(0, 500, samples)
        store = LogitStore.create(path, labels, dataset="made up", split="val")
        base = rng.standard_normal((samples, 500), np.float32)
        for i, lead in enumerate((2, 3, 7, 7, 7, 7)):
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
