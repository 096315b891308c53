"""Studies: splits, models and published figures that notebooks open by the name of a folder."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    modules="published",
    glue="checkpoints glue_store",
    study="Images Study candidates_of_study models_of_study open_splits read_study samples_of_study",
)
