"""What a cascade says of some samples: predictions, and who leaves where. Takes numpy alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a cascade of n models says of N samples.

    Parameters
    ----------
    predictions : array [N]
        Of a :class:`Cascade` the class, int64, −1 where no model gave a finite output; of a
        :class:`Policy` what it was told, as objects, None where that is nothing.
    exit_stage : int64 [N]
        Stage at which each sample leaves, 0 = first model, as in an :class:`Run`;
        −1 where an error came before the decision.
    confidence : float64 [N]
        At the exit, in the metric's own units.
    confidences : float64 [N, n]
        At each stage, nan where a sample did not get there.
    broken : int64 [n]
        Samples for which a model failed, or gave nan or infinite logits.
    guesses : array [N, g]
        The best classes, best first, as many as asked for.
    """

    predictions: np.ndarray
    exit_stage: np.ndarray
    confidence: np.ndarray
    confidences: np.ndarray
    broken: np.ndarray
    guesses: np.ndarray

    def __len__(self) -> int:
        return len(self.predictions)

    @classmethod
    def joined(cls, parts: "Sequence[Decisions]") -> "Decisions":
        """Those of the samples of all parts, one after another."""
        names = [field.name for field in fields(cls) if field.name != "broken"]
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
        return cls(**columns, broken=np.sum([part.broken for part in parts], axis=0))

    def __repr__(self) -> str:
        stages = range(self.confidences.shape[1])
        exits = [int(np.count_nonzero(self.exit_stage == stage)) for stage in stages]
        return f"<Decisions: {len(self)} samples; samples that exited at each stage: {exits}>"


def nothing(samples: int, models: int) -> Decisions:
    """:class:`Decisions` of samples that no model has seen yet."""
    predictions = np.full(samples, None)
    return Decisions(
        predictions,
        exit_stage=np.full(samples, -1),
        confidence=np.full(samples, np.nan),
        confidences=np.full((samples, models), np.nan),
        broken=np.zeros(models, np.int64),
        guesses=predictions[:, None],
    )
