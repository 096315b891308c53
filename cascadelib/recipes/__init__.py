"""Earlier recipes for cascades, beside the exact front."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    earlier="wang_2018",
    exits="huang_2018 oracle park_2015_dynamic replay_points zhou_2020",
)
