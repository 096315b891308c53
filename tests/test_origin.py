"""An origin refuses invalid labels, and recognizes samples of another split by ids."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.origin import (
    Origin,
    Sketch,
    join_origins,
    origin_of,
    parts_of,
    samples_in_common,
    sketches_of,
)

IDS = ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": [0.5]}, "labels must be integers"),
        ({"labels": [[0]]}, "labels must be integers"),
        ({"labels": []}, "the split is empty"),
        ({"labels": [0, -1]}, "label -1 of sample 1 is below 0 .1 such"),
        ({"labels": [0, 2], "classes": "xy"}, r"outside 0 … 1 \(2 classes\)"),
        ({"labels": [0, 1], "classes": "xx"}, "class names repeat"),
        ({"labels": [0, 1], "sample_ids": ["a"]}, "sample_ids has shape"),
        ({"labels": [0, 1], "sample_ids": ["a", "a"]}, "'a' occurs more than once"),
        ({"labels": None}, "Pass sample_ids"),
    ],
)
def test_invalid_labels_and_ids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Origin.from_labels(**arguments)


def test_required_labels_that_are_missing_are_an_error_with_the_remedy():
    unlabelled = Origin.from_labels(None, IDS, split="val")
    assert len(unlabelled) == 4
    with pytest.raises(ValueError, match="the 4 samples of 'val' have none"):
        _ = unlabelled.required_labels


def test_equal_samples_have_equal_fingerprints():
    labels = Origin.from_labels([0, 1, 0, 1], IDS)
    assert labels.fingerprint == Origin.from_labels([0, 1, 0, 1], IDS).fingerprint
    assert labels.take(np.array([3, 2, 1, 0])).fingerprint != labels.fingerprint


def test_the_first_row_that_differs_is_named():
    labels = Origin.from_labels([0, 1, 0, 1], IDS, split="val")
    ids = np.array(IDS)
    labels.check_same(ids, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="3 sample ids for 4 samples of split 'val'"):
        labels.check_same(ids[:3])
    with pytest.raises(ValueError, match="another order: row 2 is 'd', expected 'c'"):
        labels.check_same(ids[[0, 1, 3, 2]])
    with pytest.raises(ValueError, match="other samples: row 0 is 'x', expected 'a'"):
        labels.check_same(np.array(["x", "b", "c", "d"]))
    with pytest.raises(ValueError, match=r"other labels: row 1 \(b\) is 0, expected 1"):
        labels.check_same(ids, [0, 0, 0, 1])


def stored(origin):
    """The origin that a file stores."""
    return Origin.from_sketch(*sketches_of(origin))


@given(
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
)
def test_samples_with_equal_ids_are_common(seen, here):
    selected_on = Origin.from_labels(None, sorted(seen))
    labels = Origin.from_labels(None, sorted(here))
    assert samples_in_common(selected_on, labels) == len(seen & here)
    assert samples_in_common(stored(selected_on), labels) == len(seen & here)
    without_keys = Origin.from_sketch(selected_on.sketch_without_ids)
    assert samples_in_common(without_keys, labels) is None


def test_a_full_split_without_ids_is_recognized_by_its_names_and_labels():
    named = {"dataset": "toy", "split": "val"}
    split = Origin.from_labels([0, 1, 0, 1], **named)
    assert samples_in_common(stored(split), Origin.from_labels([0, 1, 0, 1], **named)) == 4
    others = ([0, 1, 1, 1], named), ([0, 1, 0, 1], {}), ([0, 1, 0, 1], named | {"split": "test"})
    for labels, names in others:
        assert samples_in_common(stored(split), Origin.from_labels(labels, **names)) is None
    unlabelled = Origin.from_labels(None, None, k=4, **named)
    assert samples_in_common(unlabelled, Origin.from_labels(None, None, k=4, **named)) is None


def test_parts_of_one_split_are_compared_by_rows():
    split = Origin.from_labels([0, 1, 0, 1])
    first = split.take(slice(0, 3))
    last = split.take(slice(2, 4))
    assert samples_in_common(first, last) == 1
    another = Origin.from_labels([0, 1, 0, 1])  # its row numbers are of other samples
    assert samples_in_common(first, another) is None


def test_joined_origins_are_compared_as_one():
    one = Origin.from_labels(None, ["a", "b"])
    other = Origin.from_labels(None, ["b", "c"])
    here = Origin.from_labels(None, ["a", "c", "x"])
    assert join_origins(one, one) is one
    both = join_origins(one, join_origins(other, one))
    assert both == (one, other)
    assert samples_in_common(both, here) == 2
    # A part is unknown, so samples of the known parts are a lower bound, and 0 is unknown.
    assert samples_in_common((one, None), here) == 1
    assert samples_in_common((Origin.from_labels(None, ["y"]), None), here) is None
    assert parts_of(None) == (None,)


def test_the_origin_of_a_data_set_has_its_attributes():
    classes = ("x", "y")
    inputs = SimpleNamespace(
        labels=np.array([0, 1]),
        sample_ids=np.array(["a", "b"]),
        classes=classes,
        dataset="toy",
        split="val",
    )
    found = origin_of(inputs)
    assert found.required_labels.tolist() == [0, 1]
    assert (found.dataset, found.split, found.classes) == ("toy", "val", classes)
    assert "split='val'" in repr(found) and str(classes) not in repr(found)  # there may be 1,000


def test_labels_as_text_become_class_numbers():
    labels = Origin.from_labels(["dog", "cat", "dog", "eel"])
    assert labels.required_labels.tolist() == [1, 0, 1, 2]
    assert labels.classes == ("cat", "dog", "eel")
    in_order = Origin.from_labels(np.array(["dog", "cat"]), classes=("eel", "dog", "cat"))
    assert in_order.required_labels.tolist() == [1, 2]
    with pytest.raises(ValueError, match="unknown label 'dgo'; nearest: 'dog'"):
        Origin.from_labels(["dog", "dgo"], classes=("cat", "dog"))
    with pytest.raises(ValueError, match="unknown label ''"):
        Origin.from_labels(["dog", ""])
    with pytest.raises(ValueError, match="labels must be integers"):
        Origin.from_labels(np.array(["dog", None], object))
    with pytest.raises(ValueError, match="labels must be integers"):
        Origin.from_labels(np.array([10, 2], object))


@pytest.mark.parametrize("samples", [1, 10, 5000])
def test_a_file_stores_a_bounded_number_of_ids(samples):
    origin = Origin(None, np.arange(samples).astype(str))
    (sketch,) = sketches_of(origin)
    found = Origin.from_sketch(sketch)
    assert len(found.keys) == min(samples, 512) and np.isin(found.keys, origin.keys).all()
    assert len(found) == samples and sketches_of(found) == (sketch,)
    smallest = sorted(key.tobytes() for key in origin.keys)[:512]
    assert [key.tobytes() for key in found.keys] == smallest


def test_all_ids_are_one_sketch_with_their_number():
    """Repeats are counted once. Sets without ids and unknown sets follow."""
    first, second = (
        Origin.from_labels(None, list(map(str, ids))) for ids in (range(900), range(600, 1400))
    )
    nameless = Origin.from_labels([0, 1], dataset="d", split="val")
    ids, *others = sketches_of((first, None, nameless, second))
    assert ids.samples == 1400
    assert others == [None, Sketch(2, None, "d", "val", nameless.fingerprint)]
    from_file = join_origins(*(part and Origin.from_sketch(part) for part in (ids, *others)))
    assert sketches_of(from_file) == (ids, *others)
    again = sketches_of(join_origins(from_file, Origin.from_labels(None, ["new"])))
    assert again[0].samples == 1401


@pytest.mark.parametrize(("seen", "shared"), [(2000, 20), (2000, 400), (300, 3)])
def test_shared_ids_of_a_file_are_found_as_often_as_stated(seen, shared):
    """If a share p of the ids that chose is used again: with probability 1 − (1 − p) ** 512."""
    found = 0
    for draw in range(100):
        chosen = Origin.from_labels(None, [f"{draw}-{row}" for row in range(seen)])
        here = Origin.from_labels(None, [f"{draw}-{row}" for row in range(shared)] + ["new"])
        found += bool(samples_in_common(stored(chosen), here))
    expected = 1 - (1 - shared / seen) ** min(512, seen)
    assert found / 100 == pytest.approx(expected if seen > 512 else 1.0, abs=0.06)
