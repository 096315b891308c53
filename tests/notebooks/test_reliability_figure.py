"""The figure of calibration has a panel per model, with space between them."""

import numpy as np

from cascadelib.analysis.calibration import moving_average
from tools.paper_figures import reliability_figure


def test_figure_13_has_a_panel_per_model():
    correct = np.random.default_rng(0).random((3, 400)) < 0.7
    averages = {
        f"m{i}": moving_average(np.linspace(0.3, 1, 400), row) for i, row in enumerate(correct)
    }
    fig = reliability_figure(averages, "a")
    assert [a.text for a in fig.layout.annotations[:3]] == ["m0", "m1", "m2"]
    assert len(fig.data) == 6
    for models in (
        1,
        8,
        16,
        31,
    ):  # ticks and the next title have room between the rows, however many
        fig = reliability_figure({f"m{i}": averages["m0"] for i in range(models)}, "a")
        rows = sorted({axis.domain for axis in fig.select_yaxes()})
        room = [
            (upper[0] - lower[1]) * (fig.layout.height - 140)
            for lower, upper in zip(rows, rows[1:])
        ]
        assert all(40 < pixels < 80 for pixels in room)
