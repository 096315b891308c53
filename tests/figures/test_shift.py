"""Figures of drift and calibration hold what their tables hold, the same label in the same colour, axes with units."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cascadelib import LogitStore, pick, replay, search
from cascadelib.analysis.calibration import moving_average
from cascadelib.analysis.shift import moved_front
from cascadelib.figures.calibration import reliability_figure, threshold_figure
from cascadelib.figures.fronts import band_figure
from cascadelib.figures.shift import (
    how_replayed,
    moved_improvement_figure,
    segments_figure,
)
from elsewhere import by_kind, open_splits
from side_by_side import threshold_curves


def make_store(seed, k=400, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = 1.5 + rng.normal(size=(k, 1))
    logits = {f"m{i}": (1 + i) * ease * np.eye(4)[labels] + noise * rng.normal(size=(k, 4)) for i in range(3)}
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0**i for i in range(3)})


STORE, OTHER = make_store(0), make_store(1, noise=1.6)
FRONT = search(STORE, 2)


def test_severities_of_a_kind_share_a_panel():
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "imagenet-v2": 3, "test": 4}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "imagenet-v2": {"val": 0, "moved": 3},
        "test": {"val": 0, "moved": 4},
    }


def test_a_label_has_one_colour_in_all_panels_and_one_entry_in_the_legend():
    curve = moved_front(OTHER, FRONT).improvement_curve(points=50)
    fig = moved_improvement_figure({kind: {"val": curve, "severity 1": curve} for kind in ("noise", "blur")})
    lines = [(t.name, t.line.color) for t in fig.data]
    assert len(set(lines)) == 2
    assert sum(t.showlegend for t in fig.data) == 2
    assert fig.layout.yaxis.type == "log"


@pytest.mark.parametrize(
    ("lengths", "ranges", "words"),
    [
        (2, True, "ranges of thresholds"),
        (2, False, "single points"),
        (3, True, "single points: a segment of 3 models is a box, no path"),
        ((2, 3), True, "pairs as ranges of thresholds, longer cascades as single points (a segment is a box)"),
    ],
)
def test_figures_say_how_a_front_is_replayed(lengths, ranges, words):
    moved, own = replay(OTHER, search(STORE, lengths), ranges), search(OTHER, lengths)
    assert how_replayed(moved) == words
    fig = segments_figure(moved, own.table, own.singles)
    texts = [fig.layout.title.text, *(note.text for note in fig.layout.annotations)]
    assert sum(words in text.replace("<br>", " ") for text in texts) == 1


def test_figure_12_has_a_line_a_segment():
    moved, own = replay(OTHER, FRONT), search(OTHER, 2)
    fig = segments_figure(moved, own.table, own.singles)
    pieces = [t for t in fig.data if t.mode == "lines+markers"]
    assert len(pieces) == moved["segment"].max() + 1
    assert sum(len(t.x) for t in pieces) == len(moved)
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.xaxis.title.text == "MACs a sample"


def test_bands_have_the_front_over_them():
    curve = FRONT.improvement_curve(points=20)
    band = pd.DataFrame({"accuracy": curve["accuracy"], "low": 1.0, "high": 2.0})
    assert band_figure(curve, band).data[-1].name == "front"


def test_figure_13_and_14_have_a_panel_a_model_and_mark_the_threshold():
    right = {name: STORE.ranks(name) == 0 for name in STORE.models.index}
    averages = {name: moving_average(np.linspace(0.3, 1, 400), r) for name, r in right.items()}
    fig = reliability_figure(averages)
    assert [a.text for a in fig.layout.annotations[:3]] == ["m0", "m1", "m2"]
    assert len(fig.data) == 6
    for models in (1, 8, 16, 31):  # ticks and the next title have room between the rows, however many
        fig = reliability_figure({f"m{i}": averages["m0"] for i in range(models)})
        rows = sorted({axis.domain for axis in fig.select_yaxes()})
        room = [(upper[0] - lower[1]) * (fig.layout.height - 140) for lower, upper in zip(rows, rows[1:])]
        assert all(40 < pixels < 80 for pixels in room)
    curves = threshold_curves(STORE, "m0", OTHER)
    threshold = curves["uncalibrated"]["threshold"].iloc[100]
    point = replace(pick(FRONT, "match_best"), models=("m0", "m1"), thresholds=(threshold,))
    fig = threshold_figure({"m0": curves}, [point])
    assert fig.layout.shapes[0].x0 == curves["uncalibrated"]["exit_rate"].iloc[100]
    assert len(fig.data) == 11  # above, below and the threshold itself, which the ideal has not


def test_stores_are_opened_by_pattern(tmp_path):
    for name in ("noise-1", "noise-2", "v2"):
        LogitStore.create(tmp_path / "shift" / name, [0, 1]).add("m", np.eye(2))
    assert list(open_splits(tmp_path, "shift/noise-*")) == ["noise-1", "noise-2"]
    assert list(open_splits(tmp_path, ["shift/v2", "shift/noise-1"])) == ["v2", "noise-1"]
    with pytest.raises(FileNotFoundError, match="no store 'blur-"):
        open_splits(tmp_path, "blur-*")
