"""Figures of a cascade that runs: guarantees, savings, a stream."""

import numpy as np
import pandas as pd

from cascadelib.figures.deployment import guarantee_figure, stream_figure


def test_a_stream_is_drawn_line_by_line() -> None:
    figure = stream_figure(
        pd.DataFrame({"stage 1": [1.0, 9.0]}, index=[64, 128]), 100, "Capital", "stakes", type="log"
    )
    assert [list(trace.x) for trace in figure.data] == [[64, 128]] and figure.data[
        0
    ].name == "stage 1"
    assert (figure.layout.yaxis.type, figure.layout.yaxis.title.text) == ("log", "stakes")
    assert figure.layout.xaxis.title.text == "inputs" and figure.layout.shapes[0].y0 == 100


def test_guarantee_figure_leaves_out_what_is_not_certified() -> None:
    table = pd.DataFrame(
        {
            "accuracy_loss_allowed": [0.01, 0.02],
            "cost": [np.nan, 5.0],
            "models": [("–",), ("a", "b")],
        }
    )
    figure = guarantee_figure(table.assign(accuracy_loss_held_out=[np.nan, 0.015]), 10.0)
    assert [list(trace.x) for trace in figure.data] == [[0.02], [0.015]]
    assert figure.layout.yaxis.type == "log"
