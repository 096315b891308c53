"""The confidences that a policy file keeps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.policy.confidence_summary import summary


@given(st.lists(st.integers(0, 30).map(lambda n: n / 7), max_size=300))
def test_a_summary_holds_order_statistics_at_ranks_that_hang_on_the_number_only(values):
    short = summary(np.array(values))
    ranks = np.cumsum(short.counts).astype(int)
    assert short.values == tuple(np.sort(values)[ranks - 1].tolist())
    assert ranks.tolist() == np.cumsum(summary(np.arange(float(len(values)))).counts).tolist()
    assert all(0 <= tie <= 1 for tie in short.ties)
    pairs = list(zip(short.values, short.ties, strict=True))
    assert pairs == sorted(set(pairs)) and (not values or (ranks[0], ranks[-1]) == (1, len(values)))
