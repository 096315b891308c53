"""Load timm's image classifiers from the Hub or from a local checkpoint."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import timm
import torch
from timm.data import resolve_data_config
from timm.models import (
    get_arch_pretrained_cfgs,
    get_deprecated_models,
    get_pretrained_cfg,
    is_model,
)
from timm.utils.model import reparameterize_model

from ..checks import split_size, timm_name
from ..files import file_digest, read_json
from ..hub import cached_revision, check_reachable, weights_only
from .model import Model, count_parameters, count_weight_bytes
from .transforms import Cut, Photos

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
ENDINGS = tuple(".safetensors .pth .pt .bin .pth.tar".split())
PREPROCESSING = set(
    "input_size test_input_size interpolation crop_pct test_crop_pct crop_mode mean std".split()
)
# Old names that timm (1.0.31) maps to a network of another width.
CORRECTED = {
    "ig_resnext101_32x16d": "resnext101_32x16d.fb_wsl_ig1b_ft_in1k",
    "ig_resnext101_32x32d": "resnext101_32x32d.fb_wsl_ig1b_ft_in1k",
}


def is_timm_model(name: str) -> bool:
    """Return whether timm has this architecture, also under a newer name. "@288" is ignored."""
    base = split_size(name)[0]
    return "/" not in base and is_model(base)


def find_current_name(name: str) -> str:
    """Find the current name, with tag, of a model that timm may have renamed.

    A name without a tag gets timm's default tag, or the first tag with ImageNet's 1,000 classes if
    the default has others. This may be another checkpoint than in earlier versions of timm.
    """
    name = timm_name(name)
    name = CORRECTED.get(name, name)
    name = get_deprecated_models().get(name) or name
    cfg = get_pretrained_cfg(name, allow_unregistered=True)
    if cfg is not None and cfg.num_classes != 1000 and "." not in name:
        cfg = next(
            (c for c in get_arch_pretrained_cfgs(name).values() if c.num_classes == 1000), cfg
        )
    return f"{cfg.architecture}.{cfg.tag}" if cfg and cfg.tag else name


@weights_only()
def build_timm_model(name: str, size: int | None = None, **options: Any) -> torch.nn.Module:
    """Build the module of a timm model in eval mode.

    size: pixels, by default those of the model. options: as for ``timm.create_model``. Raises
    ValueError if the model cannot run at this size.
    """
    current = find_current_name(name)
    config = get_pretrained_cfg(current, allow_unregistered=True)
    fixed = config is not None and config.fixed_input_size
    if size is None or not fixed or size == config.input_size[-1]:
        return timm.create_model(current, **options).eval()
    try:
        return timm.create_model(current, img_size=size, **options).eval()
    except (TypeError, AssertionError, ValueError) as error:
        raise ValueError(f"model {name!r} cannot run at {size} pixels: {error}") from None


def load_timm_model(
    name: str,
    checkpoint: Path | str | None = None,
    size: int | str = "test",
    revision: str | None = None,
    classes: int = 1000,
) -> Model:
    """Load a timm classifier of photographs.

    Parameters
    ----------
    name : str
        "resnet50.a1_in1k", "resnet50" (with timm's default tag), "resnet50@288" (at 288 pixels), or
        the name on the Hub, "timm/resnet50.a1_in1k".
    checkpoint : Path or str, optional
        Local file or folder. A folder has ``NAME.safetensors`` (or .pth, .pt, .bin) or a folder
        NAME with ``model.safetensors``. NAME has no size and may have a tag. By default the weights
        are read from the Hub or its cache.
    size : int or {"test", "train"}, default="test"
        Image size in pixels. "test" is the size at which timm evaluates. A size in the name has
        precedence.
    revision : str, optional
        Revision of the Hub's repository. It is recorded, like size and preprocessing.
    classes : int, default=1000
        Number of classes of a local checkpoint.

    Returns
    -------
    Model
        The model with its preprocessing.

    Raises
    ------
    ValueError
        If the tag is unknown or the checkpoint does not fit.
    FileNotFoundError
        If the checkpoint is missing.
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.
    """
    base, pixels = split_size(name)
    size = pixels or size
    fixed_size = size if isinstance(size, int) else None
    if checkpoint is None:
        module, source = _load_pretrained(base, fixed_size, revision)
    else:
        path = _find_checkpoint(base, Path(checkpoint))
        module, source = _load_checkpoint(base, path, fixed_size, classes)
    # Merge parallel branches and norms into convolutions (RepVGG, MobileOne, LeViT …).
    module = reparameterize_model(module, inplace=True)
    transform = build_photo_transform(module, size)
    preprocessing = asdict(transform.cut) | {
        "mean": transform.mean,
        "std": transform.std,
        "size_from": size if isinstance(size, str) else "requested",
    }
    metadata = {
        "family": find_family(base),
        "architecture": module.pretrained_cfg.get("architecture") or base,
        "image_size": transform.cut.size[-1],
        "parameters": count_parameters(module),
        "checkpoint": source,
        "preprocessing": preprocessing,
    }
    return Model(name, module, transform, metadata)


def measure_timm_model(name: str) -> int:
    """Return the bytes of a timm model's weights. It is built on the meta device, without them."""
    base, size = split_size(name)
    with torch.device("meta"):
        return count_weight_bytes(build_timm_model(base, size))


def find_family(name: str) -> str:
    """Return the timm module that defines a model, such as "efficientnet"."""
    architecture = timm.models.get_arch_name(find_current_name(name))
    return timm.models._registry._model_to_module.get(architecture, "timm")


def build_photo_transform(module: torch.nn.Module, size: int | str) -> Photos:
    """Build the preprocessing of a module's config.

    size: "test", "train", or pixels.
    """
    options = {"img_size": size} if isinstance(size, int) else {}
    config = resolve_data_config(options, model=module, use_test_size=size == "test")
    cut = Cut(
        tuple(config["input_size"][1:]),
        config["interpolation"],
        config["crop_pct"],
        config["crop_mode"],
    )
    return Photos(cut, tuple(config["mean"]), tuple(config["std"]))


def _load_pretrained(name: str, size: int | None, revision: str | None) -> tuple[Any, dict]:
    """Load a module with weights from the Hub or its cache, and describe their source."""
    try:
        current = find_current_name(name)
        cfg = get_pretrained_cfg(current, allow_unregistered=True)
    except RuntimeError as error:
        tags = timm.list_models(f"{timm.models.get_arch_name(name)}.*", pretrained=True)
        raise ValueError(f"model {name!r}: {error} Known: {', '.join(tags)}") from None
    if cfg is None or not cfg.has_weights:
        raise ValueError(
            f"timm has no pretrained weights for {name!r}. Pass a local file as checkpoint=…"
        )
    repository = cfg.hf_hub_id or ""
    source = repository or cfg.url

    def find_revision() -> str | None:
        return cached_revision(repository, *WEIGHTS, revision=revision) if repository else None

    cached = bool(cfg.file or find_revision())
    remedy = "pass a local file or folder as checkpoint=…"
    check_reachable(f"model {name!r} ({source})", cached, remedy)
    overlay = {"hf_hub_id": f"{repository}@{revision}"} if revision else None
    module = build_timm_model(name, size, pretrained=True, pretrained_cfg_overlay=overlay)
    return module, {"name": current, "source": source, "revision": find_revision()}


def _find_checkpoint(name: str, path: Path) -> Path:
    """Find the file with a model's weights: the path itself, or a file below a folder."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise FileNotFoundError(f"no checkpoint {path} for model {name!r}")
    stems = dict.fromkeys([name, find_current_name(name), timm.models.get_arch_name(name)])
    tried = [path / f"{stem}{ending}" for stem in stems for ending in ENDINGS]
    tried += [path / folder / file for folder in ("", *stems) for file in WEIGHTS]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"no checkpoint for model {name!r} in {path}, which should have {tried[0].name}, "
        f"{tried[-2]} …"
    )


def _load_checkpoint(name: str, path: Path, size: int | None, classes: int) -> tuple[Any, dict]:
    """Load a module with weights from a local file, and describe their source.

    A timm ``config.json`` next to the file has the preprocessing and the number of classes.
    """
    config_path = path.parent / "config.json"
    preprocessing = {}
    if config_path.is_file():
        try:
            config = read_json(config_path)
            items = config["pretrained_cfg"].items()
            preprocessing = {key: value for key, value in items if key in PREPROCESSING}
            classes = config["num_classes"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{config_path}: not a timm model's config with pretrained_cfg and num_classes "
                f"({error!r})"
            ) from None
    overlay = preprocessing | {
        "file": str(path),
        "hf_hub_id": None,
        "url": "",
        "custom_load": False,
        "num_classes": classes,
    }
    try:
        module = build_timm_model(
            name, size, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=classes
        )
    except Exception as error:  # torch, pickle and safetensors raise different types
        reason = " ".join(str(error).split())[:400]
        raise ValueError(
            f"{path}: the weights do not fit model {name!r} or cannot be read: {reason}"
        ) from None
    return module, {"name": path.name, "source": "local file", "sha256": file_digest(path)}
