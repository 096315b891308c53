"""What a front is worth beyond the split that chose it: uncertainty, certificates, shift, calibration."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    calibration=(
        "VERDICTS above_below assumed_perfect brier_score calibration_bins calibration_table confidence_gap "
        "expected_calibration_error ideal_above_below moving_average predicted_pair threshold_curves"
    ),
    certificate="Certificate certify",
    comparison="class_tasks compare curves_of fronts_of fronts_table range_dominance ranking verdicts",
    drift_signal="DriftSignal alarm_share false_alarm_share",
    reselection="rechoose selection_bias won_back won_back_table",
    shift="cost_ratio_moved holds mean_improvement_moved member_drops moved_curve replay",
    uncertainty="basic_interval bootstrap improvement_band interval point_intervals share_interval",
)
