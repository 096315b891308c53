"""The interactive explorer: sliders for thresholds, fronts and examples."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, explorer="Explorer explore", first_minute="demo", splits="ExploredSplits"
)
