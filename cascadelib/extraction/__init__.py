"""Logits of many models on one data set, into a store."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .extraction import Estimate as Estimate
    from .extraction import extract as extract

__getattr__, __dir__, __all__ = attach(__name__)
