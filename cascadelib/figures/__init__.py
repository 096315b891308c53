"""Draw plotly figures of tables, and format tables. They compute no results."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    fronts="front_figure singles_figure",
    lessons="intervals_figure lines_figure points_figure saving_figure",
    tables="in_words readable",
)
