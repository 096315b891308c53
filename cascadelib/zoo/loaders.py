"""Load models by name from the bundled zoo, timm or transformers."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from ..checks import items_of, validate_choice
from ..files import REVIEWS, file_name
from .bundled import FOLDER, list_bundled_names, load_bundled, load_bundled_text_model
from .model import Model, count_parameters, count_weight_bytes


def load(name: str, folder: Path | str = FOLDER, anywhere: bool = True, **options: Any) -> Model:
    """Load a bundled model, a timm model or a transformers model by name.

    The name is looked up in this order.

    Parameters
    ----------
    name : str
        Name in the bundled zoos, name of a timm model such as "resnet50.a1_in1k", or folder or Hub
        repository of a transformers model.
    folder : Path or str, default="data/fashion-mnist"
        Folder of the bundled image models.
    anywhere : bool, default=True
        Whether transformers models are allowed. Their folder or repository may have any author.
    **options
        Options of the loader. timm models have ``checkpoint``, ``size``, ``revision`` and
        ``classes``. Image classifiers of transformers have ``revision``, sequence
        classifiers ``revision`` and ``max_length``. Bundled models have none.

    Returns
    -------
    Model
        The model in eval mode with its preprocessing and metadata.

    Raises
    ------
    ValueError
        If the name is unknown or the weights do not fit.
    FileNotFoundError
        If a checkpoint is missing.
    ConnectionError
        If the Hub is needed and does not answer. It is raised without retries.

    See Also
    --------
    bundled_models : List the bundled image models.
    extract : Run models on a data set, by name.

    Examples
    --------
    >>> import cascadelib as cl
    >>> cl.zoo.load("mlp@28").metadata["parameters"]
    50890
    """
    loader, _ = find_loader(name, folder, anywhere)
    return loader(name, **options)


def find_loader(
    name: str, folder: Path | str = FOLDER, anywhere: bool = True
) -> tuple[Callable[..., Model], Callable[[str], int] | None]:
    """Return (function that loads this model, function that returns the bytes of its weights).

    There is no second function for models whose weights are known only after they are loaded.
    """
    # An installed package has no bundled zoo, but can load timm's models.
    images = list_bundled_names(folder)
    texts = list_bundled_names(REVIEWS)
    if name in images:
        return partial(load_bundled, folder=folder), None
    if name in texts:
        return load_bundled_text_model, None
    # These imports take seconds. Models of one library do not need the other.
    if find_spec("timm"):
        from . import timm_models

        if timm_models.is_timm_model(name):
            return timm_models.load_timm_model, timm_models.measure_timm_model
    if anywhere:
        from . import transformers_models

        if transformers_models.is_sequence_classifier(name):
            return transformers_models.load_sequence_classifier, None
        if transformers_models.is_transformers_model(name):  # any "owner/name"
            return transformers_models.load_image_model, None
    import timm

    validate_choice(name, [*images, *texts, *timm.list_models(pretrained=True)], "model")
    raise AssertionError(f"{name!r} is listed, but has no loader")


@dataclass(frozen=True, eq=False)
class Source:
    """Describe a model that :func:`extract` loads when it needs it.

    Parameters
    ----------
    name : str
        Name of the model in the store.
    load : callable
        Function without arguments that returns a :class:`Model`. It is called again if the model
        was released.
    weights : int, default=0
        Bytes of the weights. 0 means that they are unknown until the model is loaded.
    is_loaded : bool, default=False
        Whether the caller has loaded the module, so that releasing it frees no memory.

    See Also
    --------
    load : Load a model by name.
    extract : Run models on a data set.

    Examples
    --------
    >>> import cascadelib as cl
    >>> source = cl.zoo.Source("perceptron", lambda: cl.zoo.load("mlp@28"), 203_560)
    >>> source.load().metadata["parameters"]
    50890
    """

    name: str
    load: Callable[[], Model]
    weights: int = 0
    is_loaded: bool = False


def list_sources(models: Any) -> list[Source]:
    """List the requested models with their sizes, without loading them.

    models: a name, names or sources, or {name: module, (module, transform) or :class:`Model`}.
    Raises ValueError if an entry is not a model.
    """
    if isinstance(models, dict):
        found = []
        for name, value in models.items():
            model = as_model(name, value)
            size = count_weight_bytes(model.module)
            found.append(Source(name, partial(as_model, name, value), size, is_loaded=True))
    else:
        items = items_of(models)
        names = [getattr(item, "name", item) for item in items]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"named more than once: {repeated}")
        found = [item if isinstance(item, Source) else find_source(item) for item in items]
    if not found:
        raise ValueError("no models to extract")
    for source in found:
        file_name(source.name)  # refuses names that no file can have, before the run
    return found


def find_source(name: str, **options: Any) -> Source:
    """Return the source of a model that :func:`load` loads with these arguments.

    Raises ValueError if the name is unknown.
    """
    loader, measure = find_loader(name)
    weights = 0
    if measure is not None:
        with suppress(Exception):  # loading explains what is invalid
            weights = measure(name)
    return Source(name, partial(loader, name, **options), weights)


def find_sources(names: Any, **local: Any) -> list[Source]:
    """Return the sources of models. Those of timm are loaded with these options of its loader.

    Raises ValueError if a name is unknown.
    """
    from .timm_models import is_timm_model

    return [find_source(name, **(local if is_timm_model(name) else {})) for name in names]


def as_model(name: str, value: Any) -> Model:
    """Return a module, (module, transform) or :class:`Model` as a model of this name."""
    if isinstance(value, Model):
        return replace(value, name=name)
    module, transform = split_transform(value)
    if not isinstance(module, torch.nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(
            f"model {name!r} must be a torch module or (module, transform), not {value!r}"
        )
    return Model(name, module, transform, {"parameters": count_parameters(module)})


def split_transform(value: Any) -> tuple[Any, Any]:
    """Return (module, transform) of a pair, or (module, None) of a module."""
    return value if isinstance(value, tuple) and len(value) == 2 else (value, None)
