"""Figures of a cascade that runs: guarantees, savings, a stream."""

import numpy as np
import pandas as pd

from tools.deployment_figures import capital_figure, guarantee_figure, savings, savings_figure


def test_capital_is_drawn_per_stage_and_clipped_just_above_the_alarm():
    capital = pd.DataFrame({"stage 1": [1.0, 1e16], "stage 2": [2.0, 3.0]}, index=[64, 128])
    figure = capital_figure(capital, 200, 64)
    assert [list(trace.x) for trace in figure.data] == [[64, 128]] * 2
    assert [trace.name for trace in figure.data] == ["stage 1", "stage 2"]
    assert list(figure.data[1].y) == [2, 3] and 200 < figure.data[0].y[1] < 2000
    low, high = figure.layout.yaxis.range
    assert max(np.log10(tick) for tick in figure.layout.yaxis.tickvals) <= high < 4
    assert (figure.layout.shapes[0].y0, figure.layout.shapes[1].x0) == (200, 64)
    assert "0.005" in figure.layout.title.text


def test_the_spread_over_label_draws_is_shown_as_bars():
    table = pd.DataFrame({"share": [0.5], "cost": [5.0], "models": [("a",)]})
    table[["cost_low", "cost_high"]] = [[4.0, 8.0]]
    bars = guarantee_figure(table, 10.0, lines={"share": "certified"}).data[0].error_y
    assert (bars.arrayminus, bars.array) == ([1], [3])


def test_the_guarantee_figure_leaves_out_rows_without_a_certificate():
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


def test_savings_are_parts_of_the_single_models_cost():
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
