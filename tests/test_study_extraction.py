"""The script that extracts the study on ImageNet, on a local stand-in."""

import weakref

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
from PIL import Image  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from scripts import load_script  # noqa: E402

from cascadelib import __main__ as command_line  # noqa: E402
from cascadelib import published  # noqa: E402
from cascadelib.extraction import planning  # noqa: E402
from cascadelib.store.logit_store import LogitStore  # noqa: E402
from cascadelib.zoo import timm_models  # noqa: E402

NAMES = ("test_vit", "test_efficientnet", "test_byobnet")


@pytest.fixture
def stand_in(tmp_path):
    """Write 24 images in two class folders, and checkpoints with random weights."""
    for number in range(24):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (60, 50), (number * 10, 90, 255 - number * 10)).save(path)
    for name in NAMES:
        state = timm.create_model(name, num_classes=2).state_dict()
        path = tmp_path / "checkpoints" / f"{name}.safetensors"
        path.parent.mkdir(exist_ok=True)
        save_file(state, path)
    return tmp_path


def test_the_command_reads_local_checkpoints(stand_in):
    command = [
        "extract",
        stand_in / "images",
        stand_in / "s",
        "--models",
        "test_vit",
        "--json",
        "--checkpoints",
        stand_in / "checkpoints",
        "--classes",
        2,
        "--device",
        "cpu",
    ]
    assert command_line.main([*map(str, command)]) == 0
    stored = LogitStore(stand_in / "s").metadata("test_vit")["checkpoint"]
    assert stored["name"] == "test_vit.safetensors"


def test_the_models_of_the_study_are_loaded_group_by_group(stand_in, monkeypatch):
    alive = []
    loaded = []
    own = timm_models.load_timm_model

    def load(name, **options):
        alive.append(sum(module() is not None for module in loaded))
        model = own(name, **options)
        loaded.append(weakref.ref(model.module))
        return model

    monkeypatch.setattr(timm_models, "load_timm_model", load)
    monkeypatch.setattr(planning, "FIRST_LOADING", float("inf"))  # groups by memory alone
    table = published.models().assign(seconds=0.5).rename_axis(None).iloc[:1]
    table.index = ["test_byobnet"]
    table["current"] = "test_byobnet"
    table["image_size"] = 160
    monkeypatch.setattr(published, "models", lambda *_: table)
    script = load_script("data/imagenet-1k/extract.py")
    arguments = ["--kind", "image_folder", "--images", stand_in / "images", "--named", "val"]
    arguments += ["--out", stand_in / "out", "--checkpoints", stand_in / "checkpoints"]
    arguments += ["--classes", 2, "--batch-size", 4, "--workers", 0, "--device", "cpu"]
    script.main([*map(str, arguments), "--memory", "0.0105", "--models", *NAMES])
    # The second model does not fit beside the first one, and is loaded again for its own group.
    assert alive[:3] == [0, 1, 0] and max(alive) == 1
    for split in ("val", "held_out"):
        store = LogitStore(stand_in / "out" / split)
        assert set(store.models.index) == set(NAMES) and len(store) == 12
        assert store.metadata("test_byobnet")["published_seconds"] == 0.5
        assert "published_seconds" not in store.metadata("test_vit")
