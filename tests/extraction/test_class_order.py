"""Models with another order of classes than the data set."""

import numpy as np
import pytest
import torch
from tiny_modules import MEAN, STD, head

from cascadelib import datasets
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.model import Model, reordered
from cascadelib.zoo.transforms import Cut, Photos


class Known(torch.nn.Module):
    """Model that reads labels from its inputs and puts class c into column ``columns[c]``."""

    def __init__(self, columns):
        super().__init__()
        self.columns = torch.as_tensor(columns)
        self.scale = torch.nn.Linear(1, 1)

    def forward(self, x):
        wrong = x[:, 1].long() == 0  # one in ten
        known = torch.where(wrong, (x[:, 0].long() + 1) % 4, x[:, 0].long())
        return 5.0 * torch.nn.functional.one_hot(self.columns[known], 4) + 0 * self.scale(x[:, :1])


def labelled(k=400):
    labels = torch.arange(k) % 4
    return torch.stack([labels, torch.arange(k) % 10], 1).float(), labels


def test_another_order_of_classes_is_detected_and_can_be_passed(tmp_path):
    moved = Known([2, 0, 1, 3])
    inputs = labelled()
    with pytest.raises(
        ValueError,
        match=r"'moved' seems to have.*accuracy is 3\d.*9\d.\d% with.*cl\.zoo\.reordered",
    ):
        extract({"moved": moved}, inputs, tmp_path / "s", macs={"moved": 1}, progress=False)
    given = reordered(Model("moved", moved), [2, 0, 1, 3])
    store = extract({"moved": given}, inputs, tmp_path / "s", macs={"moved": 1}, progress=False)
    assert store.models.top1["moved"] == 0.9 and store.metadata("moved")["class_order"] == [
        2,
        0,
        1,
        3,
    ]
    known = extract(
        {"right": Known(range(4))}, inputs, tmp_path / "r", macs={"right": 1}, progress=False
    )
    assert known.models.top1["right"] == 0.9


def test_an_inaccurate_model_is_not_refused_for_its_order(tmp_path):
    rng = np.random.default_rng(0)
    inputs = torch.as_tensor(rng.normal(size=(400, 768)), dtype=torch.float32).reshape(
        400, 3, 16, 16
    )
    store = extract(
        {"a": head(1)}, (inputs, rng.integers(0, 4, 400)), tmp_path / "s", progress=False
    )
    assert store.models.top1["a"] < 0.4


def test_names_in_another_order_are_refused_before_the_run(folder, tmp_path):
    samples = datasets.image_folder(folder)
    transform = Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD)
    for names, refused in (("abcd", False), ("badc", True), ("wxyz", False)):
        model = Model("m", head(1), transform, {"classes": list(names)})
        if refused:
            with pytest.raises(
                ValueError, match="class 0 is 'b', and that of the data set is 'a'.*reordered"
            ):
                extract({"m": model}, samples, tmp_path / "s", progress=False)
            assert not (tmp_path / "s" / "manifest.json").exists()
        else:
            store = extract({"m": model}, samples, tmp_path / names, workers=0, progress=False)
            assert "classes" not in store.metadata("m")
