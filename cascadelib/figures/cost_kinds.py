"""List the kinds of cost, with their names, units and words."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Describe a kind of cost.

    Parameters
    ----------
    unit, title : str
        Unit, and title of an axis.
    less, more : str
        Words for a lower and a higher cost.
    """

    unit: str
    title: str
    less: str = "lower cost"
    more: str = "higher cost"


TIME = ("less time", "more time")
COSTS = dict(
    macs=Cost("MACs", "MACs per sample", "fewer MACs", "more MACs"),
    seconds=Cost("s", "seconds per sample", *TIME),
    # published by timm, measured on one machine
    published_seconds=Cost("s", "published seconds per sample", *TIME),
    # the cost of a ScoreTable, in any unit
    cost=Cost("per sample", "cost"),
)

# Numbers that describe a model in its header and are not costs.
NO_COSTS = set("parameters image_size truncated folds order top1 top5".split())


def cost_of(kind: str) -> Cost:
    """Return a kind of cost. An unknown kind has its name as title, and no unit."""
    return COSTS.get(kind, Cost("", kind))


def times_less(saving: float, kind: str) -> str:
    """Express a saving in words: "3.2 times fewer MACs", "1.1 times more time"."""
    cost = cost_of(kind)
    factor, words = (saving, cost.less) if saving >= 1 else (1 / saving, cost.more)
    return f"{factor:.3g} times {words}"
