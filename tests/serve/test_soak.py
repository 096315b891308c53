"""A service under faults of every kind, restarts, kills and late labels: each input is decided and
counted once."""

import pytest
from soak import soak, soak_in_virtual_time


def test_twenty_seconds_of_a_service_in_virtual_time(tmp_path):
    assert soak_in_virtual_time(20, tmp_path) == []


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_ten_minutes_of_a_service(tmp_path):
    assert soak(600, tmp_path) == []
