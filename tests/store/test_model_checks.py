"""What a model brings to a store: read as an array, or refused with the model and the first bad
row."""

import numpy as np
import pytest
from toy_store import LOGITS

from cascadelib.origin import Origin
from cascadelib.store.model_checks import (
    accuracies_of,
    as_array,
    checked_logits,
    checked_metadata,
    checked_probabilities,
)

LABELS = Origin.from_labels([0, 1, 2], ["x", "y", "z"], None, "", "", 3)
OUTPUT = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]])


def test_half_precision_tensors_become_float32():
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(LOGITS["a"]).to(torch.bfloat16)
    values = as_array(tensor, "model 'a'")
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, tensor.float().numpy())
    assert as_array([[1, 2]], "model 'a'").shape == (1, 2)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (OUTPUT[0], "must be numbers"),
        (OUTPUT[:2], "2 rows of logits for 3 samples"),
        (OUTPUT[:, :2], r"2 classes, but row 2 \(z\) has the label 2"),
        (np.where(OUTPUT == 0.8, np.nan, OUTPUT), r"row 1 \(y\) holds nan or inf"),
        (OUTPUT * 1e6, r"row 0 \(x\) holds nan or inf as float16; 3 in all"),
    ],
)
def test_the_model_and_the_first_bad_row_are_named(output, message):
    with pytest.raises(ValueError, match=f"model 'a': .*{message}"):
        checked_logits("a", output, None, LABELS, "float16")


def test_probabilities_sum_to_1_or_are_divided_by_their_sums():
    np.testing.assert_array_equal(checked_probabilities("a", OUTPUT, False), OUTPUT)
    halved = OUTPUT * [[1], [0.5], [0.5]]
    for refused in ((halved, False), (-halved, True), (halved * [[1], [0], [0]], True)):
        with pytest.raises(ValueError, match=r"row \d .*; [23] such rows"):
            checked_probabilities("a", *refused)
    with pytest.raises(ValueError, match="row 1 .*sum 0.5.*; 2 such rows"):
        checked_probabilities("a", halved, False)
    np.testing.assert_allclose(checked_probabilities("a", halved, True), OUTPUT)


@pytest.mark.parametrize("wrong", [{"sha256": "x"}, {"order": 1}])
def test_metadata_leave_the_keys_of_a_header_alone(wrong):
    read = checked_metadata("a", {"family": "net"}, {"macs": np.int64(3), "seconds": None})
    assert read == {"family": "net", "macs": 3, "seconds": None}
    with pytest.raises(ValueError, match=f"model 'a': metadata may not have .*{next(iter(wrong))}"):
        checked_metadata("a", wrong, {})


def test_accuracies_are_nan_without_labels():
    top1, _ = accuracies_of(OUTPUT, LABELS)
    assert top1 == pytest.approx(2 / 3)
    unlabelled = Origin.from_labels(None, ["x", "y", "z"], None, "", "", 3)
    assert np.isnan(accuracies_of(OUTPUT, unlabelled)).all()
