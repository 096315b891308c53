"""Exact search: the Pareto front over all cascades and all thresholds, and points picked from
it."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    exact="search search_arrays search_outcomes warm",
    front="Front",
    pairs="pair_curve pair_table",
    selection="peaks pick",
)
