"""A front beyond the split that chose it: uncertainty, certificates, shift, calibration."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    calibration=(
        "VERDICTS brier_score calibration_bins calibration_table claims_of confidence_gap "
        "expected_calibration_error ideal_calibration_error moving_average"
    ),
    certificate="Certificate certify",
    comparison="compare_fronts mean_cost_ratio range_dominance resampled_cost_ratio",
    drift_signal="DriftSignal",
    few_labels="to_label",
    generalization="accuracy_drops fronts_under_shift guarantee_table selection_bias",
    shift="accuracy_estimates holds mean_improvement_moved moved_front replay",
    uncertainty="basic_interval bootstrap interval share_interval",
)
