"""From a model's name to its module and preprocessing: the bundled zoo, timm, or transformers."""

import torch

from ..checks import known
from ..files import file_name, folder_of
from .bundled import (
    FOLDER,
    _catalogue,
    bundled_text_models,
    is_bundled_text_model,
    load_bundled,
    load_bundled_text_model,
)
from .model import Model


def load(name: str, folder=FOLDER, **options) -> Model:
    """The model of that name: of the bundled zoo in ``folder`` or of texts, else of timm, else of transformers.

    options go to the loader that knows the name: :func:`load_timm_model` (checkpoint, size, revision, classes),
    :func:`load_image_model` (revision), :func:`load_sequence_classifier` (revision, max_length); bundled ones: none.
    Raises ValueError for unknown names and for weights that do not fit, FileNotFoundError for missing ones,
    ConnectionError where the Hub is needed and does not answer.
    """
    # An installed package has no bundled zoo; what timm and the Hub have can be loaded there all the same.
    bundled_names = list(_catalogue(folder)[1]["models"]) if (folder_of(folder) / "zoo.json").is_file() else []
    if name in bundled_names:
        return load_bundled(name, folder, **options)
    if is_bundled_text_model(name):
        return load_bundled_text_model(name, **options)
    from . import timm_models, transformers_models  # seconds each, which a bundled model does not need

    for knows, loader in (
        (timm_models.is_timm_model, timm_models.load_timm_model),
        (transformers_models.is_sequence_classifier, transformers_models.load_sequence_classifier),
        (transformers_models.is_transformers_model, transformers_models.load_image_model),
    ):
        if knows(name):
            return loader(name, **options)
    return known(name, [*bundled_names, *bundled_text_models(), *timm_models.pretrained_names()], "model")


def resolved(models) -> list[Model]:
    """What the user names or hands over → models; the one place where names are looked up.

    A name, names, or {name: module, (module, transform) or Model}. Raises ValueError naming what is none of these.
    """
    if isinstance(models, dict):
        found = [_handed_over(name, value) for name, value in models.items()]
    else:
        names = [models] if isinstance(models, str) else list(models)
        if len(set(names)) < len(names):
            raise ValueError(f"named more than once: {sorted({n for n in names if names.count(n) > 1})}")
        found = [load(name) for name in names]
    if not found:
        raise ValueError("no models to extract")
    for model in found:
        file_name(model.name)  # a name that no file can have is refused before the run
    return found


def _handed_over(name, value) -> Model:
    if isinstance(value, Model):
        return Model(name, value.module, value.transform, value.metadata)
    module, transform = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(module, torch.nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(f"model {name!r} must be a torch module or (module, transform), not {value!r}")
    return Model(name, module, transform, {"parameters": sum(p.numel() for p in module.parameters())})
