"""The sentences above figures follow from the data."""

import numpy as np
import pandas as pd
import pytest

from tools import findings


def curve(*improvement):
    """An improvement curve."""
    return pd.DataFrame({"improvement": improvement})


RISING = pd.DataFrame({"mean_improvement": [1.0, 2.0, 3.0], "accuracy_difference": [0.1, 0.2, 0.3]})
COUNTS = pd.DataFrame(
    {"02": [2, 1, 3, 4], "all": [2, 1, 3, 4]},
    ["supported", "contradicted", "undetermined", "not testable"],
)
LINES = {
    "uncalibrated": pd.DataFrame({"exit_rate": [0, 1], "accuracy_above": [1.0, 0.9]}),
    "temperature scaled": pd.DataFrame({"exit_rate": [0, 1], "accuracy_above": [0.99, 0.89]}),
}


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        (findings.describe_factors({"pairs": 2.5}), "by these mean factors: pairs 2.50"),
        (findings.describe_factors({"a": 2.5, "b": 3}), ": b 3.00, a 2.50"),
        (findings.describe_factors({"a": np.nan}), "No range of accuracies is shared"),
        (findings.describe_curves({"a": curve(1, 2), "b": curve(1, 1)}), ": a 1.50, b 1.00"),
        (findings.describe_pairs(RISING), "Pairs of different accuracy gain most"),
        (findings.describe_pairs(RISING.assign(mean_improvement=[3, 2, 1])),
         "Pairs of similar accuracy gain most"),
        (findings.describe_pairs(RISING[:1]), "too few pairs"),
        (findings.describe_panels({"noise": {"val": curve(2), "1": curve(0.9), "2": curve(1.1)}}),
         "above 1 on 1 of 2 other splits, and is 0.90 on noise, 1"),
        (findings.describe_thresholds({"a": LINES}), "by at most 1.00 points"),
        (findings.describe_verdicts(COUNTS),
         "2 of 6 testable claims hold, 1 are contradicted, 3 are undetermined"),
    ],
)  # fmt: skip
def test_a_finding_is_computed_from_its_data(finding, sentence):
    assert sentence in finding
    assert len(finding.split()) <= 20
