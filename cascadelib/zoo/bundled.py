"""Bundled classifiers of images and of texts.

timm and transformers are imported only when a model is built, since their import takes seconds.
"""

import functools
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..checks import validate_choice
from ..files import REVIEWS, file_digest, find_folder, located, read_json
from .model import Model, count_parameters
from .transforms import GreyImages, Tokenized


class BagOfWords(nn.Module):
    """Linear classifier of word pieces that ignores their order."""

    def __init__(self, vocab_size: int, classes: int):
        super().__init__()
        self.weights = nn.Embedding(vocab_size, classes)
        nn.init.zeros_(self.weights.weight)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the token embeddings, under the method name of transformers."""
        return self.weights

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Compute logits [N, classes] from token ids and their mask, both [N, length]."""
        # A matrix product, so that fvcore counts one multiply-accumulate per word and class.
        words = self.weights(input_ids)
        return (attention_mask.to(words.dtype).unsqueeze(1) @ words).squeeze(1)


def build_dense(*widths: int) -> nn.Sequential:
    """Build linear layers of these widths with ReLU between: [N, …] → [N, last width]."""
    layers = [nn.Flatten()]
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def linear(num_classes: int, img_size: int) -> nn.Module:
    """Build a softmax regression on pixels: [N, 1, img_size, img_size] → [N, num_classes]."""
    return build_dense(img_size**2, num_classes)


def mlp(num_classes: int, img_size: int, hidden: int = 64) -> nn.Module:
    """Build a network with one hidden layer: [N, 1, img_size, img_size] → [N, num_classes]."""
    return build_dense(img_size**2, hidden, num_classes)


def lenet(num_classes: int, width: float = 1.0) -> nn.Module:
    """Build LeNet-5, ``width`` times as wide: [N, 1, 28, 28] → [N, num_classes]."""
    c1, c2, f1, f2 = (round(n * width) for n in (6, 16, 120, 84))
    first = nn.Conv2d(1, c1, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(c1, c2, 5), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(
        nn.Sequential(*first, *second), build_dense(c2 * 5**2, f1, f2, num_classes)
    )


def small_resnet(num_classes: int, channels: Sequence[int], layers: Sequence[int]) -> nn.Module:
    """Build timm's ResNet for small images: [N, 1, height, width] → [N, num_classes].

    The stem of timm halves the image twice, from 28 × 28 to 7 × 7 pixels. Here a convolution of
    stride 1 replaces its first one, so that the image is only halved once, to 14 × 14 pixels.
    """
    import timm

    model = timm.create_model(
        "resnet18",
        in_chans=1,
        num_classes=num_classes,
        channels=channels,
        layers=layers,
        stem_type="deep",
        stem_width=channels[0] // 2,
    )
    model.conv1 = nn.Conv2d(1, channels[0], 3, padding=1, bias=False)
    return model


CLASSICAL = {net.__name__: net for net in (linear, mlp, lenet, small_resnet)}
"""Networks smaller than those of timm, by their architecture in zoo.json."""


def build_image_classifier(entry: dict, classes: int) -> nn.Module:
    """Build an untrained image model from its entry in zoo.json: [N, 1, size, size] → logits."""
    architecture = entry["architecture"]
    if architecture in CLASSICAL:
        return CLASSICAL[architecture](classes, **entry["options"])
    import timm

    return timm.create_model(architecture, in_chans=1, num_classes=classes, **entry["options"])


SCALE_SUFFIX = ".scale"
COUNTER = "num_batches_tracked"  # name of a BatchNorm counter


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read weights {name: float32 tensor} from a file.

    int8 matrices are multiplied by their row scales, the tensor ``name.scale`` [rows]. Raises
    ValueError if the file is damaged.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: the weights cannot be read: {error}") from None
    for name in [name for name in tensors if name + SCALE_SUFFIX in tensors]:
        tensors[name] = tensors[name].float() * tensors.pop(name + SCALE_SUFFIX)[:, None]
    return {name: value.float() for name, value in tensors.items()}


SPECIAL_TOKENS = {f"{kind}_token": f"[{kind.upper()}]" for kind in "pad unk cls sep mask".split()}


def build_text_classifier(entry: dict, zoo: dict) -> Any:
    """Build an untrained float32 text model: one of transformers, or the bag of words."""
    if entry["architecture"] == "bag_of_words":
        return BagOfWords(zoo["vocab_size"], len(zoo["classes"]))
    from transformers import AutoConfig, AutoModelForSequenceClassification

    names = dict(enumerate(zoo["classes"]))
    config = AutoConfig.for_model(
        entry["architecture"],
        vocab_size=zoo["vocab_size"],
        max_position_embeddings=zoo["max_length"],
        pad_token_id=0,
        id2label=names,
        label2id={name: number for number, name in names.items()},
        **entry["options"],
    )
    return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


FOLDER = "data/fashion-mnist"
IMAGE_ZOO = ("classes", "models", "mean", "std")
TEXT_ZOO = ("classes", "models", "vocab_size", "max_length")


def read_zoo(folder: Path | str, keys: tuple[str, ...] = ("models",)) -> dict:
    """Read these keys of a zoo's ``zoo.json``.

    Raises FileNotFoundError if there is no such file, and ValueError if a key is missing.
    """
    path = located(folder) / "zoo.json"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}, the list of a zoo's models (see {FOLDER})")
    try:
        zoo = read_json(path)
        return {key: zoo[key] for key in keys}
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a zoo with {', '.join(keys)} ({error!r})") from None


def list_bundled_names(folder: Path | str) -> list[str]:
    """Return the names of a zoo's models, or [] if its data are not installed."""
    return list(read_zoo(folder)["models"]) if (find_folder(folder) / "zoo.json").is_file() else []


def _weights_file(folder: Path | str, weights: str) -> Path:
    """Return the path of a weights file, which may not exist."""
    return located(folder) / "weights" / f"{weights}.safetensors"


def bundled_models(folder: Path | str = FOLDER) -> pd.DataFrame:
    """List the bundled image models.

    Parameters
    ----------
    folder : Path or str, default="data/fashion-mnist"
        Folder with ``zoo.json``.

    Returns
    -------
    DataFrame
        One row per model with the columns family, architecture, size (pixels), weights (the name of
        a file, which several sizes may share) and trained (whether that file exists).

    Raises
    ------
    FileNotFoundError
        If there is no ``zoo.json``.

    See Also
    --------
    load_bundled : Build one of these models.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.zoo.bundled_models().loc["lenet@28", ["family", "size", "trained"]].to_dict()
    {'family': 'LeNet', 'size': 28, 'trained': True}
    """
    table = pd.DataFrame.from_dict(read_zoo(folder, IMAGE_ZOO)["models"], orient="index")
    table = table[["family", "architecture", "size", "weights"]].rename_axis("model")
    trained = [_weights_file(folder, weights).is_file() for weights in table["weights"]]
    return table.assign(trained=trained)


def load_bundled(name: str, folder: Path | str = FOLDER) -> Model:
    """Build a bundled image model with its trained weights.

    Parameters
    ----------
    name : str
        Name in the index of :func:`bundled_models`.
    folder : Path or str, default="data/fashion-mnist"
        Folder with ``zoo.json``.

    Returns
    -------
    Model
        The model. Its module maps images of shape (n, 1, size, size) to logits of shape
        (n, n_classes).

    Raises
    ------
    ValueError
        If the name is unknown or the weights do not fit.
    FileNotFoundError
        If the weights are missing.

    See Also
    --------
    bundled_models : List the bundled models.
    load : Load a bundled model or one of timm or transformers.

    Examples
    --------
    >>> import torch
    >>> import cascadelib as cl
    >>> model = cl.zoo.load_bundled("lenet@28")
    >>> images = cl.datasets.fashion_mnist("val").batch(0, 5)
    >>> with torch.inference_mode():
    ...     model.module(model.transform(images)).shape
    torch.Size([5, 10])
    """
    zoo = read_zoo(folder, IMAGE_ZOO)
    entry, path = _find_weights(name, zoo, folder)
    transform = GreyImages(entry["size"], zoo["mean"], zoo["std"])
    preprocessing = {
        "mean": zoo["mean"],
        "std": zoo["std"],
        "interpolation": "bilinear, antialiased",
        "crop": 1.0,
    }
    module = build_image_classifier(entry, len(zoo["classes"]))
    metadata = _load_weights(module, entry, path, preprocessing, image_size=entry["size"])
    return Model(name, module, transform, metadata)


def load_bundled_text_model(name: str, folder: Path | str = REVIEWS) -> Model:
    """Build a bundled text model, whose module returns ``.logits`` [N, classes].

    Raises as :func:`load_bundled`. Some models come with logits only, without weights.
    """
    zoo = read_zoo(folder, TEXT_ZOO)
    entry, path = _find_weights(name, zoo, folder)
    module = build_text_classifier(entry, zoo)
    shared = {}
    if entry["shared_embeddings"]:
        weight = module.get_input_embeddings().weight
        key = next(key for key, value in module.named_parameters() if value is weight)
        shared[key] = read_weights(path.parent / "embeddings.safetensors")["embeddings"]
    preprocessing = {"max_length": zoo["max_length"], "tokenizer": "tokenizer.json"}
    metadata = _load_weights(module, entry, path, preprocessing, shared)
    transform = Tokenized(_tokenizer(located(folder)), zoo["max_length"])
    return Model(name, module, transform, metadata)


@functools.cache
def _tokenizer(folder: Path) -> Any:
    """Read the tokenizer of a text zoo."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **SPECIAL_TOKENS)


def _find_weights(name: str, zoo: dict, folder: Path | str) -> tuple[dict, Path]:
    """Return a model's entry in the zoo and its weights file."""
    entry = zoo["models"][validate_choice(name, zoo["models"], "model")]
    path = _weights_file(folder, entry["weights"])
    if not path.is_file():
        raise FileNotFoundError(f"no weights {path} for model {name!r}. train.py makes them")
    return entry, path


def _load_weights(
    module: nn.Module,
    entry: dict,
    path: Path,
    preprocessing: dict,
    shared: Mapping[str, Any] | None = None,
    **size: int,
) -> dict[str, Any]:
    """Load weights into a module in eval mode and return the metadata of its logits.

    All parameters must match, except BatchNorm's counters, which no file stores. shared: weights
    {name: tensor} that several models use and this file lacks.
    """
    counters = {key: value for key, value in module.state_dict().items() if key.endswith(COUNTER)}
    try:
        module.load_state_dict({**counters, **(shared or {}), **read_weights(path)})
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit: {error}") from None
    module.eval()
    return {
        "family": entry["family"],
        "architecture": entry["architecture"],
        **size,
        "parameters": count_parameters(module),
        "checkpoint": {"name": entry["weights"], "sha256": file_digest(path)},
        "preprocessing": preprocessing,
    }
