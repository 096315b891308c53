"""Figures from tables, in plotly: nothing here computes a result."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    fronts="band_figure front_figure improvement_figure singles_figure",
)
