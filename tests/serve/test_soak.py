"""A service under faults of every kind, restarts and late labels: every input is accounted for
once."""

import pytest
from soak import soak


def test_twenty_seconds_of_a_service(tmp_path):
    assert soak(20, tmp_path) == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_of_a_service(tmp_path):
    assert soak(600, tmp_path) == []
