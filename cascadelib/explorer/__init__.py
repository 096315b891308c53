"""The interactive explorer of a notebook: thresholds to drag, fronts, histograms, examples."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, explorer="Explorer explore", first_minute="demo", splits="ExploredSplits"
)
