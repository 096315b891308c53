"""Figures of a cascade that runs: guarantees, savings, a stream."""

import numpy as np
import pandas as pd

from tools.deployment_figures import guarantee_figure, savings, savings_figure, stream_figure


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


def test_savings_are_parts_of_the_single_models_cost() -> None:
    columns = {
        "seconds": [1.0, 8.0, 2.0, 4.0, 0.5],
        "share_run": [1.0, 0.25, np.nan, np.nan, np.nan],
        "seconds_in_cascade": [1.0, 2.0, np.nan, np.nan, np.nan],
    }
    rows = ["small", "large", "ideal", "cascade", "exit decisions"]
    macs = pd.Series({"small": 10.0, "large": 40.0})
    saved = savings({"seconds": pd.DataFrame(columns, rows)}, "large", macs)
    assert saved.loc["MACs", ["small", "large", "total"]].tolist() == [0.25, 0.25, 0.5]
    assert saved.loc["seconds"].tolist() == [0.125, 0.25, 0.0625, 0.0625, 0.5]
    figure = savings_figure(saved)
    assert [bar.name for bar in figure.data[:-1]] == ["small", "large", "exit decisions", "rest"]
