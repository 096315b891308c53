"""Claims on calibration count models of one size once."""

from tiny_stores import three_models

from tools.claims.calibration import of_zoos


def test_two_seeds_of_a_size_count_as_one_model():
    zoos = [(three_models(seed), three_models(seed + 2)) for seed in (0, 1)]
    found = of_zoos(zoos)["underconfident"]
    assert sum(found.value) <= found.samples == 3
