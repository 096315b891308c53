"""Which cascades there are: models in order of rising cost, equal costs in both orders; and how much work they are."""

from bisect import bisect_right
from itertools import count
from math import comb, factorial

import numpy as np

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
            + ("or set time_limit= for a certified front of what was reached" if total <= MOST_LISTED else "please")
        )
    return total


class Cascades:
    """All cascades of one length, numbered; ``heads``: [(all models but the last, number of its first, lasts)]."""

    def __init__(self, cost, length, first=0):
        self.length, self.first, self.heads, number = length, first, [], count(first)
        for head in extensions(cost, (), length - 1):
            least = cost[head[-1]] if head else 0
            lasts = [m for m in np.argsort(cost, kind="stable").tolist() if m not in head and cost[m] >= least]
            if lasts:
                self.heads.append((head, [(next(number), m) for m in lasts]))
        self.end = next(number)
        self.starts = [lasts[0][0] for _, lasts in self.heads]

    def cascade(self, number):
        """The models of a numbered cascade."""
        head, lasts = self.heads[bisect_right(self.starts, number) - 1]
        return (*head, lasts[number - lasts[0][0]][1])
