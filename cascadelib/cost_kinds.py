"""List the kinds of cost, with names, units and words for searches, figures and the explorer."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Describe a kind of cost.

    `name` is the column of ``store.models``, `title` the axis title. `less` and `more` are the
    words for a cascade with a lower or a higher cost.
    """

    name: str
    unit: str
    title: str
    less: str = "lower cost"
    more: str = "higher cost"


TIME = ("less time", "more time")
COSTS = dict(
    macs=Cost("macs", "MACs", "MACs per sample", "fewer MACs", "more MACs"),
    seconds=Cost("seconds", "s", "seconds per sample", *TIME),
    # timm's, of one machine for all models
    published_seconds=Cost("published_seconds", "s", "published seconds per sample", *TIME),
    # of a ScoreTable, in whatever unit it was given
    cost=Cost("cost", "per sample", "cost"),
)

# Numbers in a header that describe a model and are not costs.
NO_COSTS = set("parameters image_size truncated order top1 top5".split())


def cost_of(kind: str) -> Cost:
    """Return a kind of cost. An unknown name is its title and has no unit."""
    return COSTS.get(kind, Cost(kind, "", kind))


def times_less(saving: float, kind: str) -> str:
    """Express a saving in words: "3.2 times fewer MACs", "1.1 times more time"."""
    words = cost_of(kind)
    factor, said = (saving, words.less) if saving >= 1 else (1 / saving, words.more)
    return f"{factor:.3g} times {said}"
