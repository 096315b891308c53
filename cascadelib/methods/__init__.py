"""Methods: confidence metric, ensemble and temperature of a cascade."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    confidence_metrics="METRICS confidence softmax",
    fitted="Fitted",
    method="METHODS Method cached_confidence",
    temperature="fit_temperature",
)
