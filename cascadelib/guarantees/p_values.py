"""P-values of what a certificate promises, of accuracy, F1 and cost; valid for any number of
samples."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray as Array
from scipy.stats import beta, binom

from ..evaluation.evaluation import paid_by
from ..evaluation.intervals import BETS, plug_in_bets, share_interval

NUISANCE = 1 / 500  # of the level: what the confidence set of a nuisance parameter may miss
# of the level: what the bound on the share of disagreements may miss, where a draw is labelled
DRAW = 1 / 10
NEGLIGIBLE = 1e-12  # probability that a sum may leave out at each end; it is added to the result
GRIDS = (25, 100, 400, 1600)  # finer where a coarser one does not tell


def paired_p_value(
    lost: int,
    gained: int,
    samples: int,
    epsilon: float,
    level: float = 0.05,
    most: tuple[int, int] | None = None,
) -> float:
    """p-value of the hypothesis "the loss is ε or more" from counts of samples on which exactly one
    side is right.

    lost, gained: those that only the reference, or only the cascade, gets right, of ``samples``
    independent draws. The loss is P(lost) − P(gained). level: the p-value, valid at every
    level, is refined only until it is known to lie above or below this one. most: where labels are
    missing, lost and gained are the least that they may be, and these two the most that lost and
    lost + gained may be; the value is then no less than that of any such outcome.

    An exact unconditional test. Outcomes are ordered by the studentized loss. At a given nuisance ψ
    = P(lost) + P(gained) one as extreme is most probable at a loss of exactly ε (how many samples
    are discordant depends on ψ only, and given that ``lost`` is binomial). That is maximized over
    Clopper and Pearson's interval for ψ at confidence 1 − γ, and γ = level / 500 is added (Berger
    and Boos, 1994, *P values maximized over a confidence set for the nuisance parameter*). The
    maximum is bounded, not sampled: between points of a grid the probability of an event A moves by
    at most √(P(A) χ²) (Cauchy and Schwarz), 1 + χ² = (1 + χ₁²)^samples for independent draws.
    """
    gamma = level * NUISANCE
    most_lost, most_discordant = most or (lost, lost + gained)
    discordant = np.arange(lost + gained, most_discordant + 1)
    s = 2 * np.minimum(most_lost, discordant - gained) - discordant
    worst = np.argmax((s - samples * epsilon) / spreads(discordant, samples, epsilon))
    first = discordant[0]
    last = discordant[-1]
    low = beta.ppf(gamma / 2, first, samples - first + 1) if first else 0.0
    high = beta.isf(gamma / 2, last + 1, samples - last) if last < samples else 1.0
    if high < epsilon:
        return gamma
    for points in GRIDS:
        ends = np.linspace(max(low, epsilon, 1e-300), high, points + 1)
        middle = (ends[1:] + ends[:-1]) / 2
        half = np.diff(ends) / 2
        p = probability_as_extreme(int(s[worst]), int(discordant[worst]), samples, epsilon, middle)
        parts = np.stack([(middle + epsilon) / 2, (middle - epsilon) / 2, 1 - middle])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            terms = np.stack([half / 2, half / 2, half]) ** 2 / parts
            moved = np.nan_to_num(terms, nan=0.0).sum(axis=0)
            bound = p + np.sqrt(p * np.expm1(samples * np.log1p(moved)))
        largest = min(1.0, float(bound.max()) + gamma)
        if largest <= level or p.max() + gamma > level:
            break
    return largest


def spreads(discordant: Array, samples: int, loss: float) -> Array:
    """What the loss is studentized by, at numbers of discordant samples."""
    return np.sqrt(np.maximum(discordant, samples * loss) + 1 - samples * loss**2)


def probability_as_extreme(s: int, discordant: int, samples: int, loss: float, psi: Array) -> Array:
    """P(an outcome with a studentized loss no larger than that of s = lost − gained) for each ψ,
    float64 [G]."""
    spread = spreads(np.arange(samples + 1), samples, loss)
    studentized = (s - samples * loss) / spread[discordant]
    first = int(binom.ppf(NEGLIGIBLE, samples, psi.min()))
    last = int(binom.ppf(1 - NEGLIGIBLE, samples, psi.max()))
    d = np.arange(first, last + 1)
    most_lost = np.floor((d + samples * loss + studentized * spread[d]) / 2 + 1e-9)
    share_lost = np.minimum(1.0, (1 + loss / psi) / 2)[:, None]
    terms = binom.pmf(d, samples, psi[:, None]) * binom.cdf(most_lost, d, share_lost)
    return np.minimum(1.0, terms.sum(axis=1) + 2 * NEGLIGIBLE)


def betting_p_value(losses: Array, epsilon: float, level: float = 0.05) -> float:
    """p-value of the hypothesis "the mean loss is ε or more" from losses of at most 1, float [k],
    for graded scores.

    Capital of a gambler who bets against the hypothesis: each loss d multiplies it by 1 + λ (ε −
    d), where λ in [0, 1 / (1 + |ε|)] is chosen from the losses before. Under the hypothesis that is
    a nonnegative supermartingale, so 1 ÷ its maximum is a p-value (Ville, 1939; Waudby-Smith and
    Ramdas, 2024, *Estimating means of bounded random variables by betting*, section 4). Bets follow
    one another, and a split may be sorted by class: losses are shuffled, the same way every time.
    """
    losses = np.random.default_rng(0).permutation(np.asarray(losses, np.float64))
    bets = np.minimum(plug_in_bets(losses, 1 / level, 0.0), 0.75 / (1 + abs(epsilon)))
    capital = np.cumsum(np.log1p(bets * (epsilon - losses)))
    return float(min(1.0, np.exp(-max(0.0, capital.max()))))


def cluster_means(values: Array, clusters: Array | None) -> Array:
    """The mean of the values [k] of each cluster that is there; clusters: int [k], its number, or
    None: each sample is one."""
    if clusters is None:
        return values
    counts = np.bincount(clusters)
    is_there = counts > 0
    return np.bincount(clusters, values)[is_there] / counts[is_there]


def loss_p_value(
    losses: Array,
    differs: Array,
    there: Array,
    drawn: bool,
    epsilon: float,
    level: float = 0.05,
    clusters: Array | None = None,
) -> float:
    """The p-value that fits losses in [−1, 1]: float [k], graded, or int [k], 0 and ±1, of which
    those that may differ from 0, bool [k], are known only where a label is ``there``, all of them
    or a draw. What they are counted as decides which test it is, not how they turn out; means of
    ``clusters`` are graded, and a label that is missing counts as a loss there."""
    if losses.dtype.kind == "f" or clusters is not None:
        return betting_p_value(cluster_means(losses, clusters), epsilon, level)
    counted = losses[differs & there]
    missing = int(np.count_nonzero(differs & ~there))
    lost = int(np.count_nonzero(counted > 0))
    gained = int(np.count_nonzero(counted < 0))
    if drawn:
        return drawn_p_value(
            lost, gained, len(counted), len(counted) + missing, len(losses), epsilon, level
        )
    return paired_p_value(
        lost, gained, len(losses), epsilon, level, (lost + missing, lost + gained + missing)
    )


def drawn_p_value(
    lost: int,
    gained: int,
    drawn: int,
    disagreements: int,
    samples: int,
    epsilon: float,
    level: float = 0.05,
) -> float:
    """:func:`paired_p_value` where of all ``disagreements`` the labels of ``drawn`` are known, a
    uniform draw of them.

    The loss is P(disagree) times the mean loss where the two disagree. Of the first Clopper and
    Pearson's upper bound misses with probability γ, a tenth of the level, which is added. Given
    which samples disagree and are drawn, those drawn are independent draws of a disagreement: the
    mean loss of such is tested against ε ÷ the bound.
    """
    gamma = level * DRAW
    share = 1.0
    if disagreements < samples:
        share = beta.isf(gamma, disagreements + 1, samples - disagreements)
    if share < epsilon:
        return gamma
    if not drawn:
        return 1.0
    return min(1.0, gamma + paired_p_value(lost, gained, drawn, epsilon / share, level - gamma))


def f1_p_value(
    reference_correct: Array,
    correct: Array,
    positive: Array,
    epsilon: float,
    level: float = 0.05,
) -> float:
    """p-value of the hypothesis "the F1 of the reference exceeds that of the cascade by ε or more",
    from bool [k]: which samples the reference and the cascade get right, and which are of the
    positive class.

    F1 is θ where the mean of 2 (1 − θ) [true positive] − θ [error] is 0. So with θ the F1 of the
    reference, the mean of that of the cascade at θ − ε less that of the reference at θ is at most 0
    under the hypothesis: gamblers bet against that. θ is not known: true positives among true
    positives and errors are binomial, which gives Clopper and Pearson's interval at confidence 1 −
    γ, γ = level / 500 (added). Each of 32 gamblers bets one constant share, fixed in advance (as in
    :func:`anytime_lower`), since bets that follow the data would depend on θ. Then the logarithm of
    each one's capital is concave in θ, so that over the interval it is least at an end, and their
    mean is at least the mean of these. Samples are shuffled, the same way every time.
    """
    gamma = level * NUISANCE
    is_true_positive = reference_correct & positive
    counted = reference_correct[is_true_positive | ~reference_correct]
    ends = np.array(share_interval(counted, 1 - gamma, "exact") if len(counted) else (0.0, 1.0))
    low, high = 2 * ends / (1 + ends)
    if high < epsilon:
        return gamma
    theta = np.array([[max(low, epsilon)], [high]])
    theirs = 2 * (1 - theta) * is_true_positive - theta * ~reference_correct
    ours = 2 * (1 - theta + epsilon) * (correct & positive) - (theta - epsilon) * ~correct
    losses = (theirs - ours) / 2
    losses = losses[:, np.random.default_rng(0).permutation(losses.shape[1])]
    capital = np.zeros(losses.shape[1])
    for bet in BETS:
        capital += np.exp(np.cumsum(np.log1p(-bet * losses), axis=1).min(axis=0)) / len(BETS)
    return min(1.0, gamma + 1 / max(1.0, capital.max()))


def cost_p_value(
    exits: Array,
    costs: Sequence,
    budget: float,
    level: float = 0.05,
    max_price: float | None = None,
    clusters: Array | None = None,
) -> float:
    """p-value of the hypothesis "the mean cost is above the budget" from exit stages int [k] and
    the costs of stages, numbers or float [k].

    Exact binomial for two stages of one cost each; else, and for means of ``clusters``,
    :func:`betting_p_value` of what each sample paid. Where costs differ by sample that lies between
    0 and ``max_price``, by default the dearest run through all stages that there is.
    """
    has_prices = any(map(np.ndim, costs))
    least = 0.0 if has_prices else float(costs[0])
    most = float(np.max(sum(costs)))
    if has_prices and max_price is not None:
        most = max_price
    if not least < budget < most:
        return float(most > budget)
    if len(costs) == 2 and not has_prices and clusters is None:
        return float(binom.cdf(np.count_nonzero(exits), len(exits), (budget - least) / costs[1]))
    span = most - least
    paid = (cluster_means(paid_by(exits, costs), clusters) - least) / span
    return betting_p_value(paid, (budget - least) / span, level)
