"""A store that the tests of methods share."""

import pytest
from tiny_stores import noisy_store


@pytest.fixture(scope="module")
def store():
    return noisy_store(k=300, models=3, classes=4, signal=1.5, ease=None, noise=1.2)
