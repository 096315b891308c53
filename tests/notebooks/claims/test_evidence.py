"""Resamples of models, correlations of few pairs, and values that are unknown."""

import numpy as np
import pandas as pd
import pytest

from tools.claims.evidence import (
    Evidence,
    draw_models,
    known_draws,
    normal_draws,
)


def test_models_are_resampled_and_pairs_follow_them():
    pairs = pd.DataFrame({"first": list("aab"), "second": list("bcc"), "gain": [1.0, 2.0, 3.0]})
    first, *draws = [table["gain"].mean() for table in draw_models(pairs)]
    assert first == 2.0 and np.nanstd(draws) > 0
    assert all(1 <= draw <= 3 for draw in draws if not np.isnan(draw))
    models = pd.DataFrame({"gain": [1.0, 2.0]}, ["a", "b"])
    assert {len(table) for table in draw_models(models)} == {2}


def test_normal_draws_have_exactly_their_error():
    draws = normal_draws([1.0, 2.0], [0.1, 0.3])
    assert np.std(draws, axis=0, ddof=1) == pytest.approx([0.1, 0.3])
    assert np.mean(draws, axis=0) == pytest.approx([1.0, 2.0])


def test_too_many_unknown_draws_are_none():
    assert known_draws(Evidence(1.0, [1.0, 2.0, np.nan, 3.0, 4.0, 5.0]), float) == [1, 2, 3, 4, 5]
    assert known_draws(Evidence(1.0, [1.0, np.nan, np.nan]), float) == []
