"""Describe a front on other data: uncertainty, shift, calibration, comparison."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    calibration=(
        "calibration_table claims_of confidence_gap expected_calibration_error "
        "ideal_calibration_error moving_average"
    ),
    comparison="mean_cost_ratio range_dominance resampled_cost_ratio",
    findings=(
        "Finding calibration_finding cost_ratios finding pair_trend price_of_accuracy "
        "ratio_finding shift_finding"
    ),
    generalization="accuracy_drops guarantee_table",
    shift="holds mean_improvement_moved front_on replay",
    uncertainty="bootstrap interval",
)
