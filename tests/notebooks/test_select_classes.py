"""Some classes of a store are selected with their samples, for comparisons side by side."""

import numpy as np
import pytest
from toy_store import IDS, LABELS, LOGITS, RNG, C, K

from cascadelib import LogitStore
from cascadelib.methods.confidence_metrics import softmax
from cascadelib.origin import samples_in_common
from tools.side_by_side import select_classes


@pytest.fixture
def store(tmp_path):
    names = [f"c{number}" for number in range(C)]
    return LogitStore.create(tmp_path / "val", LABELS, IDS, names, dataset="toy", split="val")


def test_some_classes_are_selected_with_their_samples(store):
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


def test_probabilities_of_some_classes_are_normalised():
    p = RNG.dirichlet(np.ones(4), 20)
    labels = np.arange(20) % 4
    part = select_classes(LogitStore.from_probabilities(labels, {"m": p}), [0, 2])
    rows = np.isin(labels, [0, 2])
    expected = p[rows][:, [0, 2]] / p[rows][:, [0, 2]].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(part.logits("m"), 1.0), expected)


@pytest.mark.parametrize("classes", [[], [1], [2, 2], [0, C], [-1, 0]])
def test_invalid_selections_of_classes_are_refused(store, classes):
    store.add("a", LOGITS["a"])
    with pytest.raises(ValueError, match=f"two or more labels of 0 … {C - 1}"):
        select_classes(store, classes)


def test_some_classes_of_a_store_without_models_are_selected(store):
    part = select_classes(store, [0, 1])
    assert part.classes == ("c0", "c1") and len(part) == (LABELS < 2).sum() and part.models.empty


def test_classes_without_a_sample_are_refused():
    store = LogitStore.from_arrays([0, 0], {"a": np.zeros((2, 4))})
    with pytest.raises(ValueError, match="no sample is selected"):
        select_classes(store, [1, 2])
