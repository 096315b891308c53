"""P-values for bounds on accuracy, F1 and cost, valid for any number of samples."""

from collections.abc import Sequence

import numpy as np
from numpy import ndarray as Array
from scipy.special import rel_entr
from scipy.stats import beta, binom

from ..evaluation.evaluation import paid_by
from ..evaluation.intervals import BETS, plug_in_bets, share_interval

NUISANCE = 1 / 500  # share of the level for the confidence bound on the nuisance parameter
TIED = 1e-9  # differences of signed roots up to this size are rounding errors
NEGLIGIBLE = 1e-12  # probability that is omitted at each end of a sum, and added to its result
GRIDS = (25, 100, 400, 1600)  # numbers of intervals, tried until one of them decides


def paired_p_value(
    lost: int,
    gained: int,
    samples: int,
    epsilon: float,
    level: float = 0.05,
    most: tuple[int, int] | None = None,
) -> float:
    """Return the p-value of the hypothesis "the loss is ε or more" from discordant samples.

    Parameters
    ----------
    lost, gained : int
        The number of samples on which only the reference, or only the cascade, is correct. The loss
        is P(lost) − P(gained).
    samples : int
        The number of independent draws.
    epsilon : float
    level : float, default=0.05
        The p-value is valid at every level. It is an upper bound. It is refined until it decides
        whether the hypothesis is rejected at this level, or until the finest of four grids. If that
        grid does not decide, the hypothesis is not rejected.
    most : (int, int), optional
        Upper bounds on lost and on lost + gained, if labels are missing. `lost` and `gained` are
        then lower bounds, and the p-value is valid for all outcomes within the bounds.

    Notes
    -----
    This is an exact unconditional test. Outcomes are ordered by the signed root of the likelihood
    ratio (:func:`signed_root`), so more labels without a loss never hurt. The nuisance parameter is
    ψ = P(lost) + P(gained). The number of discordant samples depends on ψ only. Given this number,
    ``lost`` is binomial. So for a fixed ψ, an outcome that is at least as extreme is most probable
    at a loss of exactly ε. This probability is maximized over Clopper and Pearson's
    interval for ψ at confidence 1 − γ. Then γ = level / 500 is added (Berger and Boos, 1994, *P
    values maximized over a confidence set for the nuisance parameter*). The maximum is computed on
    a grid, and bounded between its points. There, the probability of an event A changes by at most
    √(P(A) χ²) (Cauchy and Schwarz). For independent draws, 1 + χ² = (1 + χ₁²)^samples.
    """
    gamma = level * NUISANCE
    most_lost, most_discordant = most or (lost, lost + gained)
    discordant = np.arange(lost + gained, most_discordant + 1)
    losses = np.minimum(most_lost, discordant - gained)
    worst = np.argmax(signed_root(losses, discordant, samples, epsilon))
    first = discordant[0]
    last = discordant[-1]
    low = share_below(first, samples, gamma / 2)
    high = share_above(last, samples, gamma / 2)
    if high < epsilon:
        return gamma
    for points in GRIDS:
        first_root, last_root = np.sqrt([max(low - epsilon, 1e-300), high - epsilon])
        # The points are dense where gained samples vanish.
        ends = epsilon + np.linspace(first_root, last_root, points + 1) ** 2
        middle = (ends[1:] + ends[:-1]) / 2
        half = np.diff(ends) / 2
        p = probability_as_extreme(
            int(losses[worst]), int(discordant[worst]), samples, epsilon, middle
        )
        parts = np.stack([(middle + epsilon) / 2, (middle - epsilon) / 2, 1 - middle])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            terms = np.stack([half / 2, half / 2, half]) ** 2 / parts
            chi_square = np.nan_to_num(terms, nan=0.0).sum(axis=0)
            bound = p + np.sqrt(p * np.expm1(samples * np.log1p(chi_square)))
        largest = min(1.0, float(bound.max()) + gamma)
        if largest <= level or p.max() + gamma > level:
            break
    return largest


def signed_root(lost: Array, discordant: Array, samples: int, loss: float) -> Array:
    """Return √(2 log likelihood ratio) of outcomes, negative if their loss is below ``loss``.

    The ratio compares the largest likelihood of any distribution with that of a distribution whose
    loss is exactly ``loss``. ``lost`` and ``discordant`` are int arrays of one shape.

    Notes
    -----
    The likelihood at a fixed loss is largest for the share q of gained samples that solves
    2 samples q² − b q − gained · loss · (1 − loss) = 0 (Tango, 1998, *Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design*).
    """
    gained = discordant - lost
    b = discordant * (1 - loss) - 2 * loss * (samples - lost)
    q = (b + np.sqrt(b**2 + 8 * samples * gained * loss * (1 - loss))) / (4 * samples)
    q = np.clip(q, 0.0, (1 - loss) / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_ratio = (
            rel_entr(lost, samples * (q + loss))
            + rel_entr(gained, samples * q)
            + rel_entr(samples - discordant, samples * (1 - loss - 2 * q))
        )
    excess = lost - gained - samples * loss
    is_equal = np.abs(excess) <= TIED * samples  # the ratio is 1 up to rounding
    return np.where(is_equal, 0.0, np.sign(excess) * np.sqrt(2 * np.maximum(log_ratio, 0.0)))


def probability_as_extreme(
    lost: int, discordant: int, samples: int, loss: float, psi: Array
) -> Array:
    """Return the probability, for each ψ, of a signed root that is at most the observed one.

    ``lost`` and ``discordant`` are the observed outcome. The result is float64 [G]. For a fixed
    number of discordant samples the root rises with ``lost``, so a bisection finds the most lost
    samples that are as extreme.
    """
    observed = signed_root(np.array([lost]), np.array([discordant]), samples, loss)[0] + TIED
    first = int(binom.ppf(NEGLIGIBLE, samples, psi.min()))
    last = int(binom.ppf(1 - NEGLIGIBLE, samples, psi.max()))
    d = np.arange(first, last + 1)
    most_lost = np.full(len(d), -1)
    too_many = d + 1
    while np.any(too_many - most_lost > 1):
        middle = (most_lost + too_many) // 2
        is_extreme = signed_root(np.maximum(middle, 0), d, samples, loss) <= observed
        is_extreme |= middle < 0
        most_lost = np.where(is_extreme, middle, most_lost)
        too_many = np.where(is_extreme, too_many, middle)
    share_lost = np.minimum(1.0, (1 + loss / psi) / 2)[:, None]
    terms = binom.pmf(d, samples, psi[:, None]) * binom.cdf(most_lost, d, share_lost)
    return np.minimum(1.0, terms.sum(axis=1) + 2 * NEGLIGIBLE)


def betting_p_value(
    losses: Array,
    epsilon: float,
    level: float = 0.05,
    seed: int | None = None,
    frame: int = 0,
) -> float:
    """Return the p-value of the hypothesis "the mean loss is ε or more" for losses of at most 1.

    The hypothesis is about the source of independent draws, or about the ``frame`` rows from which
    the losses were drawn without replacement. ``seed`` is that of the random order of the losses.
    By default, the operating system gives it.

    Notes
    -----
    A gambler bets against the hypothesis. Each loss d multiplies the capital by 1 + λ (ε − d), with
    λ in [0, 1 / (1 + |ε|)] chosen from the earlier losses. Under the hypothesis the capital is a
    nonnegative supermartingale, so 1 ÷ its maximum is a p-value (Ville, 1939, and Waudby-Smith and
    Ramdas, 2024, *Estimating means of bounded random variables by betting*, section 4). Without
    replacement, ε is replaced by the mean of the remaining rows if that of all rows is ε (section
    5). The result depends on the order of the losses, and a file may be sorted by its errors. With
    one permutation of all files, their level would not be kept. So the order is drawn each time.
    """
    losses = np.random.default_rng(seed).permutation(np.asarray(losses, np.float64))
    least = np.full(len(losses), float(epsilon))
    if frame:
        earlier = np.cumsum(losses) - losses
        least = (frame * epsilon - earlier) / (frame - np.arange(len(losses)))
    bets = np.minimum(plug_in_bets(losses, 1 / level, 0.0), 0.75 / (1 + np.abs(least)))
    capital = np.cumsum(np.log1p(bets * (least - losses)))
    return float(min(1.0, np.exp(-max(0.0, capital.max()))))


def loss_p_value(
    losses: Array,
    differs: Array,
    is_labelled: Array,
    epsilon: float,
    level: float = 0.05,
    seed: int | None = None,
    frame: int = 0,
) -> float:
    """Return the p-value of the test that applies to losses in [−1, 1].

    Losses are float [k] for graded scores, or int [k] with values 0 and ±1. Their type decides
    which test applies. An integer loss can differ from 0 only if ``differs``, bool [k], is True.
    It is then known only for a labelled sample.
    seed and frame: as for :func:`betting_p_value`.
    """
    if losses.dtype.kind == "f":
        return betting_p_value(losses, epsilon, level, seed, frame)
    counted = losses[differs & is_labelled]
    missing = int(np.count_nonzero(differs & ~is_labelled))
    lost = int(np.count_nonzero(counted > 0))
    gained = int(np.count_nonzero(counted < 0))
    return paired_p_value(
        lost, gained, len(losses), epsilon, level, (lost + missing, lost + gained + missing)
    )


def share_above(count: int, samples: int, level: float) -> float:
    """Return Clopper and Pearson's upper bound on the share that ``count`` samples estimate."""
    return float(beta.isf(level, count + 1, samples - count)) if count < samples else 1.0


def share_below(count: int, samples: int, level: float) -> float:
    """Return Clopper and Pearson's lower bound on the share that ``count`` samples estimate."""
    return float(beta.ppf(level, count, samples - count + 1)) if count else 0.0


def f1_p_value(
    reference_correct: Array,
    correct: Array,
    positive: Array,
    epsilon: float,
    level: float = 0.05,
    seed: int | None = None,
    frame: int = 0,
) -> float:
    """Return the p-value of "the reference's F1 exceeds the cascade's F1 by ε or more".

    All arrays are bool [k]: whether the reference and the cascade are correct, and whether the
    sample is of the positive class. seed and frame: as for :func:`betting_p_value`.

    Notes
    -----
    F1 is the θ for which the mean of g(θ) = 2 (1 − θ) [true positive] − θ [error] is 0. Let θ be
    the F1 of the reference. Under the hypothesis, the mean of g(θ − ε) of the cascade minus g(θ) of
    the reference is at most 0, and gamblers bet against that. The number of true positives among
    true positives and errors is binomial. It gives Clopper and Pearson's interval for the unknown θ
    at confidence 1 − γ, and γ = level / 500 is added. Bets that depend on the data would depend on
    θ. So each of 32 gamblers bets a constant share, as in :func:`anytime_lower`. The logarithm of
    the capital of each gambler is then concave in θ, so its minimum over the interval is at an end.
    The mean capital is at least the mean of these minima. Without replacement, its last value is
    used instead of its maximum (Hoeffding, 1963, theorem 4).
    """
    gamma = level * NUISANCE
    is_true_positive = reference_correct & positive
    counted = reference_correct[is_true_positive | ~reference_correct]
    ends = np.array(share_interval(counted, 1 - gamma, "exact") if len(counted) else (0.0, 1.0))
    low, high = 2 * ends / (1 + ends)
    if high < epsilon:
        return gamma
    theta = np.array([[max(low, epsilon)], [high]])
    reference = 2 * (1 - theta) * is_true_positive - theta * ~reference_correct
    cascade = 2 * (1 - theta + epsilon) * (correct & positive) - (theta - epsilon) * ~correct
    losses = (reference - cascade) / 2
    losses = losses[:, np.random.default_rng(seed).permutation(losses.shape[1])]
    capital = np.zeros(losses.shape[1])
    for bet in BETS:
        capital += np.exp(np.cumsum(np.log1p(-bet * losses), axis=1).min(axis=0)) / len(BETS)
    largest = capital[-1] if frame else capital.max()
    return min(1.0, gamma + 1 / max(1.0, largest))


def cost_p_value(
    exits: Array,
    costs: Sequence,
    budget: float,
    level: float = 0.05,
    seed: int | None = None,
    frame: int = 0,
) -> float:
    """Return the p-value of the hypothesis "the mean cost is above the budget".

    exits, int [k], are exit stages. costs are the costs of the stages, numbers or float [k]. For
    two stages of one cost each, the test is binomial and exact. Otherwise, the costs of samples are
    tested by :func:`betting_p_value`. If costs differ between samples, the cost of a sample is at
    most the largest cost of all stages together. seed and frame: as for :func:`betting_p_value`.
    """
    has_prices = any(map(np.ndim, costs))
    least = 0.0 if has_prices else float(costs[0])
    most = float(np.max(sum(costs)))
    if not least < budget < most:
        return float(most > budget)
    if len(costs) == 2 and not has_prices:
        return float(binom.cdf(np.count_nonzero(exits), len(exits), (budget - least) / costs[1]))
    span = most - least
    paid = (paid_by(exits, costs) - least) / span
    return betting_p_value(paid, (budget - least) / span, level, seed, frame)
