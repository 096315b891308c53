"""Find samples that occur more than once, or that were used for selection.

A certificate would count them as independent draws. Samples are identified by their ids, and by the
numbers that models computed for them.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import binom, poisson

from ..evaluation.guarantee import NOT_VERIFIABLE, VERIFIED, VIOLATED
from ..evaluation.point import Point
from ..methods.method import Method
from ..origin import Origin, Origins, join_origins, parts_of, samples_in_common
from ..store.protocol import Store
from .p_values import share_above

Finding = tuple[str, str, str]  # status, evidence, and the remedy if the premise is violated

LEVEL = 1e-6  # probability with which a table of independent draws is refused
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
DIGITS = (7, 5, 4, 3, 2)  # decimals of the numbers by which two splits are compared
FEWEST_ROWS = 64  # smallest number of different rows that can show repeated samples
FEWEST = 20  # smallest number of groups of equal rows that are reported as repeats
INFLATION = 1.05  # repeats are accepted if they inflate variances by less than this factor
AGREEING = 0.9  # least share of these groups with equal values
FACTOR = 1.5  # equal confidences raise the chance of equal other values by this factor
REMEDY = "keep one row of each sample: store.take(rows)"


def samples_seen(seen: Origins, here: Origin, models: Iterable[str]) -> int | None:
    """Return a lower bound on the number of samples of ``here`` that are in the sets ``seen``.

    Samples are compared by their ids and then by the numbers of ``models``. None if no shared
    sample is found and ids or numbers are unknown.
    """
    by_ids = samples_in_common(seen, here)
    if by_ids:
        return by_ids
    by_numbers = [shared_rows(part, here, models) for part in parts_of(seen)]
    most = max(filter(None, by_numbers), default=0)
    return None if not most and None in (by_ids, *by_numbers) else most


def shared_rows(part: Origin | None, here: Origin, models: Iterable[str]) -> int | None:
    """Return the number of equal rows of numbers of two sets, or None if they are unknown.

    The numbers are rounded to fewer and fewer decimals, so that copies with other decimals are
    found. They are those of ``models``, or of all models of a file.
    """
    if part is None:
        return None
    names = part.models if part.trace else {*models} & {*part.models} & {*here.models}
    there, columns = (each.columns(names) for each in (part, here))
    if there is None or columns is None or len(there) != len(columns):
        return None
    seen = there.shape[1]
    both = np.hstack([there, columns]).astype(np.float64)
    both[~np.isfinite(both)] = np.nan
    span = np.nanmax(both, axis=1, initial=1) - np.nanmin(both, axis=1, initial=0)
    both /= 10 ** np.floor(np.log10(span))[:, None]
    found = 0
    for digits in DIGITS:
        rows = number_rows(list(np.round(both, digits)))
        found = max(found, equal_contents(rows[:seen], rows[seen:], LEVEL / len(DIGITS)))
    if not found and len(np.unique(number_rows(list(both)))) < FEWEST_ROWS:
        return None
    return found


def equal_contents(seen: Array, here: Array, level: float) -> int:
    """Return the number of values that occur equally often in ``seen`` [k] and ``here`` [m].

    0 if there are not more such values than by chance at this level.

    Notes
    -----
    If the draws are independent, from any two distributions, then the counts of a value are Poisson
    variables X and Y, conditional on the totals k and m. Given that X + Y is 2n, X = Y has a
    probability of at most C(2n, n) / 4ⁿ for any two means, and values are independent of one
    another. Let v values have an even X + Y, and consider the event that X = Y for at least c of
    them. Without the totals, its probability is at most P(binomial(v, mean of these bounds) ≥ c)
    (Hoeffding, 1956, for unequal probabilities, if c is at least the mean plus 1. Otherwise this
    number exceeds every level: it is above 1/4, or at least the mean of the bounds). Given the
    totals, it is at most this number divided by the probability of the totals. A repeated split has
    X = Y for all of its values. A repeated part of a split has X = Y for all values that occur
    nowhere else.
    """
    seen = without_copies(seen)
    here = without_copies(here)
    values, place = np.unique(np.concatenate([seen, here]), return_inverse=True)
    counts_seen = np.bincount(place[: len(seen)], minlength=len(values))
    counts_here = np.bincount(place[len(seen) :], minlength=len(values))
    total = counts_seen + counts_here
    even = total[total % 2 == 0]
    equal = np.count_nonzero(counts_seen == counts_here)
    if not equal:
        return 0
    chance = np.mean(binom.pmf(even // 2, even, 0.5))
    sums = [poisson.pmf(len(values), len(values)) for values in (seen, here)]
    probability = binom.sf(equal - 1, len(even), chance)
    return int(equal) if probability <= level * np.prod(sums) else 0


def without_copies(values: Array) -> Array:
    """Return values [k] with counts divided by a prime, if it divides more counts than by chance.

    A split of doubled rows is therefore compared like the split itself.
    """
    distinct, counts = np.unique(values, return_counts=True)
    copies = copies_of_each(counts)
    while copies > 1:
        counts = np.ceil(counts / copies).astype(np.int64)
        copies = copies_of_each(counts)
    return np.repeat(distinct, counts)


def repeated_ids(ids: Array) -> str:
    """Describe the samples whose id, text [k], occurs more than once, or return ""."""
    repeated = len(ids) - len(np.unique(ids))
    return f"{repeated} of the {len(ids)} samples repeat others (ids)" if repeated else ""


def refuse_repeats(store: Any, models: Sequence[str] = ()) -> None:
    """Raise ValueError if ids of a store, or rows of a cascade's models, occur more than once."""
    fault = repeated_ids(store.origin.sample_ids)
    if not fault and models:
        fault = equal_rows(store, list(models), models[:-1])
    if fault:
        raise ValueError(f"{fault}: {REMEDY}")


def equal_rows(store: Any, models: list[str], deciding: Collection[str]) -> str:
    """Describe the samples that repeat others by their values, or return "" without evidence.

    ``deciding`` names the models whose confidences are compared with thresholds. Other confidences
    may differ between copies without any effect.

    The values are confidences of ``models``, their correctness, predictions, and labels. Values on
    a grid are equal by chance, so equal rows are repeats in two cases. Either the numbers of copies
    are multiples of 2, of 3, … (:func:`copied_whole`). Or nearly all groups of samples that share
    one confidence share all other values (:func:`repeats_in_groups`).
    """
    stage = store.outcome(models, Method(), "top1")
    found = [stage((position,)) for position in range(len(models))]
    outcomes = [correct for correct, _ in found]
    confidences = [confidence for _, confidence in found]
    if store.has_predictions:
        outcomes += [store.predicted(name) for name in models]
    if store.origin.values is not None:
        outcomes.append(store.origin.values)
    rows = number_rows([*confidences, *outcomes])
    if not copied_whole(rows) and not repeats_in_groups(confidences, outcomes):
        compared = [values for name, values in zip(models, confidences) if name in deciding]
        rows = number_rows([*compared, *outcomes])
        if not copied_whole(rows):
            return ""
    return (
        f"{len(rows) - rows.max() - 1} of the {len(rows)} samples repeat others: they are equal in "
        "all known values, more often than independent samples are"
    )


def repeats_in_groups(confidences: list[Array], outcomes: list[Array]) -> bool:
    """Return whether groups that share one confidence mostly share all other values.

    By chance, they do so at most FACTOR times as often as samples of neighbouring confidences. A
    tweet that is sent twice is accepted.
    """
    counts = np.bincount(number_rows([*confidences, *outcomes]))
    if np.sum(np.square(counts)) <= INFLATION * counts.sum():
        return False
    for position, values in enumerate(confidences):
        others = confidences[:position] + confidences[position + 1 :]
        first = np.unique(values, return_inverse=True)[1]
        rest = number_rows([*others, *outcomes])
        groups = pd.DataFrame({"rest": rest}).groupby(first)["rest"].agg(["size", "nunique"])
        shared = groups["nunique"][groups["size"] > 1]
        agreeing = int((shared == 1).sum())
        if agreeing < max(FEWEST, AGREEING * len(shared)):
            continue
        of_groups = rest[np.unique(first, return_index=True)[1]]
        chance = FACTOR * share_above(int(np.sum(np.diff(of_groups) == 0)), len(of_groups), LEVEL)
        if binom.sf(agreeing - 1, len(shared), min(1.0, chance)) <= LEVEL:
            return True
    return False


def number_rows(columns: list[Array]) -> Array:
    """Return a number for each row, int64 [k], from 0. Rows equal in all columns share a number."""
    table = pd.DataFrame(dict(enumerate(columns)))
    return table.groupby(list(table), sort=False, dropna=False).ngroup().to_numpy()


def copied_whole(rows: Array) -> bool:
    """Return whether the counts of distinct rows are multiples of a prime.

    ``rows``, int [k], are the numbers of the rows.

    The counts of k independent draws are Poisson variables, conditional on their sum k. A Poisson
    variable of any mean that is not 0 is a multiple of a prime with a probability of at most ½. So
    at least m of u counts are multiples with a probability of at most √(2πk) × P(binomial(u, ½) ≥
    m), without any assumption on the values.
    """
    return copies_of_each(np.bincount(rows)) > 1


def copies_of_each(counts: Array) -> int:
    """Return a prime that divides counts, int [u], more often than by chance, or 1."""
    level = LEVEL / 4 / len(PRIMES) / np.sqrt(2 * np.pi * counts.sum())
    for prime in PRIMES:
        multiples = np.count_nonzero(counts % prime == 0)
        if binom.sf(multiples - 1, len(counts), 0.5) <= level:
            return prime
    return 1


def table_of(points: Sequence[Point], origin: Origin) -> Origin | None:
    """Return the smallest table of :attr:`Point.thresholds_from` that has the samples, or None.

    Raises
    ------
    ValueError
        If some of the samples are in the table and others are not.
    """
    tables: list[Any] = []
    for thresholds_from in {point.thresholds_from for point in points} - {None}:
        shared = samples_in_common(thresholds_from, origin) or 0
        if 0 < shared < len(origin):
            raise ValueError(
                f"{shared} of the {len(origin)} samples gave the thresholds, the others did not: a "
                "guarantee is about the table that the thresholds come from, or about its source. "
                "Certify either on samples of the table only, or on others only"
            )
        tables += [thresholds_from] if shared else []
    return min(tables, key=len, default=None)


def overlap_of(points: Sequence[Point], store: Store, models: Sequence[str]) -> Finding:
    """Compare samples, by id and by numbers, with those that selected or fitted the points.

    Out-of-fold outputs are a violation. Their models have the metadata ``folds``, the number of
    networks, each of which was trained on the samples of the other folds.
    """
    origin = store.origin
    folds = store.models.get("folds", pd.Series()).reindex(models).dropna()
    if len(folds):
        return (
            VIOLATED,
            f"the outputs of {folds.index[0]!r} are out of fold: {folds.iloc[0]:.0f} networks "
            "computed them, which the samples of the other folds trained",
            "certify the network that will run, on samples that did not train it",
        )
    seen = join_origins(*(point.seen for point in points))
    shared = samples_seen(seen, origin, models)
    if shared:
        remedy = (
            "a guarantee needs other samples: search on "
            "store.take(slice(0, None, 2)) and certify on store.take(slice(1, None, 2))"
        )
        for part in parts_of(seen):
            if part is not None and part.draw and samples_in_common(part, origin):
                remedy = f"pass draw={part.draw}, whose first labels chose them"
        return (
            VIOLATED,
            f"{shared} of the {len(origin)} samples took part in finding the cascades, by their "
            "ids or by the numbers of the models",
            remedy,
        )
    tables = {point.thresholds_from for point in points} - {None}
    if shared is None or None in [samples_in_common(table, origin) for table in tables]:
        what = "sample ids (sample_ids=), or the models' numbers, are not known for all samples"
        return NOT_VERIFIABLE, f"{what} that selected or fitted the cascades", ""
    return VERIFIED, "no id and no row of the models' numbers is in both splits", ""
