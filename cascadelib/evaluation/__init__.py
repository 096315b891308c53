"""Evaluate fixed cascades on a labelled split, and compare them with single models."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    intervals="share_interval",
    pareto="Baseline improvement_at least_cost mean_improvement pareto_front",
    point="ConfidenceRange Estimate Expected Point points_of",
    run="Run evaluate runs_of",
)
