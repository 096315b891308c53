"""Weights on disk at a quarter of their size: matrices as int8 with one float32 scale a row, the rest as float16."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

SCALE = ".scale"


def packed(state: dict) -> dict:
    """{name: float tensor} → matrices rounded to int8 with ``name.scale`` [rows] beside them, the others to float16."""
    tensors = {}
    for name, value in state.items():
        value = value.detach().float()
        if value.ndim == 2:
            scale = value.abs().amax(1).clamp_min(1e-12) / 127
            tensors[name], tensors[name + SCALE] = (value / scale[:, None]).round().to(torch.int8), scale
        else:
            tensors[name] = value.half()
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def unpacked(tensors: dict) -> dict:
    """The float32 weights that :func:`packed` keeps; plain float16 and float32 tensors pass."""
    return {
        name: value.float() * tensors[name + SCALE][:, None] if name + SCALE in tensors else value.float()
        for name, value in tensors.items()
        if not name.endswith(SCALE)
    }


def write_weights(path: Path, state: dict, **metadata: str) -> None:
    """Write :func:`packed` weights as safetensors, whole or not at all."""
    new = path.with_suffix(".new")
    save_file(packed(state), new, metadata)
    new.chmod(0o644)  # safetensors makes files that only their owner reads
    new.replace(path)


def read_weights(path: Path) -> dict:
    """{name: float32 tensor} of a file of :func:`write_weights`. Raises ValueError naming a damaged file."""
    try:
        return unpacked(load_file(path))
    except SafetensorError as error:
        raise ValueError(f"{path}: its weights cannot be read: {error}") from None
