"""What a model may cost: one object per kind, in one table that searches, the explorer and the
figures read."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """A kind of cost: its ``name`` (the column of ``store.models``), ``unit`` and the ``title`` of
    an axis."""

    name: str
    unit: str
    title: str


COSTS = dict(
    macs=Cost("macs", "MACs", "MACs per sample"),
    seconds=Cost("seconds", "s", "seconds per sample"),
    # timm's, of one machine for all models
    published_seconds=Cost("published_seconds", "s", "published seconds per sample"),
    # of a ScoreTable, in whatever unit it was given
    cost=Cost("cost", "per sample", "cost"),
)

# Numbers in a header that are no cost: what a model is, not what it takes.
NO_COSTS = {"parameters", "image_size", "truncated", "order", "top1", "top5"}
