"""Examples: thumbnails and texts of samples on which models disagree."""

import numpy as np
import pytest
from explorer_stores import STORE
from PIL import Image

from cascadelib.explorer.examples import (
    describe_example,
    describe_examples,
    select_examples,
    to_pil,
)


def test_three_of_four_examples_are_samples_on_which_models_disagree():
    rng = np.random.default_rng(0)
    correct = [rng.random(2000) < share for share in (0.7, 0.9, 0.95)]
    rows = select_examples(correct, 100)
    differs = (correct[0] != correct[1]) | (correct[0] != correct[2])
    assert len(rows) == len(set(rows.tolist())) == 100 and np.all(np.diff(rows) > 0)
    assert differs[rows].sum() == 75
    assert len(select_examples([np.ones(5, bool)])) == 5


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
def test_images_of_any_type_become_thumbnails(image, tmp_path):
    assert to_pil(image).size == (6, 5)
    path = tmp_path / "a.png"
    to_pil(image).save(path)
    assert describe_example(path)["image"].startswith("data:image/webp;base64,")


def test_texts_are_shortened():
    assert describe_example("<b>" + "x" * 500)["text"].endswith("x…")
    assert describe_example(("a", "b")) == {"text": "a / b"}


def test_an_example_has_its_label_and_its_input_which_a_data_set_reads():
    class Texts:
        def batch(self, start, stop):
            return [f"text {row}" for row in range(start, stop)]

    rows = [{"row": row, "label": str(STORE.labels[row]), "text": f"text {row}"} for row in (3, 5)]
    for inputs in (Texts(), Texts().batch(0, len(STORE))):
        assert describe_examples(STORE, inputs, np.array([3, 5])) == rows
