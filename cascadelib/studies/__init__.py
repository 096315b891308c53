"""Studies: splits, models and published figures that notebooks open by the name of a folder."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from . import published as published
    from .glue import checkpoints as checkpoints
    from .glue import glue_store as glue_store
    from .glue import load_checkpoint as load_checkpoint
    from .study import Images as Images
    from .study import Study as Study
    from .study import candidates_of_study as candidates_of_study
    from .study import models_of_study as models_of_study
    from .study import open_splits as open_splits
    from .study import read_study as read_study
    from .study import samples_of_study as samples_of_study

__getattr__, __dir__, __all__ = attach(__name__)
