"""MACs of sequence classifiers at the lengths that the data has: no padding, attention counted."""

import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import torch

from .costs import count_macs
from .model import Model
from .texts import Texts
from .tokens import Tokenized

AT = (4, 8, 16, 32)  # tokens; three lengths settle the formula, the fourth checks it


def macs_at(module, transform: Tokenized, tokens: int) -> int:
    """MACs of one text of so many tokens, special ones included, by :func:`cascadelib.count_macs`."""
    tokenizer = transform.tokenizer
    number = next(
        i for i in (tokenizer.unk_token_id, tokenizer.eos_token_id, 5) if i not in (None, tokenizer.pad_token_id)
    )
    values = {"input_ids": number, "attention_mask": 1, "token_type_ids": 0}
    return count_macs(module, {key: torch.full((1, tokens), values[key]) for key in transform.keys})


def mean_macs(module, transform: Tokenized, lengths) -> float:
    """Mean MACs a text over token counts ``lengths`` int [k], each text at its own length without padding.

    A transformer takes a + b L + c L² at L tokens (c: attention). Three lengths give the formula, a fourth checks it;
    a module that does not follow it (one that pools tokens, say) is counted at every length that occurs.
    """
    counted = [macs_at(module, transform, n) for n in AT]
    formula = _through(AT[:3], counted[:3])
    occurring, times = np.unique(lengths, return_counts=True)
    if formula(AT[3]) == counted[3]:
        at = [formula(int(n)) for n in occurring]
    else:
        at = [macs_at(module, transform, int(n)) for n in occurring]
    return float(sum(m * int(t) for m, t in zip(at, times)) / len(lengths))


def _through(x, y):
    """The parabola through three points, exactly (Lagrange)."""
    (a, b, c), (u, v, w) = x, y

    def at(t):
        return (
            Fraction(u * (t - b) * (t - c), (a - b) * (a - c))
            + Fraction(v * (t - a) * (t - c), (b - a) * (b - c))
            + Fraction(w * (t - a) * (t - b), (c - a) * (c - b))
        )

    return at


def measured(models: list[Model], samples: Texts, macs: dict) -> tuple[list[Model], dict]:
    """Models with ``tokens`` (mean a text, as run) and ``truncated`` (texts cut) in their metadata, and MACs of all.

    macs: those that are given stay. Warns where texts are cut, with their number. Each tokenizer runs once.
    """
    lengths, found, costs = {}, [], dict(macs)
    for model in models:
        if not isinstance(model.transform, Tokenized):
            found.append(model)
            continue
        transform = model.transform
        if transform not in lengths:
            lengths[transform] = transform.lengths(samples.texts)
            _report_cut(lengths[transform], transform.max_length)
        whole = lengths[transform]
        run = np.minimum(whole, transform.max_length)
        counts = {"tokens": float(run.mean()), "truncated": int((whole > transform.max_length).sum())}
        found.append(replace(model, metadata=model.metadata | counts))
        if model.name not in costs:
            costs[model.name] = _counted(model, run)
    return found, costs


def _counted(model, lengths):
    try:
        return mean_macs(model.module, model.transform, lengths)
    except ValueError as error:
        raise ValueError(f"model {model.name!r}: {error}") from None


def _report_cut(lengths, limit):
    cut = int((lengths > limit).sum())
    if cut:
        warnings.warn(
            f"{cut} of {len(lengths)} texts have more than {limit} tokens (the longest {lengths.max()}) and are cut",
            stacklevel=4,
        )
