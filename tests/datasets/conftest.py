"""Fixtures shared by the tests of the data sets."""

import pytest
from pictures import jpeg


@pytest.fixture
def folder(tmp_path):
    """Write two class folders of two images."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{i}.jpg").write_bytes(jpeg((90 * i, 9, 200)))
    return tmp_path
