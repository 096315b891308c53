"""Fixtures that the tests of this room share."""

from typing import Any

import pytest
from explorer_stores import OTHER, STORE

import cascadelib as cl


@pytest.fixture
def explorer() -> Any:
    return cl.explore(STORE, OTHER)
