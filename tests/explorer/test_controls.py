"""What a hand moves: sliders, boxes, buttons of goals."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from explorer_stores import STORE, assert_shows_its_point

import cascadelib as cl
from cascadelib.explorer.controls import GoalButtons, fraction_in, share


def test_boxes_and_arrows(explorer: Any) -> None:
    slider = explorer.sliders[0]
    slider.share_text.value = "12.5%"
    assert assert_shows_its_point(explorer).exit_rates[1] == 0.125
    slider.more.click()
    assert explorer.point.exit_rates[1] == pytest.approx(0.125 + 1 / 400)
    slider.fewer.click()
    slider.text.value = "never"
    assert explorer.point.thresholds == (np.inf,)
    slider.text.value = "0.8"
    assert (
        explorer.point.exit_rates
        == cl.evaluate(
            STORE, cl.Point(explorer.point.models, (0.8,), (), 0, 0, 0, cl.Method())
        ).exit_rates
    )
    before = explorer.point
    for nonsense in ("much", "", "1e", "nan%"):
        slider.text.value = nonsense
        slider.share_text.value = nonsense
        assert (
            explorer.point == before
            and slider.text.value != nonsense
            and slider.share_text.value != nonsense
        )


@pytest.mark.parametrize(
    ("text", "number"), [("11.5M", 11.5e6), ("2k", 2000), (" 3 ", 3), ("1e6", 1e6), ("0.5G", 5e8)]
)
def test_amounts(text: str, number: float) -> None:
    wanted = []
    goals = GoalButtons(SimpleNamespace(go=wanted.append, undo=list, say=print))
    goals.budget.value = text
    goals.buttons["this budget"].click()
    assert wanted == [{"budget": number}]


def test_shares() -> None:
    assert share("94.2") == 0.942
    assert (share("94.2%"), share("0.942"), fraction_in("20%"), fraction_in("20")) == (
        0.942,
        0.942,
        0.2,
        0.2,
    )
    with pytest.raises(ValueError, match="a share must be from 0% to 100%"):
        fraction_in("120%")
