"""Figures from tables, in plotly: nothing here computes a result."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .calibration import predicted_figure as predicted_figure
    from .calibration import reliability_figure as reliability_figure
    from .calibration import threshold_figure as threshold_figure
    from .deployment import guarantee_figure as guarantee_figure
    from .deployment import savings_figure as savings_figure
    from .fronts import exit_rate_figure as exit_rate_figure
    from .fronts import front_figure as front_figure
    from .fronts import fronts_figure as fronts_figure
    from .fronts import improvement_figure as improvement_figure
    from .fronts import members_figure as members_figure
    from .fronts import pairs_figure as pairs_figure
    from .fronts import shares_figure as shares_figure
    from .fronts import singles_figure as singles_figure
    from .fronts import tasks_figure as tasks_figure
    from .shift import by_kind as by_kind
    from .shift import confidences_figure as confidences_figure
    from .shift import exit_rates_figure as exit_rates_figure
    from .shift import how_replayed as how_replayed
    from .shift import moved_improvement_figure as moved_improvement_figure
    from .shift import segments_figure as segments_figure
    from .shift import splits_figure as splits_figure
    from .shift import won_back_figure as won_back_figure
    from .uncertainty import band_figure as band_figure
    from .uncertainty import front_band_figure as front_band_figure

__getattr__, __dir__, __all__ = attach(__name__)
