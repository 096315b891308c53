"""The models of an extraction: found by name or handed over, identified, probed for cost and output."""

import hashlib
from dataclasses import dataclass

import torch

from . import logit_files, zoo
from .costs import count_macs
from .feeding import described
from .forwarding import Precision, ready, timed_logits
from .logit_arrays import is_cost

PROBED = 32  # samples, on the CPU; a GPU needs a full batch to show its speed


@dataclass(frozen=True, eq=False)
class Candidate:
    """A model to extract, and what a probe on a few samples showed.

    ``run`` is all that decides its logits, as text and numbers; ``macs`` and ``seconds`` are per sample.
    """

    model: zoo.Model
    run: dict
    macs: float
    classes: int
    seconds: float
    image_size: int | None


def resolved(models) -> list[zoo.Model]:
    """What the user names or hands over → models; the one place where names are looked up.

    A name, names, or {name: module, (module, transform) or zoo.Model}. Raises ValueError naming what is none of these.
    """
    if isinstance(models, dict):
        found = [_handed_over(name, value) for name, value in models.items()]
    else:
        names = [models] if isinstance(models, str) else list(models)
        if len(set(names)) < len(names):
            raise ValueError(f"named more than once: {sorted({n for n in names if names.count(n) > 1})}")
        found = [zoo.load(name) for name in names]
    if not found:
        raise ValueError("no models to extract")
    for model in found:
        logit_files.file_name(model.name)  # a name that no file can have is refused before the run
    return found


def _handed_over(name, value) -> zoo.Model:
    if isinstance(value, zoo.Model):
        return zoo.Model(name, value.module, value.transform, value.metadata)
    module, transform = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
    if not isinstance(module, torch.nn.Module) or not (transform is None or callable(transform)):
        raise ValueError(f"model {name!r} must be a torch module or (module, transform), not {value!r}")
    return zoo.Model(name, module, transform, {"parameters": sum(p.numel() for p in module.parameters())})


def identity(model: zoo.Model) -> dict:
    """What tells a model from another of the same name: SHA-256 of its class and weights, and its transform.

    A transform is known by its repr; values that a function closes over do not show there.
    """
    digest = hashlib.sha256(type(model.module).__qualname__.encode())
    for key, value in sorted(model.module.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return {"weights_sha256": digest.hexdigest(), "transform": described(model.transform)}


def inputs_digest(samples) -> str:
    """SHA-256 of up to 64 evenly spread inputs: tells changed inputs from the same without reading all of them.

    A data set of other things than tensors has ``raw(row) -> bytes`` for it.
    """
    digest = hashlib.sha256()
    for row in sorted({round(i * (len(samples) - 1) / 63) for i in range(64)}):
        if hasattr(samples, "raw"):
            digest.update(hashlib.sha256(samples.raw(row)).digest())
            continue
        one = samples.batch(row, row + 1)
        if isinstance(one, torch.Tensor):
            one = one.detach().cpu().contiguous()
            digest.update(
                f"{one.dtype} {tuple(one.shape)}".encode() + one.reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    return digest.hexdigest()


def finished(store, model: zoo.Model, inputs: str | None = None) -> bool:
    """Whether ``store`` (or None) holds this very model's logits; a broken file counts as none.

    inputs: :func:`inputs_digest` of the samples, compared with the recorded one where there is one. Raises
    ValueError where the store holds another model of that name, or the same one on other inputs.
    """
    if store is None or model.name not in store.models.index:
        return False
    recorded = store.metadata(model.name).get("extraction") or {}
    differing = [key for key, value in identity(model).items() if recorded.get(key) != value]
    if inputs is not None and recorded.get("inputs", inputs) != inputs:
        differing.append("inputs")
    if differing:
        raise ValueError(
            f"the store {store.path} holds another {model.name!r} (other {' and '.join(differing)}); "
            "pass replace=True to extract it anew, or give this one another name"
        )
    return True


def probed(model: zoo.Model, prepare, precision: Precision, run: dict, macs: float | None, most: dict) -> Candidate:
    """Count the model's MACs (unless given) and time it on the first samples, once they have warmed it up.

    prepare: transform → the input that it makes of those samples; most: see :func:`forwarding.timed_logits`.
    """
    with ready(model.module, precision.device):
        inputs = prepare(model.transform)
        try:
            macs = macs or count_macs(model.module, inputs)
        except ValueError as error:
            raise ValueError(f"model {model.name!r}: {error}") from None
        with torch.inference_mode():
            timed_logits(model.name, model.module, inputs, precision, most)
            logits, seconds = timed_logits(model.name, model.module, inputs, precision, most)
    if not is_cost(macs):
        raise ValueError(f"model {model.name!r}: fvcore counts {macs} MACs; pass macs={{{model.name!r}: …}}")
    size = inputs.shape[-1] if isinstance(inputs, torch.Tensor) and inputs.ndim == 4 else None
    return Candidate(model, run | identity(model), macs, logits.shape[1], seconds, size)
