"""Figures of fronts: what coincides is drawn once, what is drawn is whole, what all lines share is
said once.
"""

import numpy as np
import pandas as pd

from cascadelib.figures.fronts import band_figure, coinciding, front_figure

SINGLES = pd.DataFrame(
    {"accuracy": [0.5, 0.8], "cost": [1.0, 9.0], "on_front": True, "on_hull": True},
    index=["a", "b"],
)


def names(fig):
    return [trace.name for trace in fig.data]


def test_curves_coincide_within_two_per_cent_everywhere_or_not_at_all():
    curve = pd.Series([1.0, 2.0, 0.0, np.nan], [0.5, 0.6, 0.7, 0.8])
    assert coinciding({"a": curve, "b": curve * (1 + 1e-12)}) == {"a": "a = b"}
    for factor, drawn in ((1.019, 1), (0.981, 1), (1.021, 2), (0.979, 2)):
        near = curve * np.array([1, factor, 1, 1])
        assert len(coinciding({"a": curve, "b": near})) == drawn
    assert coinciding({"a": curve, "b": curve * 1.01}) == {"a": "a\n≈ b (within 2%)"}
    elsewhere = curve.set_axis(curve.index + 0.001)
    further = curve.fillna(1.0)
    assert (
        len(coinciding({"a": curve, "b": elsewhere, "c": further, "d": curve.replace(0.0, 1e-9)}))
        == 4
    )


def test_fronts_are_compared_at_equal_accuracy():
    """Each at all accuracies of both: one with fewer points is the same front where they cost next
    to nothing.
    """
    whole = pd.DataFrame({"accuracy": [0.5, 0.6, 0.7], "cost": [1.0, 2.0, 2.01]})
    apart = pd.DataFrame({"accuracy": [0.5, 0.7], "cost": [1.0, 2.1]})
    drawn = names(
        front_figure({"pairs": whole, "fewer": whole.iloc[[0, 2]], "others": apart}, SINGLES)
    )
    assert drawn[2:] == ["pairs<br>≈ fewer (within 2%)", "others"]


def test_points_of_equal_accuracy_and_dearer_ones_do_not_keep_a_front_from_being_drawn():
    """A front that was replayed elsewhere: two points of one accuracy, one dearer than a better
    one.
    """
    table = pd.DataFrame({"accuracy": [0.7, 0.8, 0.8, 0.75], "cost": [2.0, 3.0, 3.5, 9.0]})
    fig = front_figure({"moved": table, "same": table}, SINGLES)
    assert [trace.name for trace in fig.data if trace.name and "moved" in trace.name] == [
        "moved = same"
    ]


def test_bands_have_the_front_over_them():
    curve = pd.DataFrame({"accuracy": [0.5, 0.6], "improvement": [1.2, 1.8]})
    band = pd.DataFrame({"accuracy": curve["accuracy"], "low": 1.0, "high": 2.0})
    assert band_figure(curve, band).data[-1].name == "front"
