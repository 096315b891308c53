"""Labels of a split: what is refused, how rows are chosen, and whether two splits share samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.labels import (
    Labels,
    Recorded,
    Seen,
    as_text,
    chosen_rows,
    labels_of,
    parts_of,
    samples_in_common,
    together,
)

IDS = ["a", "b", "c", "d"]


@given(st.lists(st.integers(-5, 4), min_size=1, max_size=9))
def test_rows_are_chosen_as_numpy_does(indices):
    np.testing.assert_array_equal(chosen_rows(indices, 5), np.arange(5)[indices])


def test_rows_of_masks_and_slices():
    assert chosen_rows([True, False, True], 3).tolist() == [0, 2]
    assert chosen_rows(slice(None, None, -2), 5).tolist() == [4, 2, 0]


@pytest.mark.parametrize(
    ("indices", "said"),
    [
        ([0.5], "a list of rows, a bool mask or a slice, not float64"),
        ([[0]], "a list of rows, a bool mask or a slice"),
        ([True], "the mask has 1 entries for 3 samples"),
        ([3], "there are 3 samples"),
        ([], "no sample is selected"),
        (slice(3, None), "no sample is selected"),
    ],
)
def test_rows_that_there_are_not_are_refused(indices, said):
    with pytest.raises(ValueError, match=said):
        chosen_rows(indices, 3)


def test_text_is_what_stands_for_a_value():
    values = np.array([1.0, 2.5, None, float("nan"), "x", 3], object)
    assert as_text(values).tolist() == ["1", "2.5", "", "", "x", "3"]
    assert as_text([[1.0], [np.nan]]).tolist() == [["1"], [""]]
    assert as_text([1, 2]).tolist() == ["1", "2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"labels": [0.5]}, "labels must be integers"),
        ({"labels": [[0]]}, "labels must be integers"),
        ({"labels": []}, "the split is empty"),
        ({"labels": [0, -1]}, "label -1 of sample 1 is below 0 .1 such"),
        ({"labels": [0, 2], "classes": "xy"}, r"outside 0 … 1 \(2 classes\)"),
        ({"labels": [0, 1], "classes": "xx"}, "class names repeat"),
        ({"labels": [0, 1], "sample_ids": ["a"]}, "sample_ids has shape"),
        ({"labels": [0, 1], "sample_ids": ["a", "a"]}, "'a' occurs twice or more"),
        ({"labels": None}, "give sample_ids"),
    ],
)
def test_refused(given, said):
    with pytest.raises(ValueError, match=said):
        Labels.checked(**given)


def test_samples_without_labels_say_what_helps():
    unlabelled = Labels.checked(None, IDS, split="val")
    assert len(unlabelled) == 4
    with pytest.raises(ValueError, match="the 4 samples of 'val' have none"):
        _ = unlabelled.needed


def test_what_is_the_same_has_the_same_fingerprint_and_digest():
    labels = Labels.checked([0, 1, 0, 1], IDS)
    again = Labels.checked([0, 1, 0, 1], IDS)
    assert labels.fingerprint == again.fingerprint
    turned = labels.take(np.array([3, 2, 1, 0]))
    assert turned.fingerprint != labels.fingerprint
    assert turned.digest == labels.digest  # of the ids, in any order
    rows = Labels.checked([0, 1, 0, 1])
    assert rows.digest is None  # row numbers tell nothing apart without names
    named = Labels.checked([0, 1, 0, 1], dataset="toy", split="val")
    assert named.digest is not None
    assert named.digest != Labels.checked([0, 1, 1, 1], dataset="toy", split="val").digest


def test_the_first_row_that_differs_is_named():
    labels = Labels.checked([0, 1, 0, 1], IDS, split="val")
    labels.check_same(IDS, [0, 1, 0, 1])
    with pytest.raises(ValueError, match="3 sample ids for 4 samples of split 'val'"):
        labels.check_same(IDS[:3])
    with pytest.raises(ValueError, match="another order: row 2 is 'd', expected 'c'"):
        labels.check_same(["a", "b", "d", "c"])
    with pytest.raises(ValueError, match="other samples: row 0 is 'x', expected 'a'"):
        labels.check_same(["x", "b", "c", "d"])
    with pytest.raises(ValueError, match=r"other labels: row 1 \(b\) is 0, expected 1"):
        labels.check_same(IDS, [0, 0, 0, 1])


def recorded(labels, has_keys=True):
    """What a file keeps of labels."""
    keys = labels.keys.tobytes() if has_keys else None
    return Recorded(labels.dataset, labels.split, len(labels), labels.digest, keys)


@given(
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
    st.sets(st.sampled_from("abcdefgh"), min_size=1),
)
def test_samples_in_common_are_those_of_equal_ids(seen, here):
    selected_on = Labels.checked(None, sorted(seen))
    labels = Labels.checked(None, sorted(here))
    assert samples_in_common(selected_on, labels) == len(seen & here)
    assert samples_in_common(recorded(selected_on), labels) == len(seen & here)
    whole = len(here) if seen == here else None
    assert samples_in_common(recorded(selected_on, has_keys=False), labels) == whole


def test_parts_of_one_split_are_compared_by_rows():
    whole = Labels.checked([0, 1, 0, 1])
    first = whole.take(slice(0, 3))
    last = whole.take(slice(2, 4))
    assert samples_in_common(first, last) == 1
    assert samples_in_common(first, Labels.checked([0, 1, 0, 1])) is None  # row numbers of another


def test_several_origins_are_seen_together():
    one = Labels.checked(None, ["a", "b"])
    other = Labels.checked(None, ["b", "c"])
    here = Labels.checked(None, ["a", "c", "x"])
    assert together(one, one) is one
    both = together(one, together(other, one))
    assert both == Seen((one, other))
    assert len(both) == 4
    assert samples_in_common(both, here) == 2
    # Of a part that is not known nothing can be denied; what is shared is.
    assert samples_in_common(Seen((one, None)), here) == 1
    assert samples_in_common(Seen((Labels.checked(None, ["y"]), None)), here) is None
    assert parts_of(None) == (None,)


def test_a_data_set_has_labels_by_its_attributes():
    class Inputs:
        labels = np.array([0, 1])
        sample_ids = np.array(["a", "b"])
        classes = ("x", "y")
        dataset = "toy"
        split = "val"

    found = labels_of(Inputs())
    assert found.values is not None
    assert found.values.tolist() == [0, 1]
    assert (found.dataset, found.split, found.classes) == ("toy", "val", ("x", "y"))


def test_text_is_placed_among_the_classes():
    labels = Labels.checked(["dog", "cat", "dog", "eel"])
    assert labels.needed.tolist() == [1, 0, 1, 2] and labels.classes == ("cat", "dog", "eel")
    given_order = Labels.checked(np.array(["dog", "cat"]), classes=("eel", "dog", "cat"))
    assert given_order.needed.tolist() == [1, 2]
    with pytest.raises(ValueError, match="unknown label 'dgo'; nearest: 'dog'"):
        Labels.checked(["dog", "dgo"], classes=("cat", "dog"))
    with pytest.raises(ValueError, match="unknown label ''"):
        Labels.checked(["dog", ""])
    with pytest.raises(ValueError, match="labels must be integers"):
        Labels.checked(np.array(["dog", None], object))
    with pytest.raises(ValueError, match="labels must be integers"):
        Labels.checked(np.array([10, 2], object))
