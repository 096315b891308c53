"""What was published of models, with which a study of one's own begins."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, modules="published")
