"""Worlds in which claims of the ledger are false, and the ledger's verdicts in them."""

from collections import Counter

import numpy as np
from scipy.stats import norm

from cascadelib import ScoreTable, search
from tools import ledger
from tools.claims_elsewhere import changes_under_shift, shift_claims
from tools.evidence import evidence_on_split
from tools.held_out import lowest_tenth, pairs_held_out, summary_of_factors
from tools.verdicts import CONTRADICTED, SUPPORTED

ACCURACIES = np.array([0.70, 0.80, 0.88, 0.93])
COSTS = [1.0, 10.0, 100.0, 1000.0]
SAMPLES = 1000
SHARED = 0.6  # share of the variance of difficulty that all models share
NAMES = ["tiny", "small", "middle", "large"]


def scores(rng, information, part):
    """Return one split of four models. information: what a confidence tells about its answer."""
    ease = np.sqrt(SHARED) * rng.normal(size=SAMPLES)
    ease = ease + np.sqrt(1 - SHARED) * rng.normal(size=(len(NAMES), SAMPLES))
    ease += norm.ppf(ACCURACIES)[:, None]
    confidence = information * ease + rng.normal(size=ease.shape)
    ids = [f"{part} {number}" for number in range(SAMPLES)]
    return ScoreTable(ease > 0, confidence, COSTS, NAMES, ids)


def with_useless_confidences(rng):
    """Return the evidence of claims that a random confidence makes false."""
    here, there, shifted = (scores(rng, 0.0, part) for part in ("here", "there", "shifted"))
    front = search(here, 2)
    found = pairs_held_out(front, there)
    found["own-time-improve"] = summary_of_factors(front, there, lowest_tenth)
    found["text-improve"] = summary_of_factors(front, there, np.mean)
    improved = changes_under_shift(front, there, shifted)["shift-improve"]
    found["shift-improve"] = evidence_on_split(improved[0], improved[1:], shifted, "macs")
    return found


def without_shift(rng):
    """Return the evidence on three "shifted" splits that are other samples of the same
    distribution."""
    front = search(scores(rng, 1.0, "here"), 2)
    own = {name: search(scores(rng, 1.0, name), 2) for name in ("one", "two", "three")}
    return shift_claims(front, scores(rng, 1.0, "there"), own, paired=False)


# world: (its evidence, {claim: words that are false there})
WORLDS = {
    "useless confidences": (
        with_useless_confidences,
        dict.fromkeys(
            [
                "pairs-improve",
                "pairs-top",
                "best-for-less",
                "own-time-improve",
                "text-improve",
                "shift-improve",
            ],
            [SUPPORTED],
        ),
    ),
    "no shift": (
        without_shift,
        dict.fromkeys(["shift-lose", "shift-exits", "shift-degree"], [SUPPORTED])
        | dict.fromkeys(["shift-range", "shift-order", "shift-harm"], [SUPPORTED, CONTRADICTED]),
    ),
}


def false_verdicts(world, draws, seed=0):
    """Count the draws with a false verdict, by family and by claim."""
    evidence_in, false_words = WORLDS[world]
    claims = ledger.paper_claims().loc[list(false_words)]
    by_claim = Counter()
    families = Counter()
    for number in range(draws):
        found = ledger.verdicts_of(claims, evidence_in(np.random.default_rng((seed, number))))
        false = [name for name, verdict in found.items() if verdict.word in false_words[name]]
        by_claim.update(false)
        families.update(set(claims.loc[false, "family"]))
    return families, by_claim
