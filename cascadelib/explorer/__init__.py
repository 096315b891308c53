"""The interactive explorer of a notebook: thresholds to drag, fronts, histograms, examples."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .explorer import Explorer as Explorer
    from .explorer import explore as explore
    from .splits import ExploredSplits as ExploredSplits

__getattr__, __dir__, __all__ = attach(__name__)
