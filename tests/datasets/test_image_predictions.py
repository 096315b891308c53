"""Predictions of ImageNet-X, on files of the same form with made-up content."""

import re
import runpy
import sys

import numpy as np
import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.files import ROOT

ACCURACIES = {"DINO": 0.76, "ResNet50": 0.75, "SimCLR": 0.65, "ViT": 0.85}
LABELS = "imagenet_x/annotations/filename_label.csv"


@pytest.fixture
def clone(tmp_path):
    """Write files of the published form for 2,000 images."""
    rng = np.random.default_rng(0)
    images = [f"ILSVRC2012_val_{number:08}.JPEG" for number in rng.permutation(2000) + 1]
    labels = np.sort(rng.integers(0, 1000, 2000))
    difficulty = rng.random(2000)
    (tmp_path / "imagenet_x" / "annotations").mkdir(parents=True)
    (tmp_path / "model_predictions" / "base").mkdir(parents=True)
    pd.DataFrame({"file_name": images, "label": labels}).to_csv(tmp_path / LABELS, index=False)
    for name, accuracy in ACCURACIES.items():
        predictions = np.where(difficulty < accuracy, labels, (labels + 1) % 1000)
        frame = pd.DataFrame({"file_name": images, "predicted_class": predictions})
        frame["predicted_probability"] = 1 - difficulty * rng.uniform(0.8, 1, 2000)
        order = rng.permutation(2000)
        frame.loc[order].to_csv(tmp_path / f"model_predictions/base/{name}.csv", index=False)
    return tmp_path


def test_predictions_form_a_table_with_the_accuracies_of_the_networks(clone):
    frame = cl.datasets.imagenet_x(clone)
    table = cl.ScoreTable.from_frame(
        frame, prediction="prediction", label="label", cost=dict.fromkeys(ACCURACIES, 1)
    )
    assert len(table) == 2000
    top1 = table.models["top1"].to_dict()
    assert top1 == pytest.approx(ACCURACIES, abs=0.03)
    correct = frame[frame["prediction"] == frame["label"]]
    assert top1 == (correct.groupby("model").size() / 2000).to_dict()


def test_the_example_searches_pairs(clone, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["imagenet_x.py", str(clone)])
    runpy.run_path(str(ROOT / "examples" / "imagenet_x.py"))
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0] == "ResNet50 → ViT on 1000 held-out images:"
    assert float(re.search(r"saving ([\d.]+)", last[1])[1]) > 1.2


@pytest.mark.parametrize("name", [LABELS, "model_predictions/base/*.csv"])
def test_a_missing_file_is_named_with_the_layout(clone, name):
    for path in clone.glob(name):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"{name.split('/')[-2]}.*a clone of github.com"):
        cl.datasets.imagenet_x(clone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.iloc[1:], "1 images are not in both .*such as 'ILSVRC2012_val_"),
        (lambda frame: frame.rename(columns={"predicted_class": "label"}), "'predicted_class'"),
    ],
)
def test_an_incomplete_file_is_refused_by_name(clone, change, message):
    path = clone / "model_predictions" / "base" / "ViT.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    with pytest.raises(ValueError, match=rf"ViT\.csv: .*{message}"):
        cl.datasets.imagenet_x(clone)


def write_factors(path, **factors):
    """Write a file of image factors: {image: names of its factors}."""
    rows = [
        {"file_name": name, "class": 0, "pose": 0, "darker": 0, "one_word": "cat"}
        | dict.fromkeys(of_image, 1)
        for name, of_image in factors.items()
    ]
    pd.DataFrame(rows).to_json(path, orient="records", lines=True)
    return path


def test_factors_belong_to_the_names_of_images_in_any_folder(tmp_path):
    path = write_factors(tmp_path / "top.jsonl", **{"07": ["pose"], "8": ["darker"], "9": []})
    found = cl.datasets.image_factors(path, ["n1/9", "n1/8", "d", "07"])
    assert found.to_dict() == {"n1/9": None, "n1/8": "darker", "d": None, "07": "pose"}


@pytest.mark.parametrize(
    ("factors", "ids", "message"),
    [
        ({"a": ["pose", "darker"]}, ["a"], "1 images have several factors, the first is 'a'"),
        ({"a": ["pose"]}, ["7", "8"], "none of the 2 samples is an image of the file"),
    ],
)
def test_other_files_of_factors_are_refused(tmp_path, factors, ids, message):
    path = write_factors(tmp_path / "factors.jsonl", **factors)
    with pytest.raises(ValueError, match=rf"factors\.jsonl: {message}"):
        cl.datasets.image_factors(path, ids)
