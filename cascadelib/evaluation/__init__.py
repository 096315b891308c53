"""Fixed cascades on a labelled split, and what single models give there."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .evaluation import Evaluation as Evaluation
    from .evaluation import all_confidences as all_confidences
    from .evaluation import evaluate as evaluate
    from .evaluation import run_cascades as run_cascades
    from .pareto import Baseline as Baseline
    from .pareto import improvement_at as improvement_at
    from .pareto import least_cost as least_cost
    from .pareto import lower_hull as lower_hull
    from .pareto import mean_improvement as mean_improvement
    from .pareto import pareto_front as pareto_front

__getattr__, __dir__, __all__ = attach(__name__)
