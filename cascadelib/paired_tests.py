"""Is the loss of accuracy larger than ε? Valid p-values from paired outcomes, for any number of samples."""

import numpy as np
from scipy.stats import beta, binom

NUISANCE = 1 / 500  # of the level: what the confidence set of the nuisance parameter may miss
NEGLIGIBLE = 1e-12  # probability that a sum may leave out at each end; it is added to the result
GRIDS = (25, 100, 400, 1600)  # finer where a coarser one does not tell


def paired_p_value(lost, gained, samples, epsilon, level=0.05):
    """p-value of the hypothesis "the loss is ε or more" from counts of samples on which exactly one side is right.

    lost: samples that only the reference gets right; gained: samples that only the cascade gets right; both of
    ``samples`` independent draws. The loss is P(lost) − P(gained). level: at which it will be compared; the value is
    valid at any level, and worked out until it is known to lie on one side of this one.

    An exact unconditional test, with nothing asymptotic in it. Outcomes are ordered by the studentized loss. Their
    distribution depends on the loss and on the nuisance ψ = P(lost) + P(gained); at given ψ the probability of an
    outcome as extreme is largest at a loss of exactly ε (the number of discordant samples depends on ψ only, and
    given it ``lost`` is binomial). That is maximized over Clopper and Pearson's interval for ψ at confidence 1 − γ,
    and γ = level / 500 is added (Berger and Boos, 1994, *P values maximized over a confidence set for the nuisance
    parameter*). The maximum is bounded, not sampled: between points of a grid the probability of an event A moves by
    at most √(P(A) χ²) (Cauchy and Schwarz), where 1 + χ² = (1 + χ₁²)^samples for independent draws.
    """
    discordant, gamma = lost + gained, level * NUISANCE
    low = beta.ppf(gamma / 2, discordant, samples - discordant + 1) if discordant else 0.0
    high = beta.isf(gamma / 2, discordant + 1, samples - discordant) if discordant < samples else 1.0
    if high < epsilon:
        return gamma
    for points in GRIDS:
        ends = np.linspace(max(low, epsilon, 1e-300), high, points + 1)
        middle, half = (ends[1:] + ends[:-1]) / 2, np.diff(ends) / 2
        p = probability_as_extreme(lost - gained, discordant, samples, epsilon, middle)
        parts = np.stack([(middle + epsilon) / 2, (middle - epsilon) / 2, 1 - middle])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = np.nan_to_num(np.stack([half / 2, half / 2, half]) ** 2 / parts, nan=0.0).sum(axis=0)
            bound = p + np.sqrt(p * np.expm1(samples * np.log1p(moved)))
        largest = min(1.0, float(bound.max()) + gamma)
        if largest <= level or p.max() + gamma > level:
            break
    return largest


def probability_as_extreme(s, discordant, samples, loss, psi):
    """P(an outcome with a studentized loss no larger than that of s = lost − gained) for each ψ, float64 [G]."""
    spread = np.sqrt(np.maximum(np.arange(samples + 1), samples * loss) + 1 - samples * loss**2)
    studentized = (s - samples * loss) / spread[discordant]
    first = int(binom.ppf(NEGLIGIBLE, samples, psi.min()))
    last = int(binom.ppf(1 - NEGLIGIBLE, samples, psi.max()))
    d = np.arange(first, last + 1)
    most_lost = np.floor((d + samples * loss + studentized * spread[d]) / 2 + 1e-9)
    share_lost = np.minimum(1.0, (1 + loss / psi) / 2)[:, None]
    terms = binom.pmf(d, samples, psi[:, None]) * binom.cdf(most_lost, d, share_lost)
    return np.minimum(1.0, terms.sum(axis=1) + 2 * NEGLIGIBLE)


def betting_p_value(losses, epsilon, level=0.05):
    """p-value of the hypothesis "the mean loss is ε or more" from losses in [−1, 1], float [k], for graded scores.

    Capital of a gambler who bets against the hypothesis: each loss d multiplies it by 1 + λ (ε − d), where λ in
    [0, 1 / (1 + |ε|)] is chosen from the losses before. Under the hypothesis that is a nonnegative supermartingale, so
    1 ÷ its maximum is a p-value (Ville, 1939; Waudby-Smith and Ramdas, 2024, *Estimating means of bounded random
    variables by betting*, section 4, with their predictable plug-in bets for ``level``). Losses must come in an order
    that does not depend on their values.
    """
    losses, k = np.asarray(losses, np.float64), len(losses)
    number = np.arange(1, k + 1)
    means = (np.cumsum(losses)) / (number + 1)
    variances = (0.25 + np.cumsum((losses - means) ** 2)) / (number + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    bets = np.minimum(np.sqrt(2 * np.log(1 / level) / (k * before)), 0.75 / (1 + abs(epsilon)))
    capital = np.cumsum(np.log1p(bets * (epsilon - losses)))
    return float(min(1.0, np.exp(-max(0.0, capital.max()))))
