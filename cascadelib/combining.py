"""Ensembles that look at the outputs of all models run so far: plurality vote, and a user's own function."""

import numpy as np

from .confidence import CHUNK, confidence
from .logit_arrays import ranks_of


def vote(votes, sure):
    """Plurality vote of n models: (class int64 [k], confidence float64 [k]) for votes int [n, k], sure float [n, k].

    The class with most votes wins; a tie goes to the class of the surest voter among those tied. The confidence is that
    of the surest model that voted for the winner; of equally sure models the earlier (cheaper) counts. With two models
    this is the most confident of them.
    """
    count = sum((votes == own).astype(np.int64) for own in votes)
    speaker = np.where(count == count.max(axis=0), sure, -np.inf).argmax(axis=0)[None]
    return np.take_along_axis(votes, speaker, 0)[0], np.take_along_axis(sure, speaker, 0)[0]


def own_output(function, logits):
    """function(logits float64 [n, k, classes]) → float64 [k, classes]; refused where its shape or values are wrong."""
    output = np.asarray(function(logits), np.float64)
    if output.shape != logits.shape[1:]:
        raise ValueError(
            f"the ensemble function returned shape {output.shape} for {len(logits)} models, {logits.shape[1]} samples, "
            f"{logits.shape[2]} classes: it must return combined logits [samples, classes]"
        )
    if not np.isfinite(output).all():
        raise ValueError("the ensemble function returned nan or infinite values")
    return output


def own_stage(outputs, labels, rank, metric, function):
    """The stage function of a user's own ensemble: prefix → (correct bool [k], confidence float64 [k]).

    outputs: M functions of rows → logits / T float64 [s, classes]; ``function`` sees those of a prefix, stacked in the
    order of the cascade (a block of samples at a time).
    """
    labels = np.asarray(labels)

    def block(prefix, rows):
        output = own_output(function, np.stack([outputs[m](rows) for m in prefix]))
        return ranks_of(output, labels[rows]) < rank, confidence(output, metric)

    def stage(prefix):
        parts = [block(prefix, slice(start, start + CHUNK)) for start in range(0, len(labels), CHUNK)]
        return tuple(np.concatenate(part) for part in zip(*parts))

    return stage
