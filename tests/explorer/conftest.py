"""An explorer that several tests share."""

import pytest
from explorer_stores import OTHER, STORE

import cascadelib as cl


@pytest.fixture
def explorer():
    return cl.explore(STORE, OTHER)
