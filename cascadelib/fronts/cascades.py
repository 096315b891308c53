"""Which cascades there are (by rising cost, equal costs in both orders), their work, and their prefixes' outcomes."""

from bisect import bisect_right
from itertools import count
from math import comb, factorial

import numpy as np

from ..checks import check_count, items_of, reals, unmasked
from ..evaluation.evaluation import exits_of
from .kernels.state import MAX_MODELS

MOST_CASCADES = 5_000_000
MOST_LISTED = 50_000_000


def extensions(cost, prefix, length):
    """Every cascade of ``length`` models that begins with ``prefix``, the cheapest models first."""
    if len(prefix) == length:
        yield prefix
        return
    for m in np.argsort(cost, kind="stable").tolist():
        if m not in prefix and (not prefix or cost[m] >= cost[prefix[-1]]):
            yield from extensions(cost, (*prefix, m), length)


def cascades_of(cost, lengths):
    """Every cascade of each of some ``lengths``."""
    return (cascade for n in lengths for cascade in extensions(cost, (), n))


def check_lengths(n_models, n_candidates):
    """The asked cascade lengths as a sorted tuple; refused unless each is 1 … 8 and ≤ the number of models."""
    lengths = items_of(n_models)
    for n in lengths:
        check_count(
            n, f"n_models (of {n_candidates} models, or a tuple)", 1, min(n_candidates, MAX_MODELS)
        )
    if not lengths:
        raise ValueError("n_models is empty: give a length or a tuple of lengths")
    return tuple(sorted({int(n) for n in lengths}))


def number_of_cascades(cost, length):
    """How many cascades of ``length`` models there are, without listing them."""
    ways = [1] + [0] * length
    for same in np.unique(cost, return_counts=True)[1].tolist():
        own = [comb(same, j) * factorial(j) for j in range(length + 1)]
        ways = [sum(ways[i] * own[n - i] for i in range(n + 1)) for n in range(length + 1)]
    return ways[length]


def check_work(cost, lengths, time_limit):
    """Refuse a search of more cascades than patience (without a time limit) or memory allow, with the remedy."""
    total = sum(number_of_cascades(cost, n) for n in lengths)
    most = MOST_CASCADES if time_limit is None else MOST_LISTED
    if total > most:
        raise ValueError(
            f"{len(cost)} models make {total:,} cascades of {' or '.join(map(str, lengths))}: more than {most:,}. "
            "Search fewer models (models='pareto' or a list), fewer stages, "
            + (
                "or set time_limit= for a certified front of what was reached"
                if total <= MOST_LISTED
                else "please"
            )
        )


class Cascades:
    """All cascades of one length, numbered; ``heads``: [(all models but the last, number of its first, lasts)]."""

    def __init__(self, cost, length, first=0):
        self.length, self.first, self.heads, number = length, first, [], count(first)
        for head in extensions(cost, (), length - 1):
            lasts = [(next(number), cascade[-1]) for cascade in extensions(cost, head, length)]
            if lasts:
                self.heads.append((head, lasts))
        self.end = next(number)
        self.starts = [lasts[0][0] for _, lasts in self.heads]

    def cascade(self, number):
        """The models of a numbered cascade."""
        head, lasts = self.heads[bisect_right(self.starts, number) - 1]
        return (*head, lasts[number - lasts[0][0]][1])


class Outcomes:
    """A stage function's outcomes, checked, computed once and kept compact; picklable by :meth:`only`.

    stage(prefix) → (correct [k], confidence [k]); last_only: whether only the last model of a prefix counts.
    """

    def __init__(self, stage, last_only):
        self.stage, self.last_only = stage, last_only
        self.rights, self.wrongs, self.grouped, self.orders = {}, {}, {}, {}

    def key(self, prefix):
        """What prefixes with the same outcomes share."""
        return prefix[-1:] if self.last_only else prefix

    def prepare(self, cascades):
        """Let a stage that computes many prefixes together (a mean ensemble) do so for all ``cascades``."""
        if hasattr(self.stage, "prepare"):
            whole = list(cascades)
            heads = {c[:n] for c in whole for n in range(1, len(c))}
            self.stage.prepare([*heads, *whole], heads)

    def right(self, prefix):
        """uint8 [k]: whether the cascade's output after ``prefix`` is right. Kept as bits for longer prefixes."""
        key = self.key(prefix)
        if key not in self.rights:
            right = (
                self.stage.right(prefix) if hasattr(self.stage, "right") else self.stage(prefix)[0]
            )
            right = np.asarray(unmasked(right, f"correctness after models {prefix}"))
            if right.dtype != bool and not np.isin(right, (0, 1)).all():
                raise ValueError(
                    f"correctness after models {prefix} is not boolean: the exact search counts samples"
                )
            right = right.astype(bool).view(np.uint8)
            self.rights[key] = right if len(key) == 1 else (len(right), np.packbits(right))
        kept = self.rights[key]
        return kept if len(key) == 1 else np.unpackbits(kept[1], count=kept[0])

    def wrong(self, prefix):
        """int32: the samples that :meth:`right` has as wrong."""
        key = self.key(prefix)
        if len(key) > 1:
            return np.flatnonzero(self.right(prefix) == 0).astype(np.int32)
        if key not in self.wrongs:
            self.wrongs[key] = np.flatnonzero(self.right(prefix) == 0).astype(np.int32)
        return self.wrongs[key]

    def sure(self, prefix):
        """float64 [k]: confidence after ``prefix``; nan is refused."""
        sure = reals(self.stage(prefix)[1], f"confidence after models {prefix}")
        if np.isnan(sure).any():
            raise ValueError(
                f"confidence after models {prefix} is nan at sample {int(np.argmax(np.isnan(sure)))}"
            )
        return sure

    def groups(self, prefix):
        """int32 [k]: each sample's group of equal confidence, surest first."""
        key = self.key(prefix)
        if key not in self.grouped:
            order, ends = exits_of(self.sure(prefix))
            rank = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
            group = np.empty(len(order), np.min_scalar_type(rank[-1]))
            group[order] = rank
            if len(key) == 1:
                self.orders[key] = order
            self.grouped[key] = group
        return self.grouped[key].astype(np.int32)

    def order(self, prefix):
        """int64 [k]: samples by falling confidence."""
        group = self.groups(prefix)
        kept = self.orders.get(self.key(prefix))
        return np.argsort(group, kind="stable") if kept is None else kept

    def only(self, prefixes, last):
        """A copy that knows the groups and correctness of ``prefixes``, the correctness of ``last``, nothing else."""
        copy = Outcomes(None, self.last_only)
        for prefix in prefixes:
            self.groups(prefix)
            copy.grouped[self.key(prefix)] = self.grouped[self.key(prefix)]
        for prefix in (*prefixes, *last):
            self.right(prefix)
            copy.rights[self.key(prefix)] = self.rights[self.key(prefix)]
        return copy
