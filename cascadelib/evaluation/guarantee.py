"""The record of a guarantee: which cascade it is about, and what it assumes.

This is the only place that puts a guarantee into words.
"""

import secrets
from dataclasses import dataclass
from decimal import Decimal

from ..checks import check_count

AGREEMENT = "agreement with the reference"  # the score of answer_table
# What every guarantee about new data assumes.
UNFITTED = "no model or confidence was fitted on them"
UNCHANGED = "the models and confidences will be computed as here, without the label"
ONLY = "this is the only certificate tried on them"


@dataclass(frozen=True, repr=False)
class Guarantee:
    """The guarantee of one cascade. ``str(guarantee)`` is the guarantee in words.

    Parameters
    ----------
    cascade : str
        :attr:`cascadelib.Point.digest` of the cascade. No other cascade has this guarantee.
    chain : str
        The active models and their thresholds.
    reference : str
        The model relative to which losses are measured.
    score : str
        What is lost, such as "accuracy" or "F1 of class 'fraud'".
    epsilon, budget : float or None
        The largest loss, and the largest mean cost per sample.
    delta : float
        The probability with which the guarantee may fail.
    draws : int
        The number of independent draws.
    assumes : tuple of str
        What nothing can verify, as clauses.
    remarks : tuple of str
        What the score means, and what counts as the worst case, as sentences without a period.
    cautions : tuple of str
        What the data suggest against the assumptions, as clauses.
    unit : str
        What was drawn: "samples", "rows" or "labels".
    frame : int
        The number of rows from which they were drawn without replacement. 0 for independent draws
        of new data.
    groups : int
        The number of groups in each of which the loss is bounded, 0 for all samples together.
    largest_price : float or None
        The largest cost of one of the samples, if costs differ between them.

    See Also
    --------
    cascadelib.certify : Compute a guarantee.
    """

    cascade: str
    chain: str
    reference: str
    score: str
    epsilon: float | None
    budget: float | None
    delta: float
    draws: int
    assumes: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    unit: str = "samples"
    frame: int = 0
    groups: int = 0
    largest_price: float | None = None

    @property
    def bounds(self) -> str:
        """The guaranteed bounds in words."""
        bounds = []
        if self.epsilon is not None and self.score == AGREEMENT:
            share = f"at most {percent(self.epsilon)} of its answers"
            bounds.append(f"differs from {self.reference} alone in {share}")
        elif self.epsilon is not None:
            groups = f" in each of {self.groups} groups" if self.groups else ""
            loss = f"{points_text(self.epsilon)} of {self.score}"
            bounds.append(f"loses at most {loss} against {self.reference}{groups}")
        if self.budget is not None:
            bounds.append(f"costs at most {self.budget:.6g} a sample")
            if self.largest_price is not None:
                bounds[-1] += f" (if no input can cost more than {self.largest_price:.6g})"
        return " and ".join(bounds)

    @property
    def claim(self) -> str:
        """What is guaranteed, in words."""
        where = f"those {self.frame} rows" if self.frame else "new data from the same source"
        return (
            f"With probability at least {certainty(self.delta)} over the draw of the {self.draws} "
            f"{self.unit}, {self.chain} {self.bounds}, on {where}."
        )

    @property
    def context(self) -> str:
        """The remarks and cautions in words, each with a space before it."""
        cautions = [f"Caution: {'; '.join(self.cautions)}"] * bool(self.cautions)
        return "".join(f" {each}." for each in [*self.remarks, *cautions])

    @property
    def assumption(self) -> str:
        """What is assumed, with the remarks and cautions, in words."""
        *first, last = [f"that {clause}" for clause in self.assumes]
        return f"It assumes {', '.join(first)}{', and ' * bool(first)}{last}.{self.context}"

    def __str__(self) -> str:
        return f"{self.claim} {self.assumption}"

    def __repr__(self) -> str:
        return f"<Guarantee: {self}>"


def draw_seed(seed: int | None) -> int:
    """Return a seed. By default, the operating system gives it."""
    return secrets.randbits(63) if seed is None else check_count(seed, "seed", 0)


def percent(share: float) -> str:
    """Return a share in percent with all its digits, such as "0.4%"."""
    return f"{(100 * Decimal(repr(float(share)))).normalize():f}%"


def points_text(share: float) -> str:
    """Return a difference of shares in points with all its digits, such as "0.4 points"."""
    number = percent(share)[:-1]
    return "1 point" if number == "1" else f"{number} points"


def certainty(delta: float) -> str:
    """Return 1 − δ in percent with all digits of δ, such as "99.6%"."""
    return f"{(100 - 100 * Decimal(repr(float(delta)))).normalize():f}%"
