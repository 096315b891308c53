"""From a model's name to its module and preprocessing: the bundled zoo, timm, or transformers."""

from pathlib import Path
from typing import Any

import torch

from ..checks import items_of, known
from ..files import REVIEWS, file_name
from .bundled import FOLDER, list_bundled_names, load_bundled, load_bundled_text_model
from .model import Model, count_parameters


def load(name: str, folder: Path | str = FOLDER, anywhere: bool = True, **options: Any) -> Model:
    """Load a model by name: a bundled one, else timm's, else one of transformers.

    Parameters
    ----------
    name : str
    folder : Path or str
        Of the bundled zoo of images.
    anywhere : bool
        Whether to ask transformers, too: a folder or a repository of the Hub may be anybody's.
    **options
        For timm: checkpoint, size, revision, classes (:func:`load_timm_model`); for an image
        classifier of transformers: revision (:func:`load_image_model`); for a sequence classifier:
        revision, max_length (:func:`load_sequence_classifier`); for a bundled model: none.

    Returns
    -------
    Model

    Raises
    ------
    ValueError
        For unknown names, and for weights that do not fit.
    FileNotFoundError
        For a missing checkpoint.
    ConnectionError
        At once, where the Hub is needed and does not answer.
    """
    # An installed package has no bundled zoo; timm's models can be loaded there all the same.
    images = list_bundled_names(folder)
    texts = list_bundled_names(REVIEWS)
    if name in images:
        return load_bundled(name, folder, **options)
    if name in texts:
        return load_bundled_text_model(name, **options)
    # These take seconds, and a bundled model does not need them; timm's do without transformers.
    import timm

    from . import timm_models

    if timm_models.is_timm_model(name):
        return timm_models.load_timm_model(name, **options)
    if anywhere:
        from . import transformers_models

        if transformers_models.is_sequence_classifier(name):
            return transformers_models.load_sequence_classifier(name, **options)
        if transformers_models.is_transformers_model(name):  # any "owner/name"
            return transformers_models.load_image_model(name, **options)
    known(name, [*images, *texts, *timm.list_models(pretrained=True)], "model")
    raise AssertionError(f"{name!r} is listed, and no loader knows it")


def resolve_models(models: Any) -> list[Model]:
    """The models that a user asks for; ValueError naming what is none.

    models: a name, names, or {name: module, (module, transform) or :class:`Model`}.
    """
    if isinstance(models, dict):
        found = [_convert_to_model(name, value) for name, value in models.items()]
    else:
        names = items_of(models)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"named more than once: {repeated}")
        found = [load(name) for name in names]
    if not found:
        raise ValueError("no models to extract")
    for model in found:
        file_name(model.name)  # a name that no file can have is refused before the run
    return found


def split_transform(value: Any) -> tuple[Any, Any]:
    """(module, transform) as they were handed over; None: no transform."""
    return value if isinstance(value, tuple) and len(value) == 2 else (value, None)


def _convert_to_model(name: str, value: Any) -> Model:
    """A Model of what was handed over under a name; ValueError where it is no model."""
    if isinstance(value, Model):
        return Model(name, value.module, value.transform, value.metadata)
    module, transform = split_transform(value)
    if not isinstance(module, torch.nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(
            f"model {name!r} must be a torch module or (module, transform), not {value!r}"
        )
    return Model(name, module, transform, {"parameters": count_parameters(module)})
