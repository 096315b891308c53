"""A cascade as a scikit-learn classifier."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from tables_of_scores import status_of

import cascadelib as cl
from cascadelib.sklearn import CascadeClassifier


def two(trees: int = 100) -> list:
    """A cheap classifier of digits and a dear one."""
    line = LogisticRegression(C=1e-4)
    return [("line", line), ("forest", RandomForestClassifier(trees, random_state=0))]


@pytest.fixture(scope="module")
def digits() -> Any:
    """(training samples, test samples, their classes): names in place of numbers."""
    X, y = load_digits(return_X_y=True)
    names = np.array("zero one two three four five six seven eight nine".split())
    return train_test_split(X, names[y], random_state=0)


@pytest.fixture(scope="module")
def fitted(digits: Any) -> CascadeClassifier:
    """A cascade of two on three quarters of the digits."""
    X, _, y, _ = digits
    return CascadeClassifier(two(), [1, 30], epsilon=0.04, random_state=0).fit(X, y)


LINES = [("line", LogisticRegression()), ("other line", LogisticRegression(C=10))]


@parametrize_with_checks([CascadeClassifier(LINES, [1, 30], random_state=0)])
def test_it_obeys_the_rules_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_each_sample_has_the_answer_of_the_model_that_the_policy_names(
    fitted: CascadeClassifier, digits: Any
) -> None:
    _, X, _, y = digits
    probabilities = {name: model.predict_proba(X) for name, model in fitted.estimators_.items()}
    assert fitted.policy_.point.models == ("line", "forest")
    confidence = [p.max(axis=1) for p in probabilities.values()]
    stage = fitted.policy_.decide(np.stack(confidence)).exit_stage
    assert 0 < stage.mean() < 1
    expected = np.where(stage[:, None] == 0, *probabilities.values())
    assert np.array_equal(fitted.predict_proba(X), expected)
    assert np.array_equal(fitted.predict(X), fitted.classes_[expected.argmax(axis=1)])
    assert fitted.score(X, y) > 0.9


def test_the_promise_is_about_samples_that_neither_trained_nor_chose(
    fitted: CascadeClassifier, digits: Any, tmp_path: Any
) -> None:
    assert fitted.certificate_.samples == pytest.approx(len(digits[0]) / 4, abs=1)
    assert status_of(fitted.certificate_, "overlap") == "verified"
    fitted.policy_.save(tmp_path / "policy.json")
    assert cl.Policy.load(tmp_path / "policy.json").point.models == ("line", "forest")


def test_where_nothing_is_certified_the_most_accurate_answers_alone(digits: Any) -> None:
    X, _, y, _ = digits
    strict = CascadeClassifier(two(), [1, 30], epsilon=0.0001, random_state=0).fit(X[:200], y[:200])
    assert strict.policy_.point.models == (strict.certificate_.reference,)


def test_it_is_searched_over_and_piped(digits: Any) -> None:
    X, _, y, _ = digits
    pipe = make_pipeline(StandardScaler(), CascadeClassifier(two(10), [1, 30], random_state=0))
    grid = {"cascadeclassifier__line__C": [0.1, 1.0], "cascadeclassifier__epsilon": [0.05]}
    best = GridSearchCV(pipe, grid, cv=2).fit(X[:400], y[:400])
    assert best.best_score_ > 0.8


def test_texts_and_trained_classifiers() -> None:
    words = {"cat": ["purrs", "meows", "naps"], "dog": ["barks", "fetches", "digs"]}
    rng = np.random.default_rng(0)
    y = rng.choice(["cat", "dog"], 600)
    texts = [" ".join(rng.choice(words[label], 3)) for label in y]
    models = [(f"{n}", make_pipeline(TfidfVectorizer(), MultinomialNB())) for n in (1, 2)]
    trained = [(name, model.fit(texts[:100], y[:100])) for name, model in models]
    cascade = CascadeClassifier(trained, [1, 2], epsilon=0.05, prefit=True)
    assert cascade.fit(texts[100:], y[100:]).score(texts, y) == 1
    assert cascade.estimators_["1"] is trained[0][1]


def test_what_is_missing_is_named(digits: Any) -> None:
    X, _, y, _ = digits
    with pytest.raises(ValueError, match="2 estimators, 1 costs"):
        CascadeClassifier(two(), [1]).fit(X, y)
    with pytest.raises(ValueError, match="class"):
        CascadeClassifier(two(), [1, 2]).fit(X, np.full(len(X), "zero"))
