"""Figures from tables, in plotly: nothing here computes a result."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    calibration="reliability_figure threshold_figure",
    deployment="guarantee_figure savings_figure stream_figure",
    fronts=(
        "band_figure excess_figure exit_rate_figure front_figure fronts_figure improvement_figure "
        "members_figure methods_figure pairs_figure shares_figure singles_figure tasks_figure"
    ),
    shift="exit_rates_figure how_replayed moved_improvement_figure segments_figure",
)
