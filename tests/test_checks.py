"""The checks of user input accept valid values and name the others."""

from fractions import Fraction

import numpy as np
import pytest

from cascadelib.checks import (
    check_count,
    check_number,
    checked_share,
    items_of,
    split_size,
    validate_choice,
)
from cascadelib.labels import as_real_array
from cascadelib.methods.confidence_metrics import metric_of
from cascadelib.stages import score_of

NO_NUMBERS = [None, "1", 1j, [1], 10**400, 10**5000, True, np.True_, np.nan, object()]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_values_that_are_not_numbers_are_refused_by_name(value):
    with pytest.raises(ValueError, match="limit must be a number, not "):
        check_number(value, "limit")
    with pytest.raises(ValueError, match="count must be a whole number of 1 or more, not "):
        check_count(value, "count")
    with pytest.raises(ValueError, match="unknown model .*; nearest: 'a'"):
        validate_choice(value, ["a", "b"], "model")


def test_numbers_of_every_library_are_numbers():
    for value in (1, 1.0, np.float32(1), np.int8(1), Fraction(1)):
        assert check_number(value, "limit", "a share", 0, 1) == 1.0
    for value in (-1e-9, 1.5, np.inf):
        with pytest.raises(ValueError, match="limit must be a share, not "):
            check_number(value, "limit", "a share", 0, 1)
    with pytest.raises(ValueError, match="from 1 to 4, not 5"):
        check_count(5, "guesses", 1, 4)


MASKED = np.ma.masked_array([0.5, 0.5], [True, False])
NO_ARRAYS = [["0.5"], [1j], [None], [10**400], [[1], [1, 2]], MASKED]


@pytest.mark.parametrize("values", NO_ARRAYS, ids=repr)
def test_arrays_that_are_not_real_numbers_are_refused_by_name(values):
    with pytest.raises(ValueError, match="^confidence must be real numbers: "):
        as_real_array(values, "confidence")


@pytest.mark.parametrize(("value", "share"), [(0.5, 0.5), ("50%", 0.5), ("0.5", 0.5), (0, 0.0)])
def test_a_share_is_a_number_or_a_percentage(value, share):
    assert checked_share(value, "epsilon") == share


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (1, " For 1% write 0.01 or '1%'."),
        (99, " For 99% write 0.99 or '99%'."),
        (100, ""),
        (-1, ""),
    ],
)
def test_only_a_number_from_1_to_99_may_mean_a_percentage(value, remedy):
    with pytest.raises(ValueError) as caught:
        checked_share(value, "epsilon")
    assert str(caught.value) == f"epsilon must be in [0, 1), got {value}.{remedy}"


def test_real_numbers_are_float64():
    for values in (
        [1, 0],
        [True, False],
        np.array([1, 0], np.longdouble),
    ):
        assert (
            as_real_array(values, "confidence").tolist() == [1.0, 0.0]
            and as_real_array(values, "confidence").dtype == np.float64
        )


def test_tensors_are_arrays_and_not_numbers():
    torch = pytest.importorskip("torch")
    for check in (check_number, check_count):
        with pytest.raises(ValueError, match="limit must be a (whole )?number"):
            check(torch.tensor(1.0), "limit")
    with pytest.raises(ValueError, match="unknown model .*; nearest: 'a'"):
        validate_choice(torch.tensor(1.0), ["a", "b"], "model")
    with pytest.raises(ValueError, match="^confidence must be real numbers: "):
        as_real_array(torch.ones(2, requires_grad=True), "confidence")
    halves = as_real_array(torch.tensor([1, 0], dtype=torch.float16), "confidence")
    assert halves.tolist() == [1.0, 0.0] and halves.dtype == np.float64
    assert items_of(torch.tensor(2)) == [2]


@pytest.mark.parametrize("digit", ["²", "٣", "0", "9" * 5000, "-1", "1.0", ""])
def test_an_image_size_in_a_name_has_ascii_digits(digit):
    with pytest.raises(ValueError, match="unknown score 'top"):
        score_of(f"top{digit}")
    with pytest.raises(ValueError, match="unknown metric 'top"):
        metric_of(f"top{digit}_softmax_sum")
    if digit != "0":
        assert split_size(f"resnet50@{digit}") == (f"resnet50@{digit}", None)
    assert split_size("resnet50@12800") == (
        "resnet50@12800",
        None,
    )  # memory grows with the square of it
    assert score_of("top3").rank == 3 and split_size("resnet50@288") == ("resnet50", 288)


def test_errors_list_the_nearest_names():
    assert validate_choice("a", "abc", "letter") == "a"
    with pytest.raises(ValueError, match="unknown metric 'entropi'; nearest: 'entropy'"):
        validate_choice("entropi", ["max_softmax", "entropy"], "metric")
    long = "x" * 70 + "end"
    with pytest.raises(ValueError, match=f"nearest: '{long}'"):
        validate_choice("x" * 70, [long, "other"], "model")
