"""The numbers in text: decimals that tell samples apart, points for differences."""

import pytest

from cascadelib.explorer.readout import per_cent_text, points_text, with_interval


@pytest.mark.parametrize("k", [1, 50, 1000, 10_000, 50_000])
def test_one_sample_more_is_another_text(k: int) -> None:
    for count in range(min(k, 200)):
        for text in (per_cent_text, points_text):
            assert text(count / k, k) != text((count + 1) / k, k)


def test_differences_are_points_with_a_sign() -> None:
    assert points_text(0.0012, 1000) == "+0.12 points"
    assert points_text(-0.00125, 100_000) == "-0.125 points"
    assert per_cent_text(0.94216, 1000) == "94.22%"
    assert with_interval("94.22%", ["93", "95"]) == "<b>94.22%</b> <small>93 … 95</small>"
    assert with_interval("94.22%", []) == "<b>94.22%</b>"
