"""Logits of many models on one data set, into a store."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, extraction="extract")
