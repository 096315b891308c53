"""What a front is worth beyond the split that chose it: uncertainty, certificates, shift, calibration."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    calibration=(
        "VERDICTS above_below assumed_perfect brier_score calibration_bins calibration_table claims_of confidence_gap "
        "expected_calibration_error ideal_above_below ideal_calibration_error moving_average threshold_curves "
        "threshold_table"
    ),
    certificate="Certificate certify promise_table to_label",
    comparison=(
        "class_tasks compare curves_of fronts_of fronts_table range_dominance ranking same_fronts scaling_table"
    ),
    drift_signal="DriftSignal alarm_share alarm_table",
    reselection="selection_bias selection_bias_table",
    shift=(
        "accuracy_estimates cost_ratio_moved drops_table exit_changes holds mean_improvement_moved member_drops "
        "moved_front moved_table replay split_drops"
    ),
    uncertainty="basic_interval bootstrap improvement_band interval share_interval",
)
