"""Stores of the probabilities of scikit-learn's classifiers."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import cascadelib as cl
from cascadelib.extraction.estimators import compute_probabilities

RNG = np.random.default_rng(0)
X = RNG.normal(size=(600, 4))
NUMBERS = (X[:, 0] > 0) + 2 * (X[:, 1] > 0.5)
WORDS = np.array(["sea", "air", "land", "ice"])


def trained(y):
    """Fit two classifiers on the first 200 samples, the first without the fourth class."""
    known = np.flatnonzero(NUMBERS[:200] < 3)
    line = LogisticRegression().fit(X[known], y[known])
    return {"line": line, "tree": DecisionTreeClassifier(max_depth=6).fit(X[:200], y[:200])}


@pytest.mark.parametrize("y", [NUMBERS, NUMBERS + 7, WORDS[NUMBERS]], ids=["0 …", "7 …", "text"])
def test_a_store_has_the_probabilities_of_the_classifiers(y, tmp_path):
    models = trained(y)
    store = cl.extract(models, (X[200:], y[200:]), tmp_path, macs={"line": 16, "tree": 60})
    assert store.classes == tuple(np.unique(y).astype(str))
    assert [store.classes[label] for label in store.labels] == y[200:].astype(str).tolist()
    for name, model in models.items():
        assert store.models.loc[name, "top1"] == model.score(X[200:], y[200:])
        assert store.costs("seconds").min() > 0 and store.holds_probabilities(name)
    assert compute_probabilities(models["line"], X, np.unique(y)).sum(axis=1) == pytest.approx(1)
    point = cl.pick(cl.search(cl.LogitStore(tmp_path), cost="macs"), "match_best", caution=0)
    assert point.accuracy >= store.models["top1"].max() - 1e-12


def test_another_store_in_the_folder_and_other_labels_are_refused(tmp_path):
    cl.extract(trained(NUMBERS), (X, NUMBERS), tmp_path)
    with pytest.raises(ValueError, match="already has a store"):
        cl.extract(trained(NUMBERS), (X, NUMBERS), tmp_path)
    with pytest.raises(ValueError, match="unknown label"):
        cl.extract(trained(NUMBERS), (X, NUMBERS + 1), tmp_path / "other")


def test_classes_in_another_spelling_are_refused():
    """Their probabilities went to the columns of other classes."""
    model = LogisticRegression().fit(X[:200], WORDS[NUMBERS[:200]])
    capitals = np.unique(np.char.capitalize(WORDS))
    with pytest.raises(ValueError, match="trained with the class 'air', but y has .*'Air'"):
        compute_probabilities(model, X[:5], capitals)
    with pytest.raises(ValueError, match="trained with the class 'sea'"):
        compute_probabilities(model, X[:5], np.array(["air", "ice", "land"]))
