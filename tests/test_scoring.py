"""Scores: what F1 is, from correctness and labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables_of_scores import binary_table, slow_f1

from cascadelib.scoring import f1, f1_of


@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([0.0, 0.5, 1.0]))
def test_f1_from_correctness(seed: int, k: int, share: float) -> None:
    predicted, _, labels, _ = binary_table(seed, 1, k, 3, share)
    assert f1(predicted[0] == labels, labels == 1) == pytest.approx(slow_f1(predicted[0], labels))


def test_f1_of_nothing() -> None:
    assert f1_of(0, 0) == 0 and f1_of(0, 5) == 0 and f1_of(3, 0) == 1
    assert f1_of(np.array([0, 1]), np.array([0, 2])).tolist() == [0, 0.5]
