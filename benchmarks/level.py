"""Compute how often each guarantee fails at its default arguments, where it is hardest.

A row is one setting: the number of samples, the bound, and the number of models or labels. The loss
or the cost is exactly the bound, so that a certificate is false. The error is exact where outcomes
are counts, and else the share of simulated draws. Everything that default arguments fix is fixed in
these draws. Only the samples are random, and the orders and draws that a guarantee makes. The job
``level`` returns the largest error of each guarantee.
"""

from collections.abc import Callable, Iterator

import numpy as np
from measuring import row
from scipy.stats import binom, hypergeom

from cascadelib.guarantees.p_values import (
    betting_p_value,
    cost_p_value,
    f1_p_value,
    paired_p_value,
)
from cascadelib.guarantees.peeling import errors_allowed, peel_table, usual_labels

DELTA = 0.05
DRAWS = 20_000
AGAIN = 200_000  # draws of a setting that is more than SURPRISE standard errors above δ
SURPRISE = 3.0
SIZES = (60, 97, 150, 211, 300, 487)
EPSILONS = (0.01, 0.02, 0.05, 0.1)
Draw = Callable[[np.random.Generator], bool]


def exact_paired(samples: int, epsilon: float, discordant: float) -> float:
    """Return the probability that a loss of exactly ε is rejected, summed over all counts.

    ``discordant`` is the probability that exactly one of cascade and reference is correct.
    """
    share_lost = (1 + epsilon / discordant) / 2
    error = 0.0
    for count in range(int(binom.ppf(1e-9, samples, discordant)), samples + 1):
        chance = binom.pmf(count, samples, discordant)
        if chance < 1e-12 and count > samples * discordant:
            break

        most = largest_rejected(count, samples, epsilon)
        error += chance * binom.cdf(most, count, share_lost)
    return error


def largest_rejected(count: int, samples: int, epsilon: float) -> int:
    """Return the largest number of lost among discordant samples that is certified, or −1."""
    low = -1
    high = count
    while low < high:
        middle = (low + high + 1) // 2
        if paired_p_value(middle, count - middle, samples, epsilon, DELTA) <= DELTA:
            low = middle
        else:
            high = middle - 1
    return low


def exact_rows() -> Iterator[tuple[str, str, float]]:
    """Yield (guarantee, setting, error) where outcomes are counts."""
    for samples in SIZES:
        for epsilon in EPSILONS:
            for excess in (1.0, 3.0):
                setting = f"{samples} samples, ε = {epsilon:.0%}, {excess:.0f} ε discordant"
                error = exact_paired(samples, epsilon, excess * epsilon)
                yield "certify: loss", setting, error
            budget = 1 + 20 * epsilon
            exits = np.arange(samples + 1)
            passed = [
                cost_p_value(np.arange(samples) < deferred, [1.0, 20.0], budget, DELTA) <= DELTA
                for deferred in exits
            ]
            error = float(binom.pmf(exits, samples, epsilon) @ passed)
            yield "certify: cost", f"{samples} samples, {epsilon:.0%} deferred", error
    for rows in (1_000, 2_345, 10_000):
        for labels in (100, 300, 500):
            for epsilon in EPSILONS:
                may_stay = int(epsilon * rows + 1e-9)
                allowed, of_source = errors_allowed(rows, labels, epsilon, DELTA)
                chances = hypergeom.cdf(
                    np.arange(allowed + 1), rows, np.arange(allowed + 1) + may_stay + 1, labels
                )
                setting = f"{rows:,} rows, {labels} labels, ε = {epsilon:.0%}"
                yield "answer_table: table", setting, float(chances.max(initial=0.0))
                error = float(binom.cdf(of_source, labels, epsilon))
                yield "answer_table: new rows", setting, error


def drawn_rows() -> Iterator[tuple[str, str, Draw]]:
    """Yield (guarantee, setting, one draw) where outcomes are not counts."""
    for samples in SIZES[2:]:
        for epsilon in EPSILONS[1:]:

            def graded(rng: np.random.Generator, n: int = samples, e: float = epsilon) -> bool:
                return betting_p_value(rng.random(n) < e, e, DELTA, seed_of(rng)) <= DELTA

            def ordered(rng: np.random.Generator, n: int = samples, e: float = epsilon) -> bool:
                losses = np.sort(rng.random(n) < e)
                return betting_p_value(losses, e, DELTA, seed_of(rng)) <= DELTA

            def priced(rng: np.random.Generator, n: int = samples, e: float = epsilon) -> bool:
                prices = np.where(rng.random(n) < e, 100.0, 1.0)
                exits = np.ones(n, int)
                costs = [np.zeros(n), prices]
                budget = 1 + 99 * e
                return cost_p_value(exits, costs, budget, DELTA, seed_of(rng)) <= DELTA

            named = f"{samples} samples, ε = {epsilon:.0%}"
            yield "certify: graded scores", named, graded
            yield "certify: graded scores, sorted by loss", named, ordered
            yield "certify: prices by sample", named, priced
    yield from slow_rows()


def slow_rows() -> Iterator[tuple[str, str, Draw]]:
    """Yield the settings of :func:`drawn_rows` whose draws take milliseconds."""
    for samples in (300, 487):
        for epsilon in EPSILONS[2:]:

            def f1(rng: np.random.Generator, n: int = samples, e: float = epsilon) -> bool:
                positive = rng.random(n) < 0.5
                hit = rng.random(n) < 0.9  # a share of 0.45 is a true positive of both
                errors = [0.9 * (1 - score) / score for score in (0.9, 0.9 - e)]
                wrong = [(each - 0.05) / 0.5 for each in errors]  # of the negative samples
                reference, correct = (
                    np.where(positive, hit, rng.random(n) >= share) for share in wrong
                )
                found = f1_p_value(reference, correct, positive, e, DELTA, seed_of(rng))
                return found <= DELTA

            yield "certify: F1", f"{samples} samples, ε = {epsilon:.0%}", f1
    for rows in (600, 997):
        labels = usual_labels(rows, 0.1, DELTA)
        allowed, _ = errors_allowed(rows, labels, 0.1, DELTA)

        def peeled(
            rng: np.random.Generator, n: int = rows, m: int = labels, most: int = allowed
        ) -> bool:
            wrong = rng.permutation(n) <= most + int(0.1 * n)
            classes = rng.integers(0, 3, n).astype(str)
            is_drawn = rng.permutation(n) < m
            of_draw = (is_drawn, wrong & is_drawn, rng.random(n))
            kept, _ = peel_table(rng.random(n), classes, *of_draw, 0.1, DELTA)
            return bool(np.count_nonzero(kept & wrong) > 0.1 * n)

        yield "answer_table: usual number of labels", f"{rows} rows, ε = 10%", peeled


def seed_of(rng: np.random.Generator) -> int:
    """Return a seed for the randomness of a guarantee."""
    return int(rng.integers(2**32))


def simulated(draw: Draw, draws: int, number: int) -> tuple[float, int]:
    """Return the share of draws in which a false certificate is issued, and their number.

    A share that is SURPRISE standard errors above δ is drawn AGAIN.
    """
    for count in (draws, AGAIN):
        rng = np.random.default_rng([number, count])
        share = float(np.mean([draw(rng) for _ in range(count)]))
        if share <= DELTA + SURPRISE * np.sqrt(DELTA * (1 - DELTA) / count):
            break
    return share, count


def level(quick: bool = False) -> list[dict]:
    """Return the largest error of each guarantee with its setting."""
    worst: dict[str, tuple[float, str, int]] = {}
    settings: dict[str, int] = {}

    def record(guarantee: str, setting: str, error: float, draws: int) -> None:
        settings[guarantee] = settings.get(guarantee, 0) + 1
        worst[guarantee] = max(worst.get(guarantee, (-1.0, "", 0)), (error, setting, draws))

    for number, (guarantee, setting, error) in enumerate(exact_rows()):
        if not quick or number % 9 == 0:
            record(guarantee, setting, error, 0)
    for number, (guarantee, setting, draw) in enumerate(drawn_rows()):
        if not quick or number % 9 == 0:
            record(guarantee, setting, *simulated(draw, 20 if quick else DRAWS, number))
    found = []
    for guarantee, (error, setting, draws) in worst.items():
        most = DELTA + (SURPRISE * np.sqrt(DELTA * (1 - DELTA) / draws) if draws else 1e-9)
        how = f"{draws:,} draws" if draws else "exact"
        name = f"{guarantee}: largest of {settings[guarantee]} errors, {how}, at {setting}"
        found.append(
            row(name, error, "share", "" if quick else f"≤ {most:.4f}", runs=max(draws, 1))
        )
    return found
