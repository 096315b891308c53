"""What is drawn: fronts, the point on them, histograms of confidence."""

from typing import Any

import numpy as np
import pytest
from explorer_stores import OTHER, STORE

import cascadelib as cl
from cascadelib.explorer.canvas import places


def test_a_page_that_opens_later_sees_the_figure_as_it_is(explorer: Any) -> None:
    explorer.sliders[0].share.value = 640
    explorer.settle()
    state = explorer.charts.figure.get_state("_widget_data")["_widget_data"]
    now = next(trace for trace in state if trace["meta"] == "now, validation")
    assert np.frombuffer(now["x"]["buffer"], np.float32) == np.float32(explorer.point.cost)


def test_histograms_are_shares_of_what_arrives(explorer: Any) -> None:
    explorer.sliders[0].share.value = 300
    traces = {trace.meta: trace for trace in explorer.charts.figure.data}
    correct = traces["correct 1"]
    incorrect = traces["incorrect 1"]
    below = traces["below 1"]
    shares = np.add(correct.y, incorrect.y)
    np.testing.assert_allclose(shares[shares > 0], 1, rtol=1e-6)
    np.testing.assert_array_equal(incorrect.base, correct.y)
    for i, (split, store) in enumerate((("validation", STORE), ("held-out", OTHER))):
        cascade = explorer.cascades[split]
        line = traces[f"{'held-out ' * i}below 1"]
        np.testing.assert_allclose(
            line.y,
            [np.mean(cascade.confidences[0] < x - 1e-9) for x in line.x],
            atol=2 / len(store),
        )
    sent = np.interp(
        traces["threshold 1"].x[0], below.x, below.y
    )  # the lines cross at the share that is sent on
    assert sent == pytest.approx(explorer.point.exit_rates[1], abs=0.05)
    alone = {trace.meta: trace for trace in cl.explore(STORE).charts.figure.data}
    assert not alone["held-out correct 1"].visible and alone["correct 1"].visible


def test_the_change_to_held_out_data_stands_on_the_front(explorer: Any) -> None:
    traces = {trace.meta: trace for trace in explorer.charts.figure.data}
    here, there = (explorer.readings[split].accuracy for split in ("validation", "held-out"))
    assert traces["told"].text == (f"held-out {there:.2%} ({100 * (there - here):+.2f} points)",)
    np.testing.assert_array_equal(traces["change"].y, np.float32([here, there]))
    numbers = explorer.numbers.value
    assert numbers.index('data-split="held-out"') < numbers.index('data-split="validation"')


@pytest.mark.parametrize("width", [320, 390, 568, 800, 959, 960, 1008, 1440, 2500])
@pytest.mark.parametrize("stages", [0, 1, 2, 3])
def test_charts_stay_apart_at_any_width(width: int, stages: int) -> None:
    height, boxes, _ = places(width, stages)
    for i, (start, end, top, bottom) in enumerate(boxes.values()):
        assert 0 <= start < end - 100 and end <= width and 0 <= top < bottom <= height - 40
        for other in list(boxes.values())[i + 1 :]:
            assert (
                end + 40 <= other[0]
                or other[1] + 40 <= start
                or bottom + 40 <= other[2]
                or other[3] + 40 <= top
            )
    assert (boxes["front"][3] <= boxes["flow"][2]) == (width < 960)
