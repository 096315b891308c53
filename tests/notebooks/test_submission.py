"""Guesses are written in the format of the ImageNet test server."""

import runpy

import pytest

from cascadelib.files import ROOT

SCRIPT = ROOT / "data/imagenet-1k/run_notebooks.py"
write_submission = runpy.run_path(str(SCRIPT))["write_submission"]


def test_the_file_has_the_numbers_of_the_challenge(tmp_path):
    # the challenge's class 1 is timm's 1, 2 is 2, 3 is 0
    classes = [[2, 0], [1, 2]]
    order = [1, 2, 0]
    write_submission(tmp_path / "plain.txt", classes)
    write_submission(tmp_path / "numbers.txt", classes, order)
    assert (tmp_path / "plain.txt").read_text() == "2 0\n1 2\n"
    assert (tmp_path / "numbers.txt").read_text() == "2 3\n1 2\n"
    with pytest.raises(ValueError, match="order names 2 classes, but image 1 has another"):
        write_submission(tmp_path / "x.txt", [[0, 1], [2, 1]], [1, 0])
    with pytest.raises(ValueError, match="image 1 has another"):  # −1: no model gave an output
        write_submission(tmp_path / "x.txt", [[0, 1], [-1, -1]], [0, 1])
