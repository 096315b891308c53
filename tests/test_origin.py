"""An origin refuses invalid labels, and recognizes samples of another split by ids and outputs."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.origin import (
    MOST_FORMS,
    Origin,
    join_origins,
    origin_of,
    parts_of,
    samples_in_common,
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


def test_equal_samples_have_equal_fingerprints_and_digests():
    labels = Origin.from_labels([0, 1, 0, 1], IDS)
    again = Origin.from_labels([0, 1, 0, 1], IDS)
    assert labels.fingerprint == again.fingerprint
    reordered = labels.take(np.array([3, 2, 1, 0]))
    assert reordered.fingerprint != labels.fingerprint
    assert reordered.digest == labels.digest  # of the ids, in any order
    rows = Origin.from_labels([0, 1, 0, 1])
    assert rows.digest is None  # row numbers do not identify samples of an unnamed split
    named = Origin.from_labels([0, 1, 0, 1], dataset="toy", split="val")
    assert named.digest is not None
    assert named.digest != Origin.from_labels([0, 1, 1, 1], dataset="toy", split="val").digest


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


def stored(origin, has_keys=True):
    traces = replace(origin.record([]).traces, dataset="", split="")
    return Origin.from_traces(traces if has_keys else replace(traces, keys=None, forms=None))


@given(
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
)
def test_samples_with_equal_ids_are_common(seen, here):
    selected_on = Origin.from_labels(None, sorted(seen))
    labels = Origin.from_labels(None, sorted(here))
    assert samples_in_common(selected_on, labels) == len(seen & here)
    assert samples_in_common(stored(selected_on), labels) == len(seen & here)
    count = len(here) if seen == here else None
    assert samples_in_common(stored(selected_on, has_keys=False), labels) == count


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
    class Inputs:
        labels = np.array([0, 1])
        sample_ids = np.array(["a", "b"])
        classes = ("x", "y")
        dataset = "toy"
        split = "val"

    found = origin_of(Inputs())
    assert found.values is not None
    assert found.values.tolist() == [0, 1]
    assert (found.dataset, found.split, found.classes) == ("toy", "val", ("x", "y"))


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


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        (["img_1.png", "img_22.png"], 1),
        (["a1", "b1"], 2),
        (["00ff00ffa1", "deadbeef99"], 1),
        ([f"{chr(97 + n)}x" for n in range(MOST_FORMS + 1)], 1),
    ],
)
def test_ids_that_differ_in_numbers_have_one_form(ids, count):
    assert len(Origin(None, np.array(ids)).forms) == count


def test_each_model_has_the_same_number_of_numeric_columns():
    columns = {"a": [np.arange(3.0), np.array(["x", "y", "z"])], "b": [np.ones(3)] * 9}
    origin = Origin(None, np.array(["x", "y", "z"]), models=columns, read=columns.__getitem__)
    assert origin.columns(["b", "a"]).tolist() == [[0, 1, 2], [1, 1, 1], [1, 1, 1]]
    assert origin.columns(["b"]).shape == (4, 3)
    assert origin.columns([]) is None
    assert origin.columns(["c"]) is None
