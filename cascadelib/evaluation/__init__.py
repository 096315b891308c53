"""Fixed cascades on a labelled split, and what single models give there."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    evaluation="Evaluation all_confidences evaluate run_cascades",
    pareto="Baseline improvement_at least_cost lower_hull mean_improvement pareto_front",
)
