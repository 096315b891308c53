"""What a front is worth beyond the split that chose it: uncertainty, certificates, shift, calibration."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .calibration import VERDICTS as VERDICTS
    from .calibration import above_below as above_below
    from .calibration import assumed_perfect as assumed_perfect
    from .calibration import brier_score as brier_score
    from .calibration import calibration_bins as calibration_bins
    from .calibration import calibration_table as calibration_table
    from .calibration import confidence_gap as confidence_gap
    from .calibration import expected_calibration_error as expected_calibration_error
    from .calibration import ideal_above_below as ideal_above_below
    from .calibration import moving_average as moving_average
    from .calibration import predicted_pair as predicted_pair
    from .calibration import threshold_curves as threshold_curves
    from .certificate import Certificate as Certificate
    from .certificate import certify as certify
    from .comparison import compare as compare
    from .comparison import fronts_of as fronts_of
    from .comparison import fronts_table as fronts_table
    from .comparison import range_dominance as range_dominance
    from .drift_signal import DriftSignal as DriftSignal
    from .drift_signal import alarm_share as alarm_share
    from .drift_signal import false_alarm_share as false_alarm_share
    from .reselection import rechoose as rechoose
    from .reselection import selection_bias as selection_bias
    from .reselection import won_back as won_back
    from .reselection import won_back_table as won_back_table
    from .shift import cost_ratio_moved as cost_ratio_moved
    from .shift import elsewhere as elsewhere
    from .shift import holds as holds
    from .shift import mean_improvement_moved as mean_improvement_moved
    from .shift import member_drops as member_drops
    from .shift import moved_curve as moved_curve
    from .shift import replay as replay
    from .uncertainty import basic_interval as basic_interval
    from .uncertainty import bootstrap as bootstrap
    from .uncertainty import improvement_band as improvement_band
    from .uncertainty import interval as interval
    from .uncertainty import point_intervals as point_intervals
    from .uncertainty import share_interval as share_interval

__getattr__, __dir__, __all__ = attach(__name__)
