"""The exit decision of a running cascade: the output after one more model, and what a cascade says in the end."""

from dataclasses import dataclass

import numpy as np
from numba import njit


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a cascade says of N samples.

    predictions int64 [N]: class, −1 where no model gave a finite output; exit_stage int64 [N]: 0 = first model, as in
    an :class:`~cascadelib.evaluation.Evaluation`; confidence float64 [N]: at the exit, in the metric's own units;
    confidences float64 [N, n]: at each stage, nan where a sample did not get there; broken int64 [n]: samples for
    which a model gave nan or infinite logits; guesses int64 [N, g]: the best classes, best first, as many as asked.
    """

    predictions: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    broken: np.ndarray
    guesses: np.ndarray | None = None

    def __len__(self):
        return len(self.predictions)

    def __repr__(self):
        left = np.bincount(self.exit_stage, minlength=self.confidences.shape[1]).tolist()
        return f"<Decisions: {len(self)} samples; so many left at each stage: {left}>"


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


@njit(nogil=True, cache=True)
def all_finite(logits):
    """Whether logits [N, classes] hold neither nan nor infinity."""
    for j in range(logits.shape[0]):
        for c in range(logits.shape[1]):
            if not np.isfinite(logits[j, c]):
                return False
    return True
