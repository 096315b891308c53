"""The paper's own figures hold what their tables hold, and name what all lines share once."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cascadelib import LogitStore, pick, replay, search
from tools.elsewhere import by_kind
from tools.paper_figures import (
    how_replayed,
    methods_figure,
    moved_improvement_figure,
    pairs_figure,
    segments_figure,
    tasks_figure,
    threshold_figure,
)
from tools.side_by_side import threshold_curves


def make_store(seed: int, k: int = 400, noise: float = 1.0) -> LogitStore:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, k)
    ease = 1.5 + rng.normal(size=(k, 1))
    logits = {
        f"m{i}": (1 + i) * ease * np.eye(4)[labels] + noise * rng.normal(size=(k, 4))
        for i in range(3)
    }
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0**i for i in range(3)})


STORE = make_store(0)
OTHER = make_store(1, noise=1.6)
FRONT = search(STORE, 2)


def names(fig: Any) -> list:
    return [trace.name for trace in fig.data]


def test_methods_have_a_panel_a_kind_with_its_reference_in_black() -> None:
    curve = pd.DataFrame({"accuracy": [0.1, 0.2], "improvement": [1.0, 2.0]})
    curves = {
        f"{metric}, {mean}": curve * (1 + i)
        for i, metric in enumerate(("m", "e"))
        for mean in ("x", "y")
    }
    fig = methods_figure(curves, "means", "m", {"mean x": ", x", "mean y": ", y"})
    assert names(fig) == ["m, x", "e, x", "m, y", "e, y"]
    assert (
        fig.data[0].line.color
        == fig.data[2].line.color
        != fig.data[1].line.color
        == fig.data[3].line.color
    )
    assert [note.text for note in fig.layout.annotations] == ["mean x", "mean y"]


def test_the_second_model_of_all_pairs_is_named_once() -> None:
    pairs = pd.DataFrame(
        {"first": ["a"], "second": ["c"], "cost_ratio": 9.0, "mean_improvement": 2.0}
    )
    pairs[["plateau", "accuracy_difference"]] = 0.5, 0.1
    curve = pd.DataFrame({"exit_rate": [0, 1], "accuracy": [0.9, 0.8]})
    fig = pairs_figure(pairs, {"a → c": curve, "b → c": curve})
    assert names(fig)[:2] == ["a", "b"] and fig.layout.annotations[0].text == "accuracy − c's"
    fig = pairs_figure(pairs, {"a → b": curve, "b → c": curve})
    assert (
        names(fig)[:2] == ["a → b", "b → c"]
        and fig.layout.annotations[0].text == "accuracy − second model's"
    )


def test_a_model_below_the_cheapest_one_is_shown_whole() -> None:
    labels = np.zeros(100, int)
    ok = {"cheap": 70, "worse": 65, "best": 90}
    logits = {
        m: np.stack([np.arange(100) < n, np.arange(100) >= n], 1) * (1.0 + i)
        for i, (m, n) in enumerate(ok.items())
    }
    front = search(
        LogitStore.from_arrays(labels, logits, macs={"cheap": 1, "worse": 2, "best": 5}), 2
    )
    low, _ = tasks_figure({"task": {"pairs": front}}).layout.yaxis.range
    assert 0.63 < low < 0.645


@pytest.mark.parametrize(
    ("lengths", "ranges", "words"),
    [
        (2, True, "ranges of thresholds"),
        (2, False, "single points"),
        (3, True, "single points: a segment of 3 models is a box, no path"),
        (
            (2, 3),
            True,
            "pairs as ranges of thresholds, longer cascades as single points (a segment is a box)",
        ),
    ],
)
def test_figures_say_how_a_front_is_replayed(
    lengths: int | tuple[int, ...], ranges: bool, words: str
) -> None:
    moved = replay(OTHER, search(STORE, lengths), ranges)
    own = search(OTHER, lengths)
    assert how_replayed(moved) == words
    fig = segments_figure(moved, own.table, own.singles)
    texts = [fig.layout.title.text, *(note.text for note in fig.layout.annotations)]
    assert sum(words in text.replace("<br>", " ") for text in texts) == 1


def test_figure_12_has_a_line_a_segment() -> None:
    moved = replay(OTHER, FRONT)
    own = search(OTHER, 2)
    fig = segments_figure(moved, own.table, own.singles)
    pieces = [t for t in fig.data if t.mode == "lines+markers"]
    assert len(pieces) == moved["segment"].max() + 1
    assert sum(len(t.x) for t in pieces) == len(moved)
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.xaxis.title.text == "MACs per sample"


def test_severities_of_a_kind_share_a_panel() -> None:
    grouped = by_kind({"val": 0, "noise-1": 1, "noise-2": 2, "imagenet-v2": 3, "test": 4}, "val")
    assert grouped == {
        "noise": {"val": 0, "severity 1": 1, "severity 2": 2},
        "imagenet-v2": {"val": 0, "moved": 3},
        "test": {"val": 0, "moved": 4},
    }


def test_a_label_has_one_colour_in_all_panels_and_one_entry_in_the_legend() -> None:
    curve = pd.DataFrame({"accuracy": [0.5, 0.6], "improvement": [1.0, 2.0]})
    fig = moved_improvement_figure(
        {kind: {"val": curve, "severity 1": curve} for kind in ("noise", "blur")}
    )
    lines = [(t.name, t.line.color) for t in fig.data]
    assert len(set(lines)) == 2
    assert sum(t.showlegend for t in fig.data) == 2
    assert fig.layout.yaxis.type == "log"


def test_figure_14_marks_the_threshold() -> None:
    curves = threshold_curves(STORE, "m0", OTHER)
    threshold = curves["uncalibrated"]["threshold"].iloc[100]
    point = replace(
        pick(FRONT, "match_best", caution=0), models=("m0", "m1"), thresholds=(threshold,)
    )
    fig = threshold_figure({"m0": curves}, [point])
    assert fig.layout.shapes[0].x0 == curves["uncalibrated"]["exit_rate"].iloc[100]
    assert len(fig.data) == 11  # above, below and the threshold itself, which the ideal has not
