"""Cost of a model a sample: multiply-accumulates (MACs) counted by fvcore, and measured seconds."""

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

from .forward import Positional, inference_mode_of, piece_of
from .model import Model, noted, original
from .transforms import Tokenized

# fvcore has no handle for these, and they multiply-accumulate nothing, or a few times an element as activations and
# norms do, in place ("add_") or not. What is not here is refused.
NAMES = Path(__file__).with_name("no-macs.txt").read_text(encoding="utf-8").split()
NO_MACS = {f"aten::{name}{end}" for name in NAMES for end in ("", "_")}


def _matmul(inputs, outputs):
    """Output elements × contracted length; unlike fvcore's, right for vectors and for a broadcast left side."""
    return math.prod(get_shape(outputs[0]) or [1]) * get_shape(inputs[0])[-1]


def _einsum(inputs, outputs):
    """Two operands: the product of all index lengths; fvcore's rounds to four digits. Others as fvcore."""
    left, *right = inputs[0].toIValue().replace(" ", "").split("->")[0].split(",")
    shapes = [get_shape(v) for v in inputs[1].node().inputs()]
    if len(right) != 1 or "." in left + right[0]:
        return einsum_flop_jit(inputs, outputs)
    return math.prod(dict(zip(left + right[0], shapes[0] + shapes[1], strict=True)).values())


def _attention(inputs, outputs):
    """QKᵀ and AV: heads · L · S · (E + Ev) a sample; queries [N, …, L, E], keys [N, …, S, E], values [N, …, S, Ev]."""
    query, key, output = get_shape(inputs[0]), get_shape(inputs[1]), get_shape(outputs[0])
    return math.prod(output[:-1]) * key[-2] * (query[-1] + output[-1])


def _convolution(inputs, outputs):
    """As fvcore's, for a padding given as a word ("same"): output places × weights, [out, in / groups, …]."""
    output = get_shape(outputs[0])
    return output[0] * math.prod(output[2:]) * math.prod(get_shape(inputs[1]))


def _lstm(inputs, outputs):
    """Every weight matrix (gates, both directions, projections) once a step: steps · batch · their elements."""
    shapes = [get_shape(value) for value in inputs[2].node().inputs()]
    return math.prod(get_shape(inputs[0])[:2]) * sum(
        math.prod(shape) for shape in shapes if len(shape) == 2
    )


HANDLES = {
    "aten::_convolution_mode": _convolution,
    "aten::lstm": _lstm,
    "aten::matmul": _matmul,
    "aten::einsum": _einsum,
    "aten::scaled_dot_product_attention": _attention,
    "aten::upsample_bicubic2d": elementwise_flop_counter(
        0, 16
    ),  # neighbours, as fvcore's 4 for bilinear
}


def count_macs(module: torch.nn.Module, example_input: Any) -> int:
    """Multiply-accumulates of ``module`` for ONE sample, by fvcore's ``FlopCountAnalysis(…).total()``.

    example_input: tensor [N, …], or a tuple or dict of keywords of such, of which the first sample is traced, in eval
    mode. ValueError names the operation and the module where fvcore has no formula for an operation that multiplies (a
    GRU, a fused kernel, a custom function): it is refused, not undercounted.

    As in the paper, the number is fvcore's total: one a multiply-add in convolutions, linear layers, matrix products,
    einsum, LSTMs and fused attention; and its allowances for norms (batch norm 2 an element, layer and group norm 5),
    bilinear and bicubic upsampling (4 and 16 an output) and adaptive average pooling (1 an input). Biases, activations,
    other pooling, softmax and elementwise products count nothing. The path that the example takes is counted.
    """
    keys, module = (
        list(example_input) if isinstance(example_input, dict) else None,
        original(module),
    )
    one = isinstance(example_input, torch.Tensor)
    values = (example_input,) if one else tuple(example_input.values() if keys else example_input)
    if not values or not all(isinstance(v, torch.Tensor) and v.ndim and len(v) for v in values):
        raise ValueError(
            "example_input must be a tensor [N, …], or a tuple or dict of such tensors"
        )
    scripted = [
        n or "itself" for n, m in module.named_modules() if isinstance(m, torch.jit.ScriptModule)
    ]
    if scripted:
        raise ValueError(
            _refusal(
                module, f"it holds TorchScript ({', '.join(scripted[:3])}), which fvcore cannot see"
            )
        )
    fast, wrapped = torch.backends.mha.get_fastpath_enabled(), Positional(module, keys)
    torch.backends.mha.set_fastpath_enabled(False)  # the fused path hides its products from fvcore
    try:
        with inference_mode_of(wrapped), torch.no_grad():
            analysis = FlopCountAnalysis(wrapped, piece_of(values, 0, 1)).set_op_handle(**HANDLES)
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(
                False
            ).tracer_warnings("none")
            total, unknown = analysis.total(), analysis.unsupported_ops()
            places = {
                op: name for name in analysis.by_module() for op in analysis.unsupported_ops(name)
            }
    except (AssertionError, IndexError, NotImplementedError, torch.jit.TracingCheckError) as error:
        raise ValueError(_refusal(module, f"fvcore fails on it ({error!r})")) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    places = {
        op: name.removeprefix("module").lstrip(".") or "the module itself"
        for op, name in places.items()
    }
    refused = [f"{op} (in {places[op]})" for op in unknown if op not in NO_MACS]
    if refused:
        raise ValueError(_refusal(module, f"fvcore cannot count {', '.join(refused)}"))
    return round(total)


def _refusal(module, reason):
    return (
        f"the MACs of {type(module).__name__} cannot be counted: {reason}. Give the count yourself (macs=…), build the "
        "model without fused kernels, or add a formula to cascadelib.zoo.macs.HANDLES"
    )


AT = (8, 16, 24, 32)  # tokens; three lengths settle the formula, the fourth checks it


def mean_macs(module: torch.nn.Module, transform: Tokenized, lengths: np.ndarray) -> float:
    """Mean MACs a text over token counts ``lengths`` int [k] with special ones, each text at its own without padding.

    A transformer takes a + b L + c L² at L tokens (c: attention); a module that does not follow it (one that pools
    tokens, say) is counted at every length that occurs.
    """
    tokenizer = transform.tokenizer
    numbers = (tokenizer.unk_token_id, tokenizer.eos_token_id, 5)
    number = next(i for i in numbers if i not in (None, tokenizer.pad_token_id))
    values = {"input_ids": number, "attention_mask": 1, "token_type_ids": 0}

    def at(tokens):
        return count_macs(
            module, {key: torch.full((1, tokens), values[key]) for key in transform.keys}
        )

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
    models: list[Model], texts: Sequence, macs: dict[str, float], failed: dict[str, Exception]
) -> tuple[list[Model], dict]:
    """Models with ``tokens`` (mean a text, as run) and ``truncated`` (texts cut) in their metadata, and MACs of all.

    macs: those that are given stay. failed: as for :func:`noted`. Warns where texts are cut, with their number.
    """
    lengths: dict[Tokenized, np.ndarray] = {}
    found, costs = [], dict(macs)
    for model in models:
        transform = model.transform
        if not isinstance(transform, Tokenized):
            found.append(model)
            continue
        with noted(failed, model.name):
            limit = transform.max_length
            if transform not in lengths:
                whole = lengths[transform] = transform.lengths(texts)
                if (whole > limit).any():
                    more = f"have more than {limit} tokens (the longest {whole.max()}) and are cut"
                    warnings.warn(
                        f"{(whole > limit).sum()} of {len(whole)} texts {more}", stacklevel=3
                    )
            run = np.minimum(lengths[transform], limit)
            counts = {
                "tokens": float(run.mean()),
                "truncated": int((lengths[transform] > limit).sum()),
            }
            if model.name not in costs:
                costs[model.name] = mean_macs(model.module, transform, run)
            found.append(replace(model, metadata=model.metadata | counts))
    return found, costs
