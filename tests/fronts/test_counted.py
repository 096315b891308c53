"""The counting search against all cascades and thresholds."""

from hypothesis import given, settings
from hypothesis import strategies as st
from references import brute_front, last_of
from tables_of_scores import assert_same_front, tables

from cascadelib.fronts.cascades import prepare_search
from cascadelib.fronts.counted import search_counted


@settings(max_examples=20)
@given(tables(models=(3, 3), levels=3), st.sampled_from([(1,), (2,), (1, 2, 3)]))
def test_a_prepared_search_finds_the_front_of_all_thresholds(table, lengths):
    correct, confidence, cost = table
    stage = last_of(correct, confidence)
    points = search_counted(prepare_search(stage, cost, lengths))
    assert_same_front(points, brute_front(stage, cost, lengths), correct.shape[1])
