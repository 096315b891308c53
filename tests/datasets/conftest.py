"""Fixtures that the tests of this room share."""

import pytest
from pictures import jpeg


@pytest.fixture
def folder(tmp_path):
    """Two classes of two images."""
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(2):
            (tmp_path / name / f"{i}.jpg").write_bytes(jpeg((90 * i, 9, 200)))
    return tmp_path
