"""Figures of fronts: what coincides is drawn once, what is drawn is whole, what all lines share is said once."""

import numpy as np
import pandas as pd

from cascadelib.figures.fronts import coinciding, front_figure, methods_figure, pairs_figure, tasks_figure
from cascadelib.fronts.exact import search
from cascadelib.store.logit_store import LogitStore

SINGLES = pd.DataFrame(
    {"accuracy": [0.5, 0.8], "cost": [1.0, 9.0], "on_front": True, "on_hull": True}, index=["a", "b"]
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
    elsewhere, further = curve.set_axis(curve.index + 0.001), curve.fillna(1.0)
    assert len(coinciding({"a": curve, "b": elsewhere, "c": further, "d": curve.replace(0.0, 1e-9)})) == 4


def test_fronts_are_compared_at_equal_accuracy():
    """Each at all accuracies of both: one with fewer points is the same front where they cost next to nothing."""
    whole = pd.DataFrame({"accuracy": [0.5, 0.6, 0.7], "cost": [1.0, 2.0, 2.01]})
    apart = pd.DataFrame({"accuracy": [0.5, 0.7], "cost": [1.0, 2.1]})
    drawn = names(front_figure({"pairs": whole, "fewer": whole.iloc[[0, 2]], "others": apart}, SINGLES))
    assert drawn[2:] == ["pairs<br>≈ fewer (within 2%)", "others"]


def test_methods_have_a_panel_a_kind_with_its_reference_in_black():
    curve = pd.DataFrame({"accuracy": [0.1, 0.2], "improvement": [1.0, 2.0]})
    curves = {f"{metric}, {mean}": curve * (1 + i) for i, metric in enumerate(("m", "e")) for mean in ("x", "y")}
    fig = methods_figure(curves, "means", "m", {"mean x": ", x", "mean y": ", y"})
    assert names(fig) == ["m, x", "e, x", "m, y", "e, y"]
    assert fig.data[0].line.color == fig.data[2].line.color != fig.data[1].line.color == fig.data[3].line.color
    assert [note.text for note in fig.layout.annotations] == ["mean x", "mean y"]


def test_the_second_model_of_all_pairs_is_named_once():
    pairs = pd.DataFrame({"first": ["a"], "second": ["c"], "cost_ratio": 9.0, "mean_improvement": 2.0})
    pairs[["plateau", "accuracy_difference"]] = 0.5, 0.1
    curve = pd.DataFrame({"exit_rate": [0, 1], "accuracy": [0.9, 0.8]})
    fig = pairs_figure(pairs, {"a → c": curve, "b → c": curve})
    assert names(fig)[:2] == ["a", "b"] and fig.layout.annotations[0].text == "accuracy − c's"
    fig = pairs_figure(pairs, {"a → b": curve, "b → c": curve})
    assert names(fig)[:2] == ["a → b", "b → c"] and fig.layout.annotations[0].text == "accuracy − second model's"


def test_a_model_below_the_cheapest_one_is_shown_whole():
    labels, ok = np.zeros(100, int), {"cheap": 70, "worse": 65, "best": 90}
    logits = {
        m: np.stack([np.arange(100) < n, np.arange(100) >= n], 1) * (1.0 + i) for i, (m, n) in enumerate(ok.items())
    }
    front = search(LogitStore.from_arrays(labels, logits, macs={"cheap": 1, "worse": 2, "best": 5}), 2)
    low, _ = tasks_figure({"task": {"pairs": front}}).layout.yaxis.range
    assert 0.63 < low < 0.645


def test_points_of_equal_accuracy_and_dearer_ones_do_not_keep_a_front_from_being_drawn():
    """A front that was replayed elsewhere: two points of one accuracy, one dearer than a better one."""
    table = pd.DataFrame({"accuracy": [0.7, 0.8, 0.8, 0.75], "cost": [2.0, 3.0, 3.5, 9.0]})
    fig = front_figure({"moved": table, "same": table}, SINGLES)
    assert [trace.name for trace in fig.data if trace.name and "moved" in trace.name] == ["moved = same"]
