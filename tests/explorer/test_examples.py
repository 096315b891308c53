"""Examples: samples of a kind, nearest to the threshold, as pictures or texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explorer_stores import STORE
from PIL import Image

import cascadelib as cl
from cascadelib.explorer.examples import SHOWN, example_html, kinds_of, nearest, picture
from cascadelib.explorer.state import on_split, reading_at
from cascadelib.fronts.exact import SearchTask


def test_examples_are_of_their_kind_and_nearest_to_the_threshold() -> None:
    cascade = on_split(
        STORE, SearchTask(STORE, cl.Method(), "top1", "macs", "all"), ["m0", "m3"], "m4"
    )
    reading = reading_at(cascade, [0.6])
    exits = reading.exit_stage == 0
    first, last = cascade.correct
    confidence = cascade.confidences[0]
    expected = (exits, ~exits & ~first & last, exits & ~first & last)
    for (kind, here), wanted in zip(kinds_of(cascade, reading).items(), expected, strict=True):
        rows = nearest(cascade, reading, here)
        assert (here == wanted).all() and here[rows].all()
        left_out = np.setdiff1d(np.flatnonzero(here), rows)
        assert len(rows) == min(here.sum(), SHOWN)
        if kind != "broken by the cascade" and len(left_out):
            others = confidence[left_out]
            side = others.min() if exits[left_out[0]] else others.max()
            assert np.all(abs(confidence[rows] - 0.6) <= abs(side - 0.6))


@pytest.mark.parametrize(
    "image",
    [
        np.full((5, 6), 9, np.uint8),
        np.zeros((5, 6, 3), np.uint8),
        np.ones((3, 5, 6), np.float32),
        np.ones((1, 5, 6), np.float64),
        Image.new("L", (6, 5)),
    ],
)
def test_pictures_of_any_kind(image: Any, tmp_path: Path) -> None:
    assert picture(image).size == (6, 5)
    path = tmp_path / "a.png"
    picture(image).save(path)
    assert "data:image/png" in example_html(path, 0)


def test_texts_are_escaped() -> None:
    assert "&lt;b&gt;" in example_html("<b>" + "x" * 500, 0)
    assert "a / b" in example_html(("a", "b"), 0)
