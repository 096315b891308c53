"""Samples that are there more than once, or were seen before: a certificate would count them as
independent draws."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import binom, poisson

from ..evaluation.intervals import share_interval
from ..evaluation.point import Point
from ..labels import Labels, Origin, comparable_contents, parts_of, samples_in_common
from ..methods.method import Method

LEVEL = 1e-6  # probability with which a table of independent draws is refused
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
FACTOR = 1.5  # by which samples of equal confidence may be more alike than neighbours, by chance
# of variances by repeats, up to which they pass: at most 5.4% of promises fail, not 5%
INFLATION = 1.05
# share of equal confidences with unequal outcomes up to which those are repeats
CONTRADICTING = 0.02
REMEDY = "keep one row of each sample: store.take(rows)"


def samples_seen(origins: Iterable[Origin], here: Labels, models: Iterable[str]) -> int | None:
    """How many samples of ``here``, at least, are among those of ``origins``: by their ids, else by
    what ``models`` said of them (:func:`equal_contents`). 0: none by their ids, and no sign of any;
    None: no sign, and ids, or what models said of all of them, are not known."""
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
    """How many values occur as often in ``seen`` [k] as in ``here`` [m], if that is rarer than
    chance, at a level; else 0.

    Of independent draws, from any distribution of the one and any of the other, the counts of a
    value are Poisson variables X and Y, given their sums k and m. Given that X + Y is 2n, X = Y has
    a probability of at most C(2n, n) / 4ⁿ, whatever the two means are; values are independent of
    one another. So at least c of v values with an even X + Y do that with a probability of at most
    P(binomial(v, mean of these bounds) ≥ c) (Hoeffding, 1956, for unequal probabilities), divided
    by that of those two sums. A split that is there twice has X = Y for all of its values; where a
    part of it is there twice, the values that only that part has do.
    """
    seen = without_copies(seen)
    here = without_copies(here)
    values, place = np.unique(np.concatenate([seen, here]), return_inverse=True)
    before = np.bincount(place[: len(seen)], minlength=len(values))
    now = np.bincount(place[len(seen) :], minlength=len(values))
    total = before + now
    even = total[total % 2 == 0]
    equal = np.count_nonzero(before == now)
    if not equal:
        return 0
    chance = np.mean(binom.pmf(even // 2, even, 0.5))
    sums = [poisson.pmf(len(values), len(values)) for values in (seen, here)]
    probability = binom.sf(equal - 1, len(even), chance)
    is_bound = equal >= chance * len(even) + 1
    return int(equal) if is_bound and probability <= level * np.prod(sums) else 0


def without_copies(values: Array) -> Array:
    """Values [k], a part of each where they are there 2, 3, … times as often as independent draws
    (:func:`copies_of_each`): a split of doubled rows is compared as that split."""
    distinct, counts = np.unique(values, return_counts=True)
    copies = copies_of_each(counts)
    while copies > 1:
        counts = np.ceil(counts / copies).astype(np.int64)
        copies = copies_of_each(counts)
    return np.repeat(distinct, counts)


def repeated_ids(ids: Array) -> str:
    """Describe the samples whose id, text [k], occurs more than once; "" if there is none."""
    repeated = len(ids) - len(np.unique(ids))
    return f"{repeated} of the {len(ids)} samples repeat others (ids)" if repeated else ""


def refuse_repeated_ids(store: Any) -> None:
    """Raise ValueError if samples of a store are there more than once, by their ids (or rows of a
    store)."""
    if fault := repeated_ids(store.origin.sample_ids):
        raise ValueError(f"{fault}: {REMEDY}")


def refuse_equal_rows(
    store: Any, models: list[str], deciding: Collection[str] | None = None
) -> None:
    """Raise ValueError if samples of a store repeat others (:func:`equal_rows`)."""
    if fault := equal_rows(store, models, deciding):
        raise ValueError(f"{fault}; {REMEDY}")


def equal_rows(store: Any, models: list[str], deciding: Collection[str] | None = None) -> str:
    """Describe the samples that repeat others by what is known of them: confidences of ``models``,
    who is correct, predictions, labels; "" if there is no sign of any. deciding: the models whose
    confidences are compared with thresholds (default: all); others may differ between copies and
    change nothing.

    Rows that are equal in all of that may be different samples: confidences are rounded, or have
    few values. Two signs are rarer than chance, at ``LEVEL`` together: the distinct rows occur a
    multiple of 2, of 3, … times (:func:`copied_whole`), or samples that share a confidence of one
    model share all else, although those with neighbouring ones do not (:func:`equal_in_all`).
    """
    confidences, outcomes = known_of(store, models)
    rows = numbered([*confidences, *outcomes])
    is_repeated = equal_in_all(confidences, rows) or copied_whole(rows)
    if deciding is not None and not is_repeated:
        compared = [values for name, values in zip(models, confidences) if name in deciding]
        rows = numbered([*compared, *outcomes])
        is_repeated = copied_whole(rows)
    if not is_repeated:
        return ""
    copies = len(rows) - rows.max() - 1
    return (
        f"{copies} of the {len(rows)} samples repeat others: they are equal in all that is known "
        "of them, more often than independent samples are"
    )


def known_of(store: Any, models: list[str]) -> tuple[list[Array], list[Array]]:
    """(confidences of each model [k]; its correctness, its predictions and the labels, [k] each) on
    a store."""
    stage = store.outcome(models, Method(), "top1")
    outcomes: list[Array] = []
    confidences: list[Array] = []
    for position, name in enumerate(models):
        correct, confidence = stage((position,))
        outcomes.append(np.asarray(correct))
        confidences.append(np.asarray(confidence))
        if store.has_predictions:
            outcomes.append(np.asarray(store.predicted(name)))
    if store.origin.values is not None:
        outcomes.append(store.origin.values)
    return confidences, outcomes


def numbered(columns: list[Array]) -> Array:
    """The same number for rows that are equal in all columns [k]: int64 [k], from 0, none left
    out."""
    table = pd.DataFrame(dict(enumerate(columns)))
    return table.groupby(list(table), sort=False, dropna=False).ngroup().to_numpy()


def copied_whole(rows: Array) -> bool:
    """Whether the distinct rows occur a multiple of a prime, given the number of each sample's row
    int [k].

    Of k independent draws the counts of the values are Poisson variables, given that they sum to k.
    Whatever its mean, a Poisson variable that is not 0 is a multiple of a prime with a probability
    of at most ½. So at least m of u values do that with a probability of at most √(2πk) ×
    P(binomial(u, ½) ≥ m): without any assumption on the values.
    """
    return copies_of_each(np.bincount(rows)) > 1


def copies_of_each(counts: Array) -> int:
    """The prime of which counts, int [u], are multiples more often than chance; 1: none."""
    level = LEVEL / 4 / len(PRIMES) / np.sqrt(2 * np.pi * counts.sum())
    for prime in PRIMES:
        multiples = np.count_nonzero(counts % prime == 0)
        if binom.sf(multiples - 1, len(counts), 0.5) <= level:
            return prime
    return 1


def equal_in_all(confidences: list[Array], rows: Array) -> bool:
    """Whether samples that share a confidence are repeats, given those of M models [k], and rows
    int [k].

    Of a model and the next: the values of the first that two samples or more share. Where that was
    chance, the second model tells those apart about as often as samples with neighbouring values:
    at most FACTOR less often. A second confidence that depends on the first alone never does, so
    those samples must have equal outcomes as well, which chance decides. Repeats that inflate
    variances by less than INFLATION pass: the same tweet is sent twice.
    """
    counts = np.bincount(rows)
    if np.sum(np.square(counts)) <= INFLATION * len(rows):
        return False
    places = [np.unique(values, return_inverse=True)[1] for values in confidences]
    level = LEVEL / 2 / len(places)
    return any(
        rarer_than_chance(first, second, rows, level) and outcomes_agree(first, second, rows)
        for first, second in zip(places, places[1:] + places[:1])
    )


def outcomes_agree(first: Array, second: Array, rows: Array) -> bool:
    """Whether nearly all samples that agree in ``first`` and ``second`` are equal, int [k] each."""
    both = numbered([first, second])
    order = np.argsort(both, kind="stable")
    tied = np.diff(both[order]) == 0
    unequal = np.diff(rows[order])[tied] != 0
    return bool(len(unequal)) and np.mean(unequal) <= CONTRADICTING


def rarer_than_chance(first: Array, second: Array, rows: Array, level: float) -> bool:
    """Whether samples that share a value of ``first`` are equal in their rows more often than those
    with neighbouring values are in ``second``, int [k] each, by more than FACTOR, at a level."""
    order = np.argsort(first, kind="stable")
    starts = np.flatnonzero(np.diff(first[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    leads = order[starts]
    neighbours = second[leads[1:]] == second[leads[:-1]]
    if not len(neighbours):
        return False
    chance = FACTOR * share_interval(neighbours, 1 - level, "exact")[1]
    shared = starts[sizes > 1]
    equal = np.count_nonzero(rows[order[shared]] == rows[order[shared + 1]])
    return chance < 1 and binom.sf(equal - 1, len(shared), chance) <= level / 2


def size_of_table(points: Sequence[Point], origin: Labels) -> int | None:
    """How many samples gave the thresholds of points (:attr:`Point.laid_on`), where samples
    (:class:`Labels`) are some of them; 0: these are others, None: not known.

    ValueError where some of the samples are among them and others are not.
    """
    sizes = []
    for laid_on in {point.laid_on for point in points if point.laid_on is not None}:
        shared = samples_in_common(laid_on, origin)
        if shared is None:
            return None
        if 0 < shared < len(origin):
            raise ValueError(
                f"{shared} of the {len(origin)} samples gave the thresholds, the others did not: a "
                "promise is about the table that the thresholds come from, or about its source; "
                "certify either on samples of the table alone, or on others alone"
            )
        sizes.append(len(laid_on) if shared else 0)
    return min(filter(None, sizes), default=0)
