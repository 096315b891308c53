"""What a model may cost: one object per kind, in one table that searches, the explorer and the
figures read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A kind of cost: its ``name`` (the column of ``store.models``), ``unit``, the ``title`` of an
    axis, and what is said of a cascade that takes ``less`` or ``more`` of it."""

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

# Numbers in a header that are no cost: what a model is, not what it takes.
NO_COSTS = set("parameters image_size truncated order top1 top5".split())


def cost_of(kind: str) -> Cost:
    """A kind of cost by its key of COSTS; any other word is its own title, without a unit."""
    return COSTS.get(kind, Cost(kind, "", kind))


def times_less(saving: float, kind: str) -> str:
    """A saving in words: "3.2 times fewer MACs", "1.1 times more time"."""
    words = cost_of(kind)
    factor, said = (saving, words.less) if saving >= 1 else (1 / saving, words.more)
    return f"{factor:.3g} times {said}"
