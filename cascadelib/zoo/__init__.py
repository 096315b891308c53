"""Models: bundled, timm's and transformers', with preprocessing and cost."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .bundled import bundled_models as bundled_models
    from .bundled import load_bundled as load_bundled
    from .loaders import load as load
    from .macs import count_macs as count_macs
    from .macs import macs_at as macs_at
    from .model import Model as Model
    from .model import reordered as reordered

__getattr__, __dir__, __all__ = attach(__name__)
