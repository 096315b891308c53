"""Cascades of the bundled zoo, searched once."""

import pytest

from cascadelib import LogitStore, pick, search


@pytest.fixture(scope="session")
def val():
    """The selection split of the bundled zoo."""
    return LogitStore("data/fashion-mnist/val")


@pytest.fixture(scope="session")
def held_out():
    """The test split of the bundled zoo."""
    return LogitStore("data/fashion-mnist/test")


@pytest.fixture(scope="session")
def small_point(val):
    """The best pair of the two smallest models."""
    return pick(search(val, 2, models=["mlp@28", "lenet@28"]), "max_improvement")
