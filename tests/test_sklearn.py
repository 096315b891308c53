"""A cascade as a scikit-learn classifier."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.datasets import load_digits, make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

import cascadelib.sklearn
from cascadelib.sklearn import (
    CascadeClassifier,
    compute_probabilities,
)


def two(trees=40):
    """A cheap classifier of digits and an expensive one."""
    line = LogisticRegression(C=1e-4, tol=0.01)
    return [("line", line), ("forest", RandomForestClassifier(trees, random_state=0))]


@pytest.fixture(scope="module")
def digits():
    """Training samples, test samples and their classes, which are names."""
    X, y = load_digits(return_X_y=True)
    names = np.array("zero one two three four five six seven eight nine".split())
    return train_test_split(X, names[y], random_state=0)


@pytest.fixture(scope="module")
def fitted(digits):
    """A cascade of two on three quarters of the digits."""
    X, _, y, _ = digits
    costs = {"forest": 30, "line": 1}
    return CascadeClassifier(two(), costs, epsilon="4%", random_state=0).fit(X, y)


LINES = [("line", LogisticRegression()), ("other line", LogisticRegression(C=10))]
ROUGH_LINES = [(name, LogisticRegression(C=line.C, tol=0.1)) for name, line in LINES]


@pytest.mark.soak
@parametrize_with_checks([CascadeClassifier(ROUGH_LINES, [1, 30], random_state=0)])
def test_the_estimator_passes_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_each_sample_is_answered_by_the_model_of_the_policy(fitted, digits):
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


def test_other_samples_certify_than_train_and_choose(fitted, digits):
    assert fitted.certificate_.samples == pytest.approx(len(digits[0]) / 4, abs=1)
    assert "was chosen without them and no model" in str(fitted.certificate_)


def test_the_estimator_works_in_grid_searches_and_pipelines(digits):
    X, _, y, _ = digits
    pipe = make_pipeline(StandardScaler(), CascadeClassifier(two(10), [1, 30], random_state=0))
    grid = {"cascadeclassifier__line__C": [0.1, 1.0], "cascadeclassifier__epsilon": [0.05]}
    best = GridSearchCV(pipe, grid, cv=2).fit(X[:400], y[:400])
    assert best.best_score_ > 0.8


def test_trained_classifiers_of_texts_are_used():
    y = np.random.default_rng(0).choice(["cat", "dog"], 600)
    texts = [f"the {label} naps" for label in y]
    models = [(f"{n}", make_pipeline(TfidfVectorizer(), MultinomialNB())) for n in (1, 2)]
    trained = [(name, model.fit(texts[:100], y[:100])) for name, model in models]
    cascade = CascadeClassifier(trained, [1, 2], epsilon=0.05, prefit=True)
    assert cascade.fit(texts[100:], y[100:]).score(texts, y) == 1
    assert cascade.estimators_["1"] is trained[0][1]


def test_classifiers_that_their_own_training_samples_certify_are_cautioned():
    """The certified loss is 2 points, and the true loss is larger."""
    X, y = make_classification(6_000, 20, n_informative=8, flip_y=0.05, random_state=0)
    models = [DecisionTreeClassifier(max_depth=8), RandomForestClassifier(60, random_state=0)]
    tree, forest = (model.fit(X[:2_000], y[:2_000]) for model in models)
    estimators = [("tree", tree), ("forest", forest)]
    cascade = CascadeClassifier(estimators, [1, 30], epsilon=0.02, prefit=True, random_state=1)
    with pytest.warns(UserWarning, match="100.0% of the labels are the answers of forest"):
        cascade.fit(X[:2_000], y[:2_000])
    assert forest.score(X[2_000:], y[2_000:]) - cascade.score(X[2_000:], y[2_000:]) > 0.03
    text = str(cascade.certificate_)
    assert "It assumes that" in text and "no model or confidence was fitted on them" in text
    assert "Caution: " in text and "100.0% of the labels are the answers of forest" in text


def patients(n, seed, readings=6):
    """(X, y, patient) of patients with similar readings, 2.5% of which have outliers in four
    features that do not matter."""
    rng = np.random.default_rng(seed)
    center = rng.normal(size=(n, 8))
    is_ill = center[:, :4].sum(axis=1) + 0.7 * rng.normal(size=n) > 0
    X = np.repeat(center, readings, axis=0) + 0.1 * rng.normal(size=(n * readings, 8))
    odd = rng.random(len(X)) < 0.025
    X[odd, 4:] += 20 * rng.normal(size=(odd.sum(), 4))
    return X, np.repeat(is_ill, readings).astype(int), np.repeat(np.arange(n), readings)


MEMORISING = [
    ("neighbour", KNeighborsClassifier(1)),
    ("forest", RandomForestClassifier(40, random_state=0)),
]


@pytest.mark.parametrize("seed", [0, 3])
def test_readings_of_a_patient_do_not_certify_what_readings_of_that_patient_trained(seed):
    X, y, patient = patients(200, seed)
    cascade = CascadeClassifier(MEMORISING, [1, 30], epsilon=0.02, random_state=seed)
    new, truth, _ = patients(4000, 99, readings=1)

    def true_loss():
        reference = cascade.estimators_[cascade.certificate_.reference]
        return float((reference.predict(new) == truth).mean() - cascade.score(new, truth))

    cascade.fit(X, y)
    assert true_loss() > 0.06
    cascade.fit(X, y, groups=patient)
    assert true_loss() <= 0.02
    assert cascade.certificate_.samples == pytest.approx(50, abs=1)


@pytest.mark.parametrize("options", [{}, {"prefit": True}])
def test_no_group_is_split_between_the_parts(options, monkeypatch):
    X, y, patient = patients(60, 1)
    X = np.column_stack([patient, X])
    parts = []
    fitted = [(name, sklearn.base.clone(model).fit(X, y)) for name, model in MEMORISING]
    store = cascadelib.sklearn.TrainingData.store

    def recorded(data, trained, rows, costs):
        parts.append({*patient[rows]})
        return store(data, trained, rows, costs)

    monkeypatch.setattr(cascadelib.sklearn.TrainingData, "store", recorded)
    cascade = CascadeClassifier(fitted, [1, 30], epsilon=0.3, random_state=0, **options)
    cascade.fit(X, y, groups=np.char.add("patient ", patient.astype(str)))
    choosing, certifying, *_ = parts
    assert choosing and certifying and not choosing & certifying
    if not options:
        assert not (choosing | certifying) & {*cascade.estimators_["neighbour"]._fit_X[:, 0]}


def test_a_sample_without_a_probability_never_exits_early(fitted, digits):
    class Broken:
        classes_ = fitted.classes_

        def predict_proba(self, X):
            return np.full((len(X), 10), np.nan)

    _, X, _, _ = digits
    broken = sklearn.base.clone(fitted)
    vars(broken).update(vars(fitted), estimators_=fitted.estimators_ | {"line": Broken()})
    assert np.array_equal(broken.predict(X), fitted.estimators_["forest"].predict(X))


def test_pandas_values_are_aligned_by_the_index_of_X():
    X, y, patient = patients(60, 1)
    names = [f"r{row}" for row in range(len(y))]
    frame = pd.DataFrame(X, names)
    series = pd.Series(y, names)
    groups = pd.Series(patient, names)
    cascade = CascadeClassifier(MEMORISING, [1, 30], epsilon=0.3, random_state=0)
    expected = cascade.fit(frame, series, groups).predict_proba(frame)
    again = cascade.fit(frame, series.sample(frac=1, random_state=0), groups[::-1])
    assert np.array_equal(again.predict_proba(frame), expected)
    again = cascade.fit(X, series, groups[::-1])
    assert np.array_equal(again.predict_proba(frame.to_numpy()), expected)
    again = cascade.fit(frame, y, patient)
    assert np.array_equal(again.predict_proba(frame), expected)


SAME = [("a", LogisticRegression()), ("a", GaussianNB())]
NAMES, OTHERS = ([f"{letter}{row}" for row in range(1347)] for letter in "rx")
REFUSED = [
    ({"costs": [1]}, {}, "2 estimators, 1 costs: pass one cost for each"),
    ({"costs": {"line": 1}}, {}, ".*'other line'"),
    ({"costs": [0, 1]}, {}, ".*'line' must be positive and finite, got 0"),
    ({}, {"y": np.full(1347, "zero")}, ".*class"),
    ({"epsilon": 2}, {}, ".*For 2% write 0.02 or '2%'"),
    ({"epsilon": "two"}, {}, r"epsilon must be in \[0, 1\), got 'two'"),
    ({"held_out": 5}, {}, r"held_out must be in \[0, 1\), got 5. For 5% write 0.05"),
    ({"estimators": SAME}, {}, r".*not unique: \['a', 'a'\]"),
    ({"estimators": [GaussianNB()], "costs": [1]}, {}, r".*must be pairs \(name, classifier\)"),
    ({}, {"groups": [1, 2]}, ".*inconsistent"),
    ({}, {"X": pd.DataFrame, "y": pd.Series(1, NAMES)}, "y: X has the default index"),
    ({}, {"X": lambda X: pd.DataFrame(X, OTHERS), "y": pd.Series(1, NAMES)}, ".*'x0' and 'x1'"),
]


@pytest.mark.parametrize(("options", "given", "message"), REFUSED)
def test_fit_refuses(options, given, message, digits):
    X, _, y, _ = digits
    make = given.get("X", np.asarray)
    cascade = CascadeClassifier(**{"estimators": LINES, "costs": [1, 2]} | options)
    with pytest.raises((ValueError, TypeError), match=f"^{message}"):
        cascade.fit(**{"y": y} | given | {"X": make(X)})


def test_classes_that_are_missing_or_differ_by_spelling_alone_are_refused():
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(60, 2))
    two = [("a", LogisticRegression()), ("b", LogisticRegression(C=3))]
    for other, message in (("red ", "'red' and 'red ' differ by spelling"), (None, "no class")):
        y = np.where(inputs[:, 0] > 0, "red", "blue").astype(object)
        y[:3] = other
        with pytest.raises(ValueError, match=message):
            CascadeClassifier(two, [1, 2]).fit(inputs, y)


def test_classes_in_another_spelling_are_refused():
    """Their probabilities went to the columns of other classes."""
    words = np.array(["sea", "air", "land", "ice"])
    inputs = np.random.default_rng(0).normal(size=(200, 4))
    answers = words[(inputs[:, 0] > 0) + 2 * (inputs[:, 1] > 0.5)]
    model = LogisticRegression().fit(inputs, answers)
    probabilities = compute_probabilities(
        model, inputs, np.array(["air", "ice", "land", "sea", "x"])
    )
    np.testing.assert_array_equal(probabilities[:, :4], model.predict_proba(inputs))
    assert not probabilities[:, 4].any()
    capitals = np.unique(np.char.capitalize(words))
    with pytest.raises(ValueError, match="trained with the class 'air', but y has .*'Air'"):
        compute_probabilities(model, inputs, capitals)
    with pytest.raises(ValueError, match="trained with the class 'sea'"):
        compute_probabilities(model, inputs, np.array(["air", "ice", "land"]))
