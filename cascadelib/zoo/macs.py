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

from .batches import take_rows
from .forward import Positional, eval_mode
from .model import Model, unwrap_compiled
from .transforms import Tokenized

# Operations without a handle in fvcore that cost nothing or a few operations per element, such as
# activations, also in place ("add_"). All others without a handle are refused.
NAMES = Path(__file__).with_name("no-macs.txt").read_text(encoding="utf-8").split()
NO_MACS = {f"aten::{name}{end}" for name in NAMES for end in ("", "_")}


def _count_matmul(inputs: list, outputs: list) -> int:
    """Count output elements × contracted length, also for vectors and broadcasting."""
    return math.prod(get_shape(outputs[0]) or [1]) * get_shape(inputs[0])[-1]


def _count_einsum(inputs: list, outputs: list) -> int:
    """Count the product of all index lengths for two operands, which fvcore would round."""
    first, *others = inputs[0].toIValue().replace(" ", "").split("->")[0].split(",")
    shapes = [get_shape(value) for value in inputs[1].node().inputs()]
    if len(others) != 1 or "." in first + others[0]:
        return einsum_flop_jit(inputs, outputs)
    lengths = dict(zip(first + others[0], shapes[0] + shapes[1], strict=True))
    return math.prod(lengths.values())


def _count_attention(inputs: list, outputs: list) -> int:
    """Count QKᵀ and AV, which is heads · L · S · (E + Ev) per sample.

    The queries are [N, …, L, E], the keys [N, …, S, E] and the values [N, …, S, Ev].
    """
    query = get_shape(inputs[0])
    key = get_shape(inputs[1])
    output = get_shape(outputs[0])
    return math.prod(output[:-1]) * key[-2] * (query[-1] + output[-1])


def _count_convolution(inputs: list, outputs: list) -> int:
    """Count output positions × weights of a convolution whose padding is a word ("same")."""
    output = get_shape(outputs[0])
    weights = get_shape(inputs[1])  # [out, in / groups, …]
    return output[0] * math.prod(output[2:]) * math.prod(weights)


HANDLES = {
    "aten::_convolution_mode": _count_convolution,
    "aten::matmul": _count_matmul,
    "aten::einsum": _count_einsum,
    "aten::scaled_dot_product_attention": _count_attention,
    # 16 neighbours, by analogy with fvcore's 4 for bilinear.
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
        If fvcore has no formula for an operation that multiplies (a GRU, an LSTM, a fused kernel, a
        custom function). The message names the operation and the module. Such a module is refused
        and not undercounted.

    See Also
    --------
    extract : Store logits, MACs and measured seconds of models.

    Notes
    -----
    As in the paper, the number is fvcore's total. It counts one per multiply-add in convolutions,
    linear layers, matrix products, einsum and fused attention. It also includes fvcore's
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
    module = unwrap_compiled(module)
    keys = list(example_input) if isinstance(example_input, dict) else None
    first = _first_sample(example_input.values() if keys else example_input)
    scripted = [
        name or "itself"
        for name, part in module.named_modules()
        if isinstance(part, torch.jit.ScriptModule)
    ]
    if scripted:
        names = ", ".join(scripted[:3])
        reason = f"it holds TorchScript ({names}), which fvcore cannot see"
        raise ValueError(_format_refusal(module, reason))
    try:
        total, unknown = _trace(Positional(module, keys), first)
    except (AssertionError, IndexError, NotImplementedError, torch.jit.TracingCheckError) as error:
        raise ValueError(_format_refusal(module, f"fvcore fails on it ({error!r})")) from error
    refused = [f"{op} (in {place})" for op, place in unknown.items() if op not in NO_MACS]
    if refused:
        raise ValueError(_format_refusal(module, f"fvcore cannot count {', '.join(refused)}"))
    return total


def _first_sample(values: Any) -> tuple:
    """Return the first sample of a batch: one tensor, or several of the same length."""
    values = (values,) if isinstance(values, torch.Tensor) else tuple(values)
    are_batches = [
        isinstance(value, torch.Tensor) and value.ndim and len(value) for value in values
    ]
    if not values or not all(are_batches):
        raise ValueError(
            "example_input must be a tensor [N, …], or a tuple or dict of such tensors"
        )
    return take_rows(values, slice(0, 1), samples=len(values[0]))


def _trace(wrapped: Positional, values: tuple) -> tuple[int, dict[str, str]]:
    """Count the MACs of one sample and collect {operation without a formula: innermost module}."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fvcore cannot count the fused path
    try:
        with eval_mode(wrapped), torch.no_grad():
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


def _format_refusal(module: torch.nn.Module, reason: str) -> str:
    """Format the reason why MACs cannot be counted, with remedies."""
    return (
        f"the MACs of {type(module).__name__} cannot be counted: {reason}. Pass the count yourself "
        "(macs=…), build the model without fused kernels, or add a formula to "
        "cascadelib.zoo.macs.HANDLES."
    )


TOKEN_COUNTS = (8, 16, 24, 32)  # three lengths determine the formula, the fourth checks it


def compute_mean_macs(module: torch.nn.Module, transform: Tokenized, lengths: np.ndarray) -> float:
    """Compute the mean MACs per text at the texts' lengths, without padding.

    A transformer has a + b L + c L² MACs at L tokens, with c for attention. Raises ValueError if a
    module does not follow this formula, for example because it pools tokens.

    lengths: tokens of each text with special tokens, int [k].
    """
    tokenizer = transform.tokenizer
    numbers = (tokenizer.unk_token_id, tokenizer.eos_token_id, 5)
    number = next(i for i in numbers if i not in (None, tokenizer.pad_token_id))
    values = {"input_ids": number, "attention_mask": 1, "token_type_ids": 0}

    def count_at(tokens: int) -> int:
        text = {key: torch.full((1, tokens), values[key]) for key in transform.keys}
        return count_macs(module, text)

    counted = [count_at(n) for n in TOKEN_COUNTS]
    first, slope, bend, rest = (np.diff(counted, order)[0] for order in range(len(TOKEN_COUNTS)))
    if rest:
        raise ValueError(_format_refusal(module, "they are not a + b L + c L² at L tokens"))
    # Newton's forward differences, exact since divisors are powers of two
    x = lengths / TOKEN_COUNTS[0] - 1
    macs = np.rint(first + x * slope + x * (x - 1) / 2 * bend).astype(np.int64)
    return int(macs.sum()) / len(lengths)


def add_text_costs(
    model: Model, texts: Sequence, macs: float | None, lengths: dict[Tokenized, np.ndarray]
) -> tuple[Model, float | None]:
    """Add the lengths of texts to a model's metadata, and count its MACs unless they are given.

    The metadata gain ``tokens`` (mean per text after truncation) and ``truncated`` (number of
    truncated texts, with a warning). lengths: token counts of earlier calls. Returns (model, MACs).
    """
    transform = model.transform
    if not isinstance(transform, Tokenized):
        return model, macs
    limit = transform.max_length
    is_new = transform not in lengths
    if is_new:
        lengths[transform] = transform.lengths(texts)
    full_lengths = lengths[transform]
    truncated = int((full_lengths > limit).sum())
    if truncated and is_new:
        warnings.warn(
            f"{truncated} of {len(full_lengths)} texts have more than {limit} tokens "
            f"(the longest {full_lengths.max()}) and are truncated",
            stacklevel=3,
        )
    run_lengths = np.minimum(full_lengths, limit)
    macs = macs or compute_mean_macs(model.module, transform, run_lengths)
    counts = {"tokens": float(run_lengths.mean()), "truncated": truncated}
    return replace(model, metadata=model.metadata | counts), macs
