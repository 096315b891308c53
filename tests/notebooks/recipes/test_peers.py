"""Rules of others in benchmarks/recipes.py stay within the budget and report their measurements."""

import sys
from pathlib import Path

import pytest
from references import brute_front

from cascadelib import LogitStore, Method

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))
import recipes as peers  # noqa: E402 - scripts, no package


@pytest.fixture(scope="module")
def split():
    """Four of the bundled models on 200 images."""
    store = LogitStore("data/fashion-mnist/val").take(slice(0, 200))
    return peers.split_of(store, ["linear@14", "mlp@28", "lenet@28", "resnet18_w32@56"])


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("label", peers.RULES)
def test_rules_stay_within_the_budget_and_report_their_measurements(split, label, n):
    budgets = [share * split.table[2][-1] for share in (0.01, 0.3)]
    best = peers.RULES[label](split, n, budgets)
    exact = peers.exact(split, n, budgets)
    for budget, accuracy, found, most in zip(
        budgets, best.accuracy, best.found, exact.accuracy, strict=True
    ):
        measured = peers.held_out(split, split.store, found)
        assert measured[0] == pytest.approx(accuracy) and measured[1] <= budget * (1 + 1e-12)
        assert accuracy <= most + 1e-12 or label == peers.ROUTING


def test_the_exact_search_equals_a_loop(split):
    brute = brute_front(Method("max_softmax").stage(split.store, split.names), split.table[2], (2,))
    budget = 0.05 * split.table[2][-1]
    most = max(correct for correct, cost in brute.items() if cost <= budget) / len(split.store)
    assert peers.exact(split, 2, [budget]).accuracy == [most]
    assert peers.paper(split, 2, [budget]).accuracy == [most]
