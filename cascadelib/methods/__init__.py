"""Methods: confidence metric, ensemble and temperature of a cascade."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .confidence_metrics import METRICS as METRICS
    from .confidence_metrics import confidence as confidence
    from .confidence_metrics import softmax as softmax
    from .method import METHODS as METHODS
    from .method import Method as Method
    from .method import cached_confidence as cached_confidence
    from .temperature import fit_temperature as fit_temperature
    from .temperature import negative_log_likelihood as negative_log_likelihood
    from .temperature import perfect_temperature as perfect_temperature

__getattr__, __dir__, __all__ = attach(__name__)
