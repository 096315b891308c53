"""Models: bundled, timm's and transformers', with preprocessing and cost."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    bundled="bundled_models load_bundled",
    loaders="Source load",
    macs="count_macs",
    model="Model reordered",
)
