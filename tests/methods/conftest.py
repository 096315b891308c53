"""A store that the tests of methods share."""

import numpy as np
import pytest

from cascadelib import LogitStore


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    signal = np.eye(4)[labels]
    logits = {f"m{i}": (i + 1.5) * signal + rng.normal(size=(300, 4)) * 1.2 for i in range(3)}
    return LogitStore.from_arrays(labels, logits, macs={"m0": 10, "m1": 100, "m2": 1000})
