"""Models with another order of classes than the data set."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from tiny_modules import MEAN, STD, head

from cascadelib import datasets
from cascadelib.extraction.class_order import check_order
from cascadelib.extraction.extraction import extract
from cascadelib.origin import origin_of
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


def extract_known(columns, path, order=None):
    """Extract a model that puts class c into column ``columns[c]``, with an order if any."""
    labels = torch.arange(400) % 4
    inputs = torch.stack([labels, torch.arange(400) % 10], 1).float()
    model = Model("m", Known(columns))
    model = model if order is None else reordered(model, order)
    return extract({"m": model}, (inputs, labels), path, macs={"m": 1}, progress=False)


def test_another_order_of_classes_is_detected_and_can_be_passed(tmp_path):
    message = r"'m' seems to have.*accuracy is 3\d.*9\d.\d% with.*cl\.zoo\.reordered"
    with pytest.raises(ValueError, match=message):
        extract_known([2, 0, 1, 3], tmp_path / "s")
    store = extract_known([2, 0, 1, 3], tmp_path / "s", [2, 0, 1, 3])
    assert store.models.top1["m"] == 0.9 and store.metadata("m")["class_order"] == [2, 0, 1, 3]
    assert extract_known(range(4), tmp_path / "r").models.top1["m"] == 0.9


@pytest.mark.parametrize(("swapped", "is_refused"), [(5501, True), (5499, False)])
def test_a_gain_of_more_than_ten_points_is_refused(swapped, is_refused):
    """The accuracy of the second half rises by 10.02 or 9.98 points."""
    labels = np.arange(20_000) % 2
    predictions = labels.copy()
    for half in np.array_split(np.random.default_rng(0).permutation(len(labels)), 2):
        predictions[half[:swapped]] ^= 1
    origin = origin_of(datasets.Samples(labels[:, None], labels))
    refused = pytest.raises(ValueError, match="'m' seems to have its classes in another order")
    with refused if is_refused else nullcontext():
        check_order("m", {}, np.eye(2)[predictions], origin)


def test_an_inaccurate_model_is_not_refused_for_its_order(tmp_path):
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(400, 3, 16, 16)).astype(np.float32)
    samples = (inputs, rng.integers(0, 4, 400))
    store = extract({"a": head(1)}, samples, tmp_path / "s", progress=False)
    assert store.models.top1["a"] < 0.4


@pytest.mark.parametrize("names", ["abcd", "badc", "wxyz"])
def test_names_in_another_order_are_refused_before_the_run(folder, tmp_path, names):
    transform = Photos(Cut((16, 16), "bilinear", 0.9), MEAN, STD)
    models = {"m": Model("m", head(1), transform, {"classes": list(names)})}
    call = (models, datasets.image_folder(folder), tmp_path / "s")
    if names == "badc":
        message = "class 0 is 'b', and that of the data set is 'a'.*reordered"
        with pytest.raises(ValueError, match=message):
            extract(*call, workers=0, progress=False)
        assert not (tmp_path / "s" / "manifest.json").exists()
    else:
        assert "classes" not in extract(*call, workers=0, progress=False).metadata("m")
