"""The zoos that come with the repository: classifiers of images and of texts.

timm and transformers are imported where a model is built: they take seconds.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..checks import known
from ..files import REVIEWS, file_digest, folder_of, located, read_json
from .model import Model, count_parameters
from .transforms import GreyImages, Tokenized


class BagOfWords(nn.Module):
    """Logits [N, classes] of word pieces, whatever their order: one table of weights."""

    def __init__(self, vocab_size: int, classes: int):
        super().__init__()
        self.weights = nn.Embedding(vocab_size, classes)
        nn.init.zeros_(self.weights.weight)

    def get_input_embeddings(self) -> nn.Embedding:
        """The table of token embeddings, by the name that it has in transformers."""
        return self.weights

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits [N, classes] of token ids and their mask, [N, length]."""
        # As a product, so that a count of multiply-accumulates sees one per word and class.
        words = self.weights(input_ids)
        return (attention_mask.to(words.dtype).unsqueeze(1) @ words).squeeze(1)


def build_dense(*widths: int) -> nn.Sequential:
    """Linear layers of these widths, ReLU between them: [N, …] → [N, the last width]."""
    layers: list[nn.Module] = [nn.Flatten()]
    for inner, outer in pairwise(widths):
        layers += [nn.Linear(inner, outer), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def linear(num_classes: int, img_size: int) -> nn.Module:
    """Softmax regression on pixels: [N, 1, img_size, img_size] → [N, num_classes]."""
    return build_dense(img_size**2, num_classes)


def mlp(num_classes: int, img_size: int, hidden: int = 64) -> nn.Module:
    """One hidden layer of ReLU units: [N, 1, img_size, img_size] → [N, num_classes]."""
    return build_dense(img_size**2, hidden, num_classes)


def lenet(num_classes: int, width: float = 1.0) -> nn.Module:
    """LeNet-5, ``width`` times as wide: [N, 1, 28, 28] → [N, num_classes]."""
    c1, c2, f1, f2 = (round(n * width) for n in (6, 16, 120, 84))
    first = nn.Conv2d(1, c1, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(c1, c2, 5), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(
        nn.Sequential(*first, *second), build_dense(c2 * 5**2, f1, f2, num_classes)
    )


def small_resnet(num_classes: int, channels: Sequence[int], layers: Sequence[int]) -> nn.Module:
    """timm's ResNet for small images: [N, 1, height, width] → [N, num_classes].

    timm's own stem halves twice, which leaves 7 × 7 of 28 pixels to the first stage. A 3 × 3
    convolution as wide as that stage halves once, and leaves 14 × 14.
    """
    import timm

    stem = {"stem_type": "deep", "stem_width": channels[0] // 2}
    options = {"num_classes": num_classes, "channels": channels, "layers": layers}
    model = timm.create_model("resnet18", in_chans=1, **options, **stem)
    model.conv1 = nn.Conv2d(1, channels[0], 3, padding=1, bias=False)
    return model


CLASSICAL: dict[str, Callable[..., nn.Module]] = {
    net.__name__: net for net in (linear, mlp, lenet, small_resnet)
}
"""Networks below timm's smallest, by the architecture that zoo.json names; others are timm's."""


def build_image_classifier(entry: dict, classes: int) -> nn.Module:
    """An untrained classifier of an image zoo, [N, 1, size, size] → [N, classes].

    entry: the model in zoo.json.
    """
    if entry["architecture"] in CLASSICAL:
        return CLASSICAL[entry["architecture"]](classes, **entry["options"])
    import timm

    options = {"in_chans": 1, "num_classes": classes} | entry["options"]
    return timm.create_model(entry["architecture"], **options)


SCALE_SUFFIX = ".scale"
COUNTER = "num_batches_tracked"  # of BatchNorm


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights in a file, {name: float32 tensor}; ValueError naming a damaged one.

    It may hold matrices as int8, with ``name.scale`` [rows] beside them.
    """
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: its weights cannot be read: {error}") from None
    for name in [name for name in tensors if name + SCALE_SUFFIX in tensors]:
        tensors[name] = tensors[name].float() * tensors.pop(name + SCALE_SUFFIX)[:, None]
    return {name: value.float() for name, value in tensors.items()}


SPECIAL_TOKENS = {f"{kind}_token": f"[{kind.upper()}]" for kind in "pad unk cls sep mask".split()}


def build_text_classifier(entry: dict, zoo: dict) -> Any:
    """An untrained classifier of a text zoo, float32: of transformers, or the bag of words."""
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
    """``keys`` of a zoo's zoo.json.

    Raises FileNotFoundError where there is none, ValueError where it lacks one.
    """
    path = located(folder) / "zoo.json"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; it lists the models of a zoo (see {FOLDER})")
    try:
        zoo = read_json(path)
        return {key: zoo[key] for key in keys}
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a zoo with {', '.join(keys)} ({error!r})") from None


def list_bundled_names(folder: Path | str = FOLDER) -> list[str]:
    """The models of a zoo, as they stand in zoo.json.

    Empty in an installed package without the data.
    """
    return list(read_zoo(folder)["models"]) if (folder_of(folder) / "zoo.json").is_file() else []


def _weights_file(folder: Path | str, weights: str) -> Path:
    """The file of these weights, whether it is there or not."""
    return located(folder) / "weights" / f"{weights}.safetensors"


def bundled_models(folder: Path | str = FOLDER) -> pd.DataFrame:
    """List the models of the bundled zoo of images.

    Parameters
    ----------
    folder : Path or str
        With the zoo's ``zoo.json``.

    Returns
    -------
    DataFrame
        One row per model: family, architecture, size (pixels), weights (the name of a file, which
        several sizes may share), trained (whether that file is there).

    Raises
    ------
    FileNotFoundError
        Where there is no zoo.
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
        One of :func:`bundled_models`.
    folder : Path or str
        Of the zoo.

    Returns
    -------
    Model
        Its module turns [N, 1, size, size] into logits [N, classes].

    Raises
    ------
    ValueError
        For unknown names, and for weights that do not fit.
    FileNotFoundError
        For missing weights, naming the models that have theirs.
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
    """A trained model of the bundled text zoo, whose module gives ``.logits`` [N, classes].

    Raises as :func:`load_bundled`; of some models the logits are bundled, and not the weights.
    """
    zoo = read_zoo(folder, TEXT_ZOO)
    entry, path = _find_weights(name, zoo, folder)
    module = build_text_classifier(entry, zoo)
    shared: dict[str, torch.Tensor] = {}
    if entry["shared_embeddings"]:
        weight = module.get_input_embeddings().weight
        key = next(key for key, value in module.named_parameters() if value is weight)
        shared[key] = read_weights(path.parent / "embeddings.safetensors")["embeddings"]
    preprocessing = {"max_length": zoo["max_length"], "tokenizer": "tokenizer.json"}
    metadata = _load_weights(module, entry, path, preprocessing, shared)
    transform = Tokenized(_tokenizer(located(folder)), zoo["max_length"])
    return Model(name, module, transform, metadata)


@functools.lru_cache(maxsize=2)
def _tokenizer(folder: Path) -> Any:
    """The tokenizer of a text zoo."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **SPECIAL_TOKENS)


def _find_weights(name: str, zoo: dict, folder: Path | str) -> tuple[dict, Path]:
    """A model's entry in the zoo and the file of its weights."""
    entry = zoo["models"][known(name, zoo["models"], "model")]
    path = _weights_file(folder, entry["weights"])
    if not path.is_file():
        models = zoo["models"].items()
        there = [name for name, e in models if _weights_file(folder, e["weights"]).is_file()]
        raise FileNotFoundError(
            f"no weights {path} for model {name!r}; bundled are {there}; train.py makes the others"
        )
    return entry, path


def _load_weights(
    module: nn.Module,
    entry: dict,
    path: Path,
    preprocessing: dict,
    shared: Mapping[str, Any] | None = None,
    **size: int,
) -> dict[str, Any]:
    """Load weights into a module, strictly but for BatchNorm's counters, which no file has, and put
    it into eval mode; returns what the header of the logits says of the model.

    shared: {name: weights} that other models have as well, and this file has not.
    """
    counters = {key: value for key, value in module.state_dict().items() if key.endswith(COUNTER)}
    try:
        module.load_state_dict({**counters, **(shared or {}), **read_weights(path)})
    except RuntimeError as error:
        raise ValueError(f"{path}: its weights do not fit: {error}") from None
    module.eval()
    return {
        "family": entry["family"],
        "architecture": entry["architecture"],
        **size,
        "parameters": count_parameters(module),
        "checkpoint": {"name": entry["weights"], "sha256": file_digest(path)},
        "preprocessing": preprocessing,
    }
