"""timm and transformers models by name: checkpoints, sizes, preprocessing, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.data import create_dataset, create_loader, resolve_data_config
from transformers import ConvNextImageProcessor, ResNetConfig, ResNetForImageClassification

from cascadelib.datasets.images import image_folder
from cascadelib.zoo.loaders import load
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.model import describe_identity
from cascadelib.zoo.timm_models import (
    build_photo_transform,
    build_timm_model,
    find_current_name,
    is_timm_model,
)
from cascadelib.zoo.transformers_models import load_image_model, load_sequence_classifier
from cascadelib.zoo.transforms import Cut, Photos, prepare_batch

NAME = "mobilenetv3_small_050"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Write checkpoints with seeded random weights: safetensors, pth and a folder saved by timm."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    module = timm.create_model(NAME)
    save_file(module.state_dict(), folder / f"{NAME}.safetensors")
    torch.save(
        {"state_dict": timm.create_model("resnet10t", num_classes=7).state_dict()},
        folder / "resnet10t.pth",
    )
    own = folder / "test_vit"
    own.mkdir()
    module = timm.create_model("test_vit", num_classes=5)
    save_file(module.state_dict(), own / "model.safetensors")
    config = {"input_size": [3, 160, 160], "crop_pct": 0.5}
    config |= {"mean": [0.1, 0.2, 0.3], "std": [1, 1, 1]}
    (own / "config.json").write_text(json.dumps({"num_classes": 5, "pretrained_cfg": config}))
    return folder


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Write eight photographs of several sizes and modes in two class folders."""
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    for i in range(8):
        size = (90 + 17 * i, 130 - 9 * i, 3)
        image = Image.fromarray(rng.integers(0, 256, size, np.uint8))
        image = image.resize((size[1] * 2, size[0] * 2))
        image = image.convert({3: "L", 6: "P"}.get(i, "RGB"))
        path = folder / "ab"[i % 2] / f"{i}.{'png' if i == 6 else 'jpg'}"
        path.parent.mkdir(exist_ok=True)
        image.save(path)
    return folder


@pytest.mark.parametrize(
    ("name", "file"), [(NAME, ""), (NAME, f"{NAME}.safetensors"), (f"{NAME}.lamb_in1k", "")]
)
def test_a_local_checkpoint_is_loaded(checkpoints, name, file):
    model = load(name, checkpoint=checkpoints / file)
    weights = load_file(checkpoints / f"{NAME}.safetensors")
    assert all(torch.equal(v, weights[k]) for k, v in model.module.state_dict().items())
    assert not model.module.training
    assert model.module(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    facts = model.metadata
    expected = {"family": "mobilenetv3", "image_size": 224, "architecture": NAME}
    assert facts | expected == facts
    checkpoint = facts["checkpoint"]
    digest = checkpoint.pop("sha256")
    assert checkpoint == {"name": f"{NAME}.safetensors", "source": "local file"}
    assert len(digest) == 64
    preprocessing = facts["preprocessing"]
    assert preprocessing | {"interpolation": "bicubic", "size_from": "test"} == preprocessing


def test_checkpoints_with_other_classes_and_endings_are_loaded(checkpoints):
    model = load("resnet10t", checkpoint=checkpoints, classes=7)
    assert model.module(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    own = load("test_vit", checkpoint=checkpoints)
    assert own.module(torch.zeros(1, 3, 160, 160)).shape == (1, 5)
    assert own.transform == Photos(Cut((160, 160), "bicubic", 0.5), (0.1, 0.2, 0.3), (1, 1, 1))


def test_one_checkpoint_runs_at_two_sizes(checkpoints):
    small, large = (load(f"{NAME}@{size}", checkpoint=checkpoints) for size in (128, 160))
    assert small.name == f"{NAME}@128"
    assert small.metadata["checkpoint"] == large.metadata["checkpoint"]
    assert (small.transform.cut.size, large.transform.cut.size) == ((128, 128), (160, 160))
    assert small.metadata["preprocessing"]["size_from"] == "requested"
    vit = load("test_vit@192", checkpoint=checkpoints)
    assert vit.module(torch.zeros(1, 3, 192, 192)).shape == (1, 5)
    assert vit.metadata["image_size"] == 192


def test_the_size_is_that_of_training_or_evaluation():
    module = build_timm_model("resnet50.a1_in1k")
    assert build_photo_transform(module, "train").cut == Cut((224, 224), "bicubic", 0.95)
    assert build_photo_transform(module, "test").cut == Cut((288, 288), "bicubic", 1.0)


def test_a_size_that_a_network_does_not_support_is_refused(monkeypatch):
    def fixed(name, pretrained=False):
        raise AssertionError("never called: it takes no img_size")

    monkeypatch.setattr(timm, "create_model", fixed)
    message = "'vit_tiny_patch16_224' cannot run at 200 pixels: .*img_size"
    with pytest.raises(ValueError, match=message):
        build_timm_model("vit_tiny_patch16_224", 200)


@pytest.mark.parametrize(
    "settings", [{}, {"crop_mode": "squash"}, {"crop_mode": "border", "interpolation": "bilinear"}]
)
def test_preprocessing_equals_that_of_timm(photographs, settings):
    """The numbers equal those of timm's loader with the settings of its validate.py."""
    module = timm.create_model(NAME, pretrained_cfg_overlay={"crop_pct": 0.9, **settings})
    config = resolve_data_config({"img_size": 96}, model=module, use_test_size=True)
    data = create_dataset("", root=str(photographs))
    loader = create_loader(
        data,
        input_size=config["input_size"],
        batch_size=8,
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        crop_pct=config["crop_pct"],
        crop_mode=config["crop_mode"],
        num_workers=0,
        device=torch.device("cpu"),
    )
    theirs, labels = next(iter(loader))
    ours = image_folder(photographs)
    assert torch.equal(build_photo_transform(module, 96)(ours.batch(0, 8)), theirs)
    assert labels.tolist() == ours.labels.tolist()


def test_old_names_are_mapped_to_current_ones():
    assert find_current_name("tf_efficientnet_b4_ns") == "tf_efficientnet_b4.ns_jft_in1k"
    assert find_current_name("resnet50.a1_in1k") == "resnet50.a1_in1k"
    # The default checkpoint of the first has 21,841 classes. The second has none with 1,000.
    assert find_current_name("tiny_vit_5m_224") == "tiny_vit_5m_224.dist_in22k_ft_in1k"
    name = "vit_base_patch16_siglip_224"
    assert find_current_name(name) == f"{name}.{timm.models.get_pretrained_cfg(name).tag}"
    assert is_timm_model("tf_efficientnet_b4_ns@300")
    assert find_current_name("resnet51") == "resnet51"
    assert not is_timm_model("resnet51") and not is_timm_model("organisation/resnet50")


@pytest.mark.parametrize("before", ["timm/", "hf-hub:timm/", "hf_hub:timm/"])
def test_names_of_the_hub_are_accepted(before, checkpoints, offline):
    own, written = (load(f"{start}{NAME}@128", checkpoint=checkpoints) for start in ("", before))
    assert written.name == f"{before}{NAME}@128"  # the requested name
    assert written.metadata == own.metadata and describe_identity(written) == describe_identity(own)
    assert is_timm_model(f"{before}resnet50.a1_in1k@224") and not is_timm_model(f"{before}resnet51")
    assert find_current_name(f"{before}tf_efficientnet_b4_ns") == "tf_efficientnet_b4.ns_jft_in1k"
    assert type(build_timm_model(f"{before}test_vit", 96)) is type(build_timm_model("test_vit", 96))
    with pytest.raises(ValueError, match=f"unknown model '{before}resnet5O'; nearest: .*'resnet50"):
        load(f"{before}resnet5O")
    with pytest.raises(ConnectionError, match=r"timm/resnet18\.a1_in1k"):
        load(f"{before}resnet18")


def test_models_are_loaded_in_their_reparameterized_form(tmp_path):
    """RepVGG has three branches in training and one 3 × 3 convolution in inference (section 2 of
    its paper)."""
    torch.manual_seed(0)
    trained = timm.create_model("repvgg_a0").eval()
    for module in trained.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.1)
    save_file(trained.state_dict(), tmp_path / "repvgg_a0.safetensors")
    deployed = load("repvgg_a0", checkpoint=tmp_path)
    assert deployed.metadata["parameters"] < sum(one.numel() for one in trained.parameters())
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(deployed.module(images), trained(images), rtol=1e-3, atol=1e-3)
    assert count_macs(deployed.module, images) < 0.93 * count_macs(trained, images)


REFUSED = [  # name, checkpoint, error, message
    ("resnet50.nosuch", None, ValueError, r"Invalid pretrained tag \(nosuch\).*resnet50\.a1_in1k"),
    ("resnet18", "", FileNotFoundError, r"no checkpoint for model .*resnet18\.safetensors"),
    ("resnet18", "nowhere", FileNotFoundError, "nowhere"),
    (
        "resnet18",
        f"{NAME}.safetensors",
        ValueError,
        rf"{NAME}\.safetensors: the weights do not fit",
    ),
    ("resnet10t", "", ValueError, r"resnet10t\.pth: the weights do not fit"),
    ("linear@28", "", TypeError, "checkpoint"),
]


@pytest.mark.parametrize(("name", "checkpoint", "error", "message"), REFUSED)
def test_unknown_names_and_checkpoints_are_refused(
    checkpoints, offline, name, checkpoint, error, message
):
    options = {} if checkpoint is None else {"checkpoint": checkpoints / checkpoint}
    with pytest.raises(error, match=message):
        load(name, **options)


def test_damaged_checkpoints_are_refused(tmp_path):
    (tmp_path / "resnet18.safetensors").write_bytes(b"cut")
    with pytest.raises(ValueError, match=r"resnet18\.safetensors.*cannot be read"):
        load("resnet18", checkpoint=tmp_path)
    for text in ("{}", "[" * 100_000, '{"num_classes": 1' + "0" * 400 + "}"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config\.json"):
            load("resnet18", checkpoint=tmp_path)


@pytest.fixture
def hub_model(tmp_path):
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8],
        depths=[1, 1],
        layer_type="basic",
        id2label={0: "cat", 1: "dog", 2: "emu"},
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path / "own")
    ConvNextImageProcessor(size={"shortest_edge": 64}).save_pretrained(tmp_path / "own")
    return tmp_path / "own"


def test_an_image_classifier_is_loaded_from_a_local_folder(hub_model, photographs):
    model = load(str(hub_model))
    pixels = prepare_batch(model.transform, image_folder(photographs).batch(0, 3))
    assert pixels.shape == (3, 3, 64, 64) and pixels.dtype == torch.float32
    assert model.module(pixels).logits.shape == (3, 3)
    expected = {"classes": ["cat", "dog", "emu"], "family": "resnet"}
    assert model.metadata | expected == model.metadata
    assert load(str(hub_model)).transform == model.transform
    damages = {"model.safetensors": ["cut"], "config.json": ["[" * 100_000, "[1]"]}
    for name, texts in damages.items():
        for text in texts:
            (hub_model / name).write_text(text)
            with pytest.raises(ValueError, match="own' cannot be loaded as an image classifier"):
                load(str(hub_model))


class Poison:
    """Object that writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.write_text, (self.marker, "was here")


@pytest.mark.parametrize("asked", [None, False])
def test_checkpoints_do_not_run_code(hub_model, tmp_path, monkeypatch, asked):
    """timm and transformers refuse a malicious .pth, even if a library allows torch to unpickle
    any object."""
    own = torch.load
    if asked is not None:

        def load_anything(*arguments, **options):
            return own(*arguments, **options | {"weights_only": asked})

        monkeypatch.setattr(torch, "load", load_anything)
    marker = tmp_path / "marker"
    state = timm.create_model("resnet10t").state_dict()
    torch.save({"state_dict": state, "more": Poison(marker)}, tmp_path / "resnet10t.pth")
    with pytest.raises(ValueError, match=r"resnet10t\.pth: the weights do not fit"):
        load("resnet10t", checkpoint=tmp_path)
    (hub_model / "model.safetensors").unlink()
    torch.save({"weight": Poison(marker)}, hub_model / "pytorch_model.bin")
    with pytest.raises(ValueError, match="own' cannot be loaded as an image classifier"):
        load(str(hub_model))
    assert not marker.exists()
    own(tmp_path / "resnet10t.pth", weights_only=False)
    assert marker.exists()  # the file is malicious


def test_remote_code_does_not_run(hub_model, tmp_path, monkeypatch):
    """A config.json that refers to a module in its folder is refused for any answer to a prompt."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    marker = tmp_path / "marker"
    (hub_model / "theirs.py").write_text(
        f"import pathlib\npathlib.Path({str(marker)!r}).write_text('was here')\n"
    )
    auto = ["AutoConfig", "AutoImageProcessor"]
    auto += ["AutoModelForImageClassification", "AutoModelForSequenceClassification"]
    names = dict.fromkeys(auto, "theirs.Theirs") | {"AutoTokenizer": ["theirs.Theirs", None]}
    theirs = {
        "auto_map": names,
        "model_type": "theirs",
        "image_processor_type": "Theirs",
        "tokenizer_class": "Theirs",
    }
    for file in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        path = hub_model / file
        config = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(config | theirs))
    for loads in (load, load_image_model, load_sequence_classifier):
        with pytest.raises(ValueError, match="own' cannot be loaded as .*contains custom code"):
            loads(str(hub_model))
    assert not marker.exists()
