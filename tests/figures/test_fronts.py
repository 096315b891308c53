"""Figures of fronts: curves that coincide are drawn once, under all their labels."""

import numpy as np
import pandas as pd

from cascadelib.figures.fronts import front_figure, merge_coinciding, singles_figure

SINGLES = pd.DataFrame(
    {"accuracy": [0.5, 0.8], "cost": [1.0, 9.0], "on_front": True, "on_hull": True},
    index=["a", "b"],
)


def names(fig):
    return [trace.name for trace in fig.data]


def test_chosen_models_are_named_at_their_points():
    fig = singles_figure(SINGLES, title="t", named=["b"])
    assert [note.text for note in fig.layout.annotations] == ["b"]
    assert list(fig.data[-1].x) == [9] and "light: a cheaper one" in fig.layout.title.text
    three = SINGLES.reindex(["a", "c", "b"]).fillna({"accuracy": 0.7, "cost": 5.0}).fillna(True)
    fig = singles_figure(three, title="t")
    ends = fig.layout.annotations
    assert [(note.text, 10**note.x) for note in ends] == [("a", 1), ("b", 9)]
    assert [note.xanchor for note in ends] == ["left", "right"], "where the plot has room"
    fig = singles_figure(three.assign(on_front=[True, False, True]), title="t")
    assert fig.data[1].marker.opacity.tolist() == [1, 0.55, 1]


def test_curves_coincide_if_all_values_differ_by_at_most_two_per_cent():
    curve = pd.Series([1.0, 2.0, 0.0, np.nan], [0.5, 0.6, 0.7, 0.8])
    assert merge_coinciding({"a": curve, "b": curve * (1 + 1e-12)}) == {"a": "a = b"}
    for factor, drawn in ((1.019, 1), (0.981, 1), (1.021, 2), (0.979, 2)):
        near = curve * np.array([1, factor, 1, 1])
        assert len(merge_coinciding({"a": curve, "b": near})) == drawn
    assert merge_coinciding({"a": curve, "b": curve * 1.01}) == {"a": "a\n≈ b (within 2%)"}
    elsewhere = curve.set_axis(curve.index + 0.001)
    further = curve.fillna(1.0)
    assert (
        len(
            merge_coinciding(
                {"a": curve, "b": elsewhere, "c": further, "d": curve.replace(0.0, 1e-9)}
            )
        )
        == 4
    )


def test_fronts_are_compared_at_equal_accuracy():
    """A front with fewer points coincides if the missing points save almost nothing."""
    whole = pd.DataFrame({"accuracy": [0.5, 0.6, 0.7], "cost": [1.0, 2.0, 2.01]})
    apart = pd.DataFrame({"accuracy": [0.5, 0.7], "cost": [1.0, 2.1]})
    drawn = names(
        front_figure({"pairs": whole, "fewer": whole.iloc[[0, 2]], "others": apart}, SINGLES)
    )
    assert drawn[3:] == ["pairs<br>≈ fewer (within 2%)", "others"]


def test_dominated_points_of_a_replayed_front_can_be_drawn():
    """Two points have equal accuracy, and one is more expensive than a better one."""
    table = pd.DataFrame({"accuracy": [0.7, 0.8, 0.8, 0.75], "cost": [2.0, 3.0, 3.5, 9.0]})
    fig = front_figure({"replayed": table, "same": table}, SINGLES)
    assert [trace.name for trace in fig.data if trace.name and "replayed" in trace.name] == [
        "replayed = same"
    ]
