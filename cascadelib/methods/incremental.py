"""The exit decision of a running cascade: the output after one more model, and what a cascade says in the end."""

import numpy as np

from .kernels import all_finite


def output_after(method, temperature, logits, before=None, place=(0, 1), guesses=1):
    """The cascade's output after one more model, and whose logits are nan or infinite: (Output, bool [N] or None).

    method: a :class:`Method`; temperature: this model's; logits float [N, classes]; before: the Output after the
    models so far; place: this model's position, and how many there are; guesses: how many of the best classes are
    wanted. A model without finite logits for a sample does not count for it: its output stays as before.
    """
    ensemble, metric = method.combination, method.rule
    if before is None:
        before = ensemble.nothing(*logits.shape, place[1], guesses)
    if all_finite(logits):
        return ensemble.after(metric, temperature, logits, before, place[0]), None
    broken = ~np.isfinite(logits).all(axis=1)
    fresh = ensemble.after(metric, temperature, np.where(broken[:, None], 0, logits), before, place[0])
    return fresh.where(broken, before), broken
