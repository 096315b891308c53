"""Bundled image models: all build, weights must match, errors name the file."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from cascadelib.files import ROOT
from cascadelib.zoo.bundled import build_image_classifier, bundled_models
from cascadelib.zoo.loaders import load
from cascadelib.zoo.macs import count_macs

ENTRIES = json.loads((ROOT / "data/fashion-mnist/zoo.json").read_text())
NAMES = ["linear@28", "lenet@28", "lcnet_035@28", "resnet18_w32@52", "resnet18_w32@56"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a zoo with untrained weights. Two models share a file."""
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "weights").mkdir()
    (folder / "zoo.json").write_text(json.dumps(ENTRIES))
    for name in NAMES:
        entry = ENTRIES["models"][name]
        module = build_image_classifier(entry, 10)
        weights = {
            k: v.half()
            for k, v in module.state_dict().items()
            if not k.endswith("num_batches_tracked")
        }
        save_file(weights, folder / "weights" / f"{entry['weights']}.safetensors")
    return folder


def test_the_bundled_models_are_listed(folder):
    table = bundled_models(folder)
    assert list(table.index) == list(ENTRIES["models"]) and table.index.name == "model"
    assert list(table.columns) == ["family", "architecture", "size", "weights", "trained"]
    assert set(table.index[table.trained]) == set(NAMES)
    assert len(table) >= 18 and table.family.nunique() >= 6


def check_model(model, size):
    assert not model.module.training
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    inputs = model.transform(torch.zeros(2, 28, 28, dtype=torch.uint8))
    assert inputs.shape == (2, 1, size, size)
    assert model.module(inputs).shape == (2, 10)
    assert model.metadata["parameters"] == sum(p.numel() for p in model.module.parameters())
    assert len(model.metadata["checkpoint"]["sha256"]) == 64


@pytest.mark.parametrize("name", NAMES)
def test_bundled_models_are_loaded_with_strict_weights(folder, name):
    model = load(name, folder)
    check_model(model, ENTRIES["models"][name]["size"])
    assert (
        count_macs(model.module, model.transform(torch.zeros(1, 28, 28, dtype=torch.uint8))) > 1000
    )
    stored = load_file(folder / "weights" / f"{ENTRIES['models'][name]['weights']}.safetensors")
    loaded = model.module.state_dict()
    assert all(torch.equal(loaded[key], value.float()) for key, value in stored.items())


def test_all_bundled_weights_are_loaded():
    table = bundled_models()
    for name in table.index[table.trained]:
        check_model(load(name), ENTRIES["models"][name]["size"])


def test_two_sizes_of_a_model_share_weights(folder):
    small = load("resnet18_w32@52", folder)
    large = load("resnet18_w32@56", folder)
    assert small.metadata["checkpoint"] == large.metadata["checkpoint"]
    assert (small.metadata["image_size"], large.metadata["image_size"]) == (52, 56)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vit_p7@28\.safetensors"):
        load("vit_p7@28", folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        bundled_models("nowhere")
    with pytest.raises(FileNotFoundError, match=r"zoo\.json"):
        bundled_models(tmp_path)
    (tmp_path / "zoo.json").write_text("{}")
    with pytest.raises(ValueError, match=r"zoo\.json"):
        bundled_models(tmp_path)


def cut(path, weights):
    path.write_bytes(path.read_bytes()[:100])


def without_bias(path, weights):
    save_file({k: v for k, v in weights.items() if "bias" not in k}, path)


def with_more(path, weights):
    save_file(weights | {"more": torch.zeros(1)}, path)


def of_other_shape(path, weights):
    save_file({k: v[:1].clone() for k, v in weights.items()}, path)


@pytest.mark.parametrize("damage", [cut, without_bias, with_more, of_other_shape])
def test_weights_that_do_not_fit_are_refused(folder, tmp_path, damage):
    (tmp_path / "weights").mkdir()
    (tmp_path / "zoo.json").write_text((folder / "zoo.json").read_text())
    path = tmp_path / "weights" / "linear@28.safetensors"
    path.write_bytes((folder / "weights" / path.name).read_bytes())
    damage(path, load_file(path))
    with pytest.raises(ValueError, match=r"linear@28\.safetensors"):
        load("linear@28", tmp_path)
