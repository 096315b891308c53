"""The record of a guarantee: which cascade it is about, and which draw of samples.

This is the only place that puts a guarantee into words.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from ..checks import check_count

VERIFIED = "verified"
VIOLATED = "violated"
NOT_VERIFIABLE = "not verifiable"
CALLER = "the caller"
# Premises whose evidence is a share of samples, which is part of the text of a certificate.
COUNTED = ("spelling", "labels complete", "reference complete")
AGREEMENT = "agreement with the reference"  # the score of answer_table


@dataclass(frozen=True)
class Premise:
    """One premise of a guarantee with the result of its check.

    Parameters
    ----------
    name : str
        The name in ``accept=`` of :func:`cascadelib.certify`.
    status : {"verified", "violated", "not verifiable"}
    evidence : str
        The comparison and its result.
    """

    name: str
    status: str
    evidence: str


@dataclass(frozen=True)
class Design:
    """How the samples of a guarantee were drawn and labelled.

    Parameters
    ----------
    draws : int
        The number of independent draws.
    unit : str
        What was drawn: "samples", "clusters of samples" or "labels".
    frame : int
        The number of rows, or clusters, from which they were drawn without replacement. 0 for
        independent draws of new data.
    drawn_by : str
        Whose randomness it was, such as "the caller" or "the operating system (seed 5)".
    labelled_by : str
    candidates : tuple of str
        The models among whose disagreements the labels were drawn, empty if all rows were labelled,
        or those on which the cascade and the reference differ.
    order_by : str
        Whose randomness was the order in which the draws were tested, "" if it has no effect.
    """

    draws: int
    unit: str = "samples"
    frame: int = 0
    drawn_by: str = CALLER
    labelled_by: str = CALLER
    candidates: tuple[str, ...] = ()
    order_by: str = ""

    @property
    def is_clustered(self) -> bool:
        """Whether clusters of samples were drawn."""
        return self.unit.startswith("clusters")

    @property
    def whole(self) -> str:
        """The frame in words."""
        return f"{self.frame} {'clusters' if self.is_clustered else 'rows'}"

    def __str__(self) -> str:
        how = f"without replacement from {self.whole}" if self.frame else "independently"
        among = ", ".join(self.candidates)
        where = f", among the samples on which {among} disagree" if among else ""
        order = f". They were tested in an order by {self.order_by}" if self.order_by else ""
        return (
            f"the {self.draws} {self.unit} were drawn {how} by {self.drawn_by}, and labelled "
            f"by {self.labelled_by}{where}{order}"
        )


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
        The probability with which one of ``certificates`` may fail.
    design : Design
    premises : tuple of Premise
    certificates : int
        The number of certificates on these samples that share ``delta``.
    groups : int
        The number of groups in each of which the loss is bounded, 0 for all samples together.
    max_price : float or None
        The largest cost of one input, if costs differ between samples.
    most_expensive : str
        The most expensive model of the samples, "" if it is the reference.

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
    design: Design
    premises: tuple[Premise, ...] = ()
    certificates: int = 1
    groups: int = 0
    max_price: float | None = None
    most_expensive: str = ""

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
            other = f" (the most expensive model is {self.most_expensive})"
            named = self.reference + (other if self.most_expensive else "")
            bounds.append(f"loses at most {loss} against {named}{groups}")
        if self.budget is not None:
            bounds.append(f"costs at most {self.budget:.6g} a sample")
            if self.max_price is not None:
                bounds[-1] += f" (if no input can cost more than {self.max_price:.6g})"
        means = ", as the mean over clusters of their means" if self.design.is_clustered else ""
        return " and ".join(bounds) + means

    def __str__(self) -> str:
        design = self.design
        where = f"those {design.whole}" if design.frame else "new data from the same source"
        together = "one certificate on these samples"
        if self.certificates > 1:
            together = f"{self.certificates} certificates on these samples together"
        return (
            f"With probability at least {certainty(self.delta)} over the draw of the "
            f"{design.draws} {design.unit}, {self.chain} {self.bounds}, on {where}. "
            f"This holds for {together}: {design}."
        )

    def __repr__(self) -> str:
        return f"<Guarantee: {self}>"


def draw_seed(seed: int | None) -> tuple[int, str]:
    """Return a seed, and whose randomness it is. By default, the operating system gives it."""
    if seed is None:
        seed = secrets.randbits(63)
        return seed, f"the operating system (seed {seed})"
    seed = check_count(seed, "seed", 0)
    return seed, f"seed {seed}, which is valid if it repeats a recorded draw"


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


def premises_text(premises: Iterable[Premise]) -> str:
    """Return the sentences of a certificate on unverified premises, the violated ones first.

    Evidence is part of the text if it states a violation or a share of the samples.
    """
    sentences = []
    for status, words in (
        (VIOLATED, "Violated, but accepted, so that the guarantee may not hold"),
        (NOT_VERIFIABLE, "Not verifiable"),
    ):
        named = [
            f"{each.name} ({each.evidence})"
            if status == VIOLATED or each.name in COUNTED
            else each.name
            for each in premises
            if each.status == status
        ]
        if named:
            sentences.append(f" {words}: {', '.join(named)}.")
    return "".join(sentences)
