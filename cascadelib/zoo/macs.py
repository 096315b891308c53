"""Cost of a model per sample: multiply-accumulates (MACs), counted by fvcore."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import einsum_flop_jit, elementwise_flop_counter, get_shape

from .batches import rows_of
from .forward import Positional, inference_mode_of
from .model import Model, noted, original
from .transforms import Tokenized

# fvcore has no handle for these, and they multiply-accumulate nothing, or a few times per element,
# as activations and norms do, in place ("add_") or not. What is not here is refused.
NAMES = Path(__file__).with_name("no-macs.txt").read_text(encoding="utf-8").split()
NO_MACS = {f"aten::{name}{end}" for name in NAMES for end in ("", "_")}


def _matmul(inputs: list, outputs: list) -> int:
    """Output elements × contracted length; unlike fvcore's, right for vectors and broadcasting."""
    return math.prod(get_shape(outputs[0]) or [1]) * get_shape(inputs[0])[-1]


def _einsum(inputs: list, outputs: list) -> int:
    """Two operands: the product of all index lengths; fvcore's rounds. Others as fvcore."""
    first, *others = inputs[0].toIValue().replace(" ", "").split("->")[0].split(",")
    shapes = [get_shape(value) for value in inputs[1].node().inputs()]
    if len(others) != 1 or "." in first + others[0]:
        return einsum_flop_jit(inputs, outputs)
    lengths = dict(zip(first + others[0], shapes[0] + shapes[1], strict=True))
    return math.prod(lengths.values())


def _attention(inputs: list, outputs: list) -> int:
    """QKᵀ and AV: heads · L · S · (E + Ev) per sample.

    Queries [N, …, L, E], keys [N, …, S, E], values [N, …, S, Ev].
    """
    query = get_shape(inputs[0])
    key = get_shape(inputs[1])
    output = get_shape(outputs[0])
    return math.prod(output[:-1]) * key[-2] * (query[-1] + output[-1])


def _convolution(inputs: list, outputs: list) -> int:
    """As fvcore's, for a padding given as a word ("same"): output places × weights."""
    output = get_shape(outputs[0])
    weights = get_shape(inputs[1])  # [out, in / groups, …]
    return output[0] * math.prod(output[2:]) * math.prod(weights)


def _lstm(inputs: list, outputs: list) -> int:
    """Every weight matrix (gates, both directions, projections) once per step and sample."""
    shapes = [get_shape(value) for value in inputs[2].node().inputs()]
    matrices = sum(math.prod(shape) for shape in shapes if len(shape) == 2)
    return math.prod(get_shape(inputs[0])[:2]) * matrices


HANDLES = {
    "aten::_convolution_mode": _convolution,
    "aten::lstm": _lstm,
    "aten::matmul": _matmul,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    # Neighbours, as fvcore's 4 for bilinear.
    "aten::upsample_bicubic2d": elementwise_flop_counter(0, 16),
}


def count_macs(module: torch.nn.Module, example_input: Any) -> int:
    """Count the multiply-accumulates of a module for one sample, with fvcore.

    Parameters
    ----------
    module : torch.nn.Module
        Module to count. It runs in eval mode and is not changed.
    example_input : tensor, tuple of tensors or dict of tensors
        Input of shape (n, …). The first sample is traced.

    Returns
    -------
    int
        Multiply-accumulates per sample.

    Raises
    ------
    ValueError
        If fvcore has no formula for an operation that multiplies (a GRU, a fused kernel, a custom
        function). The message names the operation and the module. Such a module is refused and not
        undercounted.

    See Also
    --------
    extract : Store logits, MACs and measured seconds of models.

    Notes
    -----
    As in the paper, the number is fvcore's total. It counts one per multiply-add in convolutions,
    linear layers, matrix products, einsum, LSTMs and fused attention. It also includes fvcore's
    allowances for norms (batch norm 2 per element, layer and group norm 5), bilinear and bicubic
    upsampling (4 and 16 per output) and adaptive average pooling (1 per input). Biases,
    activations, other pooling, softmax and elementwise products count 0. Only the path that the
    example takes is counted.

    Examples
    --------
    >>> import torch
    >>> import cascadelib as cl
    >>> cl.count_macs(torch.nn.Linear(100, 10), torch.zeros(1, 100))
    1000
    """
    module = original(module)
    keys = list(example_input) if isinstance(example_input, dict) else None
    values: Any = example_input.values() if keys else example_input
    values = (values,) if isinstance(values, torch.Tensor) else tuple(values)
    if not values or not all(map(_is_batch, values)):
        raise ValueError(
            "example_input must be a tensor [N, …], or a tuple or dict of such tensors"
        )
    first = rows_of(values, slice(0, 1), samples=len(values[0]))
    scripted = [
        name or "itself"
        for name, part in module.named_modules()
        if isinstance(part, torch.jit.ScriptModule)
    ]
    if scripted:
        names = ", ".join(scripted[:3])
        reason = f"it holds TorchScript ({names}), which fvcore cannot see"
        raise ValueError(_refusal(module, reason))
    try:
        total, unknown = _traced(Positional(module, keys), first)
    except (AssertionError, IndexError, NotImplementedError, torch.jit.TracingCheckError) as error:
        raise ValueError(_refusal(module, f"fvcore fails on it ({error!r})")) from error
    refused = [f"{op} (in {place})" for op, place in unknown.items() if op not in NO_MACS]
    if refused:
        raise ValueError(_refusal(module, f"fvcore cannot count {', '.join(refused)}"))
    return total


def _is_batch(value: Any) -> bool:
    """Whether this is a tensor [N, …] with samples."""
    return isinstance(value, torch.Tensor) and value.ndim > 0 and len(value) > 0


def _traced(wrapped: Positional, values: tuple) -> tuple[int, dict[str, str]]:
    """MACs of one sample, and {operation without a formula: the innermost module}."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path hides its products from fvcore
    try:
        with inference_mode_of(wrapped), torch.no_grad():
            analysis = FlopCountAnalysis(wrapped, values).set_op_handle(**HANDLES)
            analysis.unsupported_ops_warnings(False)
            analysis.uncalled_modules_warnings(False)
            analysis.tracer_warnings("none")
            total = round(analysis.total())
            places = {}
            for name in analysis.by_module():
                for operation in analysis.unsupported_ops(name):
                    inner = name.removeprefix("module").lstrip(".")
                    places[operation] = inner or "the module itself"
            return total, {op: places[op] for op in analysis.unsupported_ops()}
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _refusal(module: torch.nn.Module, reason: str) -> str:
    """Why a module's MACs cannot be counted, and what helps."""
    return (
        f"the MACs of {type(module).__name__} cannot be counted: {reason}. Give the count yourself "
        "(macs=…), build the model without fused kernels, or add a formula to "
        "cascadelib.zoo.macs.HANDLES"
    )


AT = (8, 16, 24, 32)  # tokens; three lengths settle the formula, the fourth checks it


def mean_macs(module: torch.nn.Module, transform: Tokenized, lengths: np.ndarray) -> float:
    """Mean MACs per text, each at its own length without padding.

    A transformer takes a + b L + c L² at L tokens (c: attention); a module that does not follow it
    (one that pools tokens, say) is counted at every length that occurs.

    lengths: tokens of each text, special ones included, int [k].
    """
    tokenizer = transform.tokenizer
    numbers = (tokenizer.unk_token_id, tokenizer.eos_token_id, 5)
    number = next(i for i in numbers if i not in (None, tokenizer.pad_token_id))
    values = {"input_ids": number, "attention_mask": 1, "token_type_ids": 0}

    def at(tokens: int) -> int:
        text = {key: torch.full((1, tokens), values[key]) for key in transform.keys}
        return count_macs(module, text)

    counted = [at(n) for n in AT]
    first, slope, bend, rest = (np.diff(counted, order)[0] for order in range(len(AT)))
    if rest:
        occurring, place = np.unique(lengths, return_inverse=True)
        macs = np.array([at(n) for n in occurring.tolist()])[place]
    else:  # Newton's forward differences, exact: divided by powers of two
        x = lengths / AT[0] - 1
        macs = np.rint(first + x * slope + x * (x - 1) / 2 * bend).astype(np.int64)
    return int(macs.sum()) / len(lengths)


def with_text_costs(
    models: list[Model],
    texts: Sequence,
    macs: dict[str, float],
    failed: dict[str, Exception],
) -> tuple[list[Model], dict]:
    """Models with the lengths of texts in their metadata, and the MACs of all models.

    The metadata gain ``tokens`` (mean per text, as run) and ``truncated`` (texts that are cut,
    which is warned of). macs: those that are given stay. failed: as for :func:`noted`.
    """
    lengths: dict[Tokenized, np.ndarray] = {}
    found = []
    costs = dict(macs)
    for model in models:
        transform = model.transform
        if not isinstance(transform, Tokenized):
            found.append(model)
            continue
        limit = transform.max_length
        with noted(failed, model.name):
            known = transform in lengths
            if not known:
                lengths[transform] = transform.lengths(texts)
            whole = lengths[transform]
            truncated = int((whole > limit).sum())
            if truncated and not known:
                warnings.warn(
                    f"{truncated} of {len(whole)} texts have more than {limit} tokens "
                    f"(the longest {whole.max()}) and are cut",
                    stacklevel=3,
                )
            run = np.minimum(whole, limit)
            if model.name not in costs:
                costs[model.name] = mean_macs(model.module, transform, run)
            counts = {"tokens": float(run.mean()), "truncated": truncated}
            found.append(replace(model, metadata=model.metadata | counts))
    return found, costs
