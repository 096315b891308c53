"""Certificates, the labels that they need, and their p-values."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    certificate="Certificate certify",
    few_labels="to_label",
    quantiles="ladder",
)
