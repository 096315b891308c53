"""Find samples that occur more than once, or that were used for selection.

A certificate would count them as independent draws.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import binom, poisson

from ..evaluation.intervals import share_interval
from ..evaluation.point import Point
from ..methods.method import Method
from ..origin import (
    Origin,
    Origins,
    comparable_contents,
    ids_could_meet,
    parts_of,
    samples_in_common,
)
from ..store.protocol import Store

Finding = tuple[str, str, str]  # status, evidence, and the remedy if the premise is violated

VERIFIED = "verified"
VIOLATED = "violated"
NOT_VERIFIABLE = "not verifiable"
LEVEL = 1e-6  # probability with which a table of independent draws is refused
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
# By chance, samples of equal confidence agree at most this factor more often than samples of
# neighbouring confidences.
FACTOR = 1.5
# Repeats are accepted if they inflate variances by less than this factor. Then at most 5.4% of
# guarantees fail instead of 5%.
INFLATION = 1.05
# Samples of equal confidence are repeats if at most this share of them has unequal outcomes.
CONTRADICTING = 0.02
REMEDY = "keep one row of each sample: store.take(rows)"


def samples_seen(origins: Iterable[Origins], here: Origin, models: Iterable[str]) -> int | None:
    """Return a lower bound on the number of samples of ``here`` that are among those of
    ``origins``.

    Samples are compared by their ids and then by the outputs of ``models``
    (:func:`equal_contents`). None if no shared sample is found and ids or outputs are unknown.
    """
    distinct = list(dict.fromkeys(origins))
    counts = [samples_in_common(origin, here) for origin in distinct]
    if any(counts):
        return max(filter(None, counts))
    parts = dict.fromkeys(part for origin in distinct for part in parts_of(origin))
    pairs = [comparable_contents(part, here, models) for part in parts]
    known_pairs = [pair for pair in pairs if pair is not None]
    shared = [equal_contents(*pair, LEVEL / len(known_pairs)) for pair in known_pairs]
    if any(shared):
        return next(filter(None, shared))
    return None if None in counts or len(known_pairs) < len(parts) else 0


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
    (Hoeffding, 1956, for unequal probabilities). Given the totals, it is at most this number
    divided by the probability of the totals. A repeated split has X = Y for all of its values. A
    repeated part of a split has X = Y for all values that occur nowhere else.
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
    # Hoeffding's bound holds for counts of at least the mean plus 1.
    bound_applies = equal >= chance * len(even) + 1
    return int(equal) if bound_applies and probability <= level * np.prod(sums) else 0


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


def refuse_repeated_ids(store: Any) -> None:
    """Raise ValueError if ids of a store (or rows of its source) occur more than once."""
    if fault := repeated_ids(store.origin.sample_ids):
        raise ValueError(f"{fault}: {REMEDY}")


def refuse_equal_rows(store: Any, models: list[str], deciding: Collection[str]) -> None:
    """Raise ValueError if samples of a store repeat others (:func:`equal_rows`)."""
    if fault := equal_rows(store, models, deciding):
        raise ValueError(f"{fault}; {REMEDY}")


def equal_rows(store: Any, models: list[str], deciding: Collection[str]) -> str:
    """Describe the samples that repeat others by their values, or return "" without evidence.

    The values are confidences of ``models``, their correctness, predictions, and labels.
    ``deciding`` names the models whose confidences are compared with thresholds. Other confidences
    may differ between copies without any effect.

    Rows with equal values may be different samples, since confidences are rounded or have few
    values. Two tests, at ``LEVEL`` together, find equal rows that are more frequent than by chance.
    :func:`copied_whole` tests whether the numbers of copies are multiples of 2, of 3, ….
    :func:`equal_in_all` finds samples that share a confidence of one model and all other values,
    although samples with neighbouring confidences do not.
    """
    stage = store.outcome(models, Method(), "top1")
    outcomes: list[Array] = []
    confidences: list[Array] = []
    for position, name in enumerate(models):
        correct, confidence = stage((position,))
        outcomes.append(correct)
        confidences.append(confidence)
        if store.has_predictions:
            outcomes.append(store.predicted(name))
    if store.origin.values is not None:
        outcomes.append(store.origin.values)
    rows = number_rows([*confidences, *outcomes])
    is_repeated = equal_in_all(confidences, rows) or copied_whole(rows)
    if not is_repeated:
        compared = [values for name, values in zip(models, confidences) if name in deciding]
        rows = number_rows([*compared, *outcomes])
        is_repeated = copied_whole(rows)
    if not is_repeated:
        return ""
    copies = len(rows) - rows.max() - 1
    return (
        f"{copies} of the {len(rows)} samples repeat others: they are equal in all known values, "
        "more often than independent samples are"
    )


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


def equal_in_all(confidences: list[Array], rows: Array) -> bool:
    """Return whether samples that share a confidence are repeats.

    Inputs are confidences of M models, [k] each, and the number of each sample's row, int [k]. Take
    two models and the samples that share a confidence of the first model. If they share it by
    chance, their confidences of the second model are not equal much more often than those of
    samples with neighbouring confidences: at most FACTOR times as often. If the second confidence
    depends on the first only, equal samples always share both. So equal outcomes are required as
    well. Repeats that inflate variances by less than INFLATION are accepted, such as a tweet that
    is sent twice.
    """
    counts = np.bincount(rows)
    if np.sum(np.square(counts)) <= INFLATION * len(rows):
        return False
    places = [np.unique(values, return_inverse=True)[1] for values in confidences]
    level = LEVEL / 2 / len(places)
    for first, second in zip(places, places[1:] + places[:1]):
        if rarer_than_chance(first, second, rows, level):
            both = number_rows([first, second])
            order = np.argsort(both, kind="stable")
            tied = np.diff(both[order]) == 0
            unequal = np.diff(rows[order])[tied] != 0
            if len(unequal) and np.mean(unequal) <= CONTRADICTING:
                return True
    return False


def rarer_than_chance(first: Array, second: Array, rows: Array, level: float) -> bool:
    """Return whether samples with equal ``first`` have equal rows more often than by chance.

    Chance is FACTOR times the rate at which samples with neighbouring ``first`` have equal
    ``second``. All arrays are int [k].
    """
    order = np.argsort(first, kind="stable")
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    first_of_groups = order[starts]
    neighbours = second[first_of_groups[1:]] == second[first_of_groups[:-1]]
    if not len(neighbours):
        return False
    chance = FACTOR * share_interval(neighbours, 1 - level, "exact")[1]
    shared = starts[sizes > 1]
    equal = np.count_nonzero(rows[order[shared]] == rows[order[shared + 1]])
    return chance < 1 and binom.sf(equal - 1, len(shared), chance) <= level / 2


def size_of_table(points: Sequence[Point], origin: Origin) -> int | None:
    """Return the size of the table of :attr:`Point.thresholds_from`.

    0 if the samples of ``origin`` are not in that table, and None if it is unknown.

    Raises
    ------
    ValueError
        If some of the samples are in the table and others are not.
    """
    sizes = []
    tables: set[Any] = {point.thresholds_from for point in points} - {None}
    for thresholds_from in tables:
        shared = samples_in_common(thresholds_from, origin)
        if shared is None:
            return None
        if 0 < shared < len(origin):
            raise ValueError(
                f"{shared} of the {len(origin)} samples gave the thresholds, the others did not: a "
                "guarantee is about the table that the thresholds come from, or about its source. "
                "Certify either on samples of the table only, or on others only"
            )
        sizes.append(len(thresholds_from) if shared else 0)
    return min(filter(None, sizes), default=0)


def overlap_of(points: Sequence[Point], store: Store, models: Sequence[str]) -> Finding:
    """Compare samples, by id and by answers, with those that selected or fitted the points.

    Out-of-fold outputs are a violation. Their models have the metadata ``folds``, the number of
    networks, each of which was trained on the samples of the other folds.
    """
    origin = store.origin
    if "folds" in store.models:
        folds = store.models["folds"].reindex(models).dropna()
        if len(folds):
            return (
                VIOLATED,
                f"the outputs of {folds.index[0]!r} are out of fold: {folds.iloc[0]:.0f} networks "
                "computed them, which the samples of the other folds trained",
                "certify the network that will run, on samples that did not train it",
            )
    size = size_of_table(points, origin)
    shared = samples_seen([point.seen for point in points], origin, models)
    if shared:
        named = " ".join(filter(None, (origin.dataset, origin.split)))
        return (
            VIOLATED,
            f"{shared} of the {len(origin)} samples took part in finding the cascades"
            f"{named and f' ({named})'}, by their ids or by the models' answers",
            "a guarantee needs other samples: search on "
            "store.take(slice(0, None, 2)) and certify on store.take(slice(1, None, 2))",
        )
    if shared is None or size is None:
        what = "sample ids (sample_ids=), or the models' answers, are not known for all samples"
        return NOT_VERIFIABLE, f"{what} that selected or fitted the cascades", ""
    answers = "no row of the models' answers is in both splits"
    parts = {part for point in points for part in parts_of(point.seen)}
    if not all(ids_could_meet(part, origin) for part in parts):
        ids = "the splits have ids of different forms, such as val/1 and test/1"
        return NOT_VERIFIABLE, f"{answers}, but {ids}", ""
    return VERIFIED, f"no sample id is in both splits, whose ids have one form, and {answers}", ""
