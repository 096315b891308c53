"""What the data suggest against a guarantee is a clause of its text and one warning.

Sound data is never refused."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cascadelib import LogitStore, Policy, ScoreTable, certify, ladder, search
from cascadelib.guarantees import cautions


def answers(k=4000, seed=0, **changes):
    """Return answers of a small and a large model to k questions of three classes."""
    rng = np.random.default_rng(seed)
    ease = rng.random(k)
    labels = rng.integers(0, 3, k)
    is_correct = rng.random((2, k)) < [0.4 + 0.6 * ease, 0.75 + 0.25 * np.sqrt(ease)]
    is_correct[1] |= is_correct[0] & (rng.random(k) < 0.7)
    columns = {
        "correct": None,
        "confidence": np.array([ease, rng.random(k)]),
        "cost": [1, 20],
        "names": ["small", "large"],
        "sample_ids": [f"q{seed}-{row}" for row in range(k)],
        "predictions": np.where(is_correct, labels, (labels + 1) % 3).astype(str),
        "labels": labels.astype(str),
    }
    return ScoreTable(**columns | changes)


TABLE = answers()
CHOOSE = TABLE.take(slice(0, 2000))
CHECK = TABLE.take(slice(2000, None))


@cache
def front():
    """The front of the selection half, which all tests share."""
    return search(CHOOSE, 2)


def changed(table, **changes):
    """Return a table with other columns. Its correctness is computed again."""
    same = {"correct": None, "answered": None, "sample_ids": table.sample_ids}
    return replace(table, **same | changes)


def all_but_one():
    """Labels that are the answers of the small model, except one."""
    labels = CHECK.predictions[0].copy()
    labels[0] = CHECK.labels[0] if CHECK.labels[0] != labels[0] else str((int(labels[0]) + 1) % 3)
    return changed(CHECK, labels=labels)


def of_other_rows(model):
    predictions = CHECK.predictions.copy()
    predictions[model] = np.random.default_rng(0).permutation(predictions[model])
    return changed(CHECK, predictions=predictions)


def correct_elsewhere():
    """A large model as accurate as before, on other samples."""
    is_correct = np.random.default_rng(0).permutation(CHECK.correct[1])
    wrong = ((CHECK.labels.astype(int) + 1) % 3).astype(str)
    large = np.where(is_correct, CHECK.labels, wrong)
    return changed(CHECK, predictions=np.array([CHECK.predictions[0], large]))


FAULTS = {
    "labels of a model, except one": (all_but_one, "100.0% of the labels are the answers of small"),
    "graded confidences": (
        lambda: changed(CHECK, confidence=np.array([CHECK.correct[0] * 1.0, CHECK.confidence[1]])),
        "the confidences of small separate correct from wrong answers",
    ),
    "answers of other rows": (
        lambda: of_other_rows(1),
        "the answers of large agree with the labels by chance: are rows joined by sample id?",
    ),
    "labels of other rows": (
        lambda: changed(CHECK, labels=np.roll(CHECK.labels, 1)),
        "the answers of small agree with the labels by chance",
    ),
    "errors on other rows": (
        correct_elsewhere,
        "the correctness of large and small correlates with that of the others by",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_suspicion_is_in_the_text_and_in_one_warning(fault, tmp_path):
    store, words = FAULTS[fault]
    with pytest.warns(UserWarning, match="^Caution: ") as found:
        certificate = certify(store(), front(), 0.3, reference="large")
    assert len(found) == 1 and found[0].filename == __file__
    assert words in str(found[0].message)
    assert words in str(certificate).partition(" Caution: ")[2]
    if certificate.guarantee:
        Policy.from_point(certificate.point).save(tmp_path / "policy.json")
        text = str(Policy.load(tmp_path / "policy.json").point.guarantee)
        assert words in text.partition(" Caution: ")[2]


def without_caution(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        certificate = certify(*arguments, **options)
    assert "Caution" not in str(certificate)
    return certificate


def test_sound_tables_are_not_cautioned():
    assert without_caution(CHECK, front(), 0.03).guarantee
    constant = changed(CHECK, predictions=np.full_like(CHECK.predictions, "0"))
    without_caution(constant, front(), 0.3)
    graded = answers(correct=np.clip(TABLE.confidence, 0, 1), predictions=None, labels=None)
    halves = [graded.take(slice(0, 2000)), graded.take(slice(2000, None))]
    certify(halves[1], search(halves[0], 2), 0.2)


@pytest.mark.parametrize("name", ["fashion-mnist/val", "fashion-mnist/test", "reviews/val"])
def test_no_bundled_store_is_refused_or_cautioned_of_its_rows(name):
    store = LogitStore(f"data/{name}")
    order = np.random.default_rng(0).permutation(len(store))
    halves = [store.take(np.sort(rows)) for rows in np.array_split(order, 2)]
    found = certify(halves[1], search(halves[0], 2), 0.05)
    assert not any("sample id" in clause for clause in found.terms.cautions)


def test_an_accurate_model_and_a_more_accurate_reference_are_certified():
    """Nearly all labels are the answers of both."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 6000)
    small = rng.random(6000) < 0.991
    large = np.where(small, rng.random(6000) < 0.9985, rng.random(6000) < 0.65)
    confidence = np.array([np.where(small, 0.9, 0.6) - 0.5 * rng.random(6000), rng.random(6000)])
    said = np.where([small, large], labels, (labels + 1) % 5).astype(str)
    ids = [f"q{row}" for row in range(6000)]
    table = ScoreTable(None, confidence, [1, 20], ["small", "large"], ids, said, labels.astype(str))
    with pytest.warns(UserWarning, match="of the labels are the answers of large"):
        found = certify(table.take(slice(3000, None)), search(table.take(slice(0, 3000))), 0.01)
    assert found.guarantee and found.reference == "large" and found.point.cost < 15


def rows_of_a_ladder(rows):
    return certify(TABLE.take(rows), ladder(TABLE, ["small", "large"]), 0.05, reference="large")


ATTACKS = {
    "confident": lambda rng: np.argsort(-TABLE.confidence[0])[:400],
    "models agree": lambda rng: rng.permutation(
        np.flatnonzero(TABLE.predictions[0] == TABLE.predictions[1])
    )[:400],
    "one class": lambda rng: rng.permutation(np.flatnonzero(TABLE.predictions[0] == "1"))[:400],
    "mostly easy": lambda rng: rng.permutation(np.argsort(-TABLE.confidence[0])[:2800])[:400],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_picked_rows_of_the_table_of_a_ladder_are_cautioned(attack):
    """Labels of confident rows hide the errors."""
    rows = ATTACKS[attack](np.random.default_rng(0))
    with pytest.warns(UserWarning, match="the samples are unlike the table that gave the thresh"):
        found = rows_of_a_ladder(rows)
    assert "so hardly a uniform draw of it" in str(found)


@pytest.mark.parametrize("seed", range(5))
def test_a_uniform_draw_of_the_table_of_a_ladder_is_not_cautioned(seed):
    rows = np.random.default_rng(seed).choice(4000, 800, replace=False)
    found = rows_of_a_ladder(rows)
    assert found.terms.frame == 4000 and "unlike" not in str(found)
    assert "that the samples were drawn uniformly from the 4000 rows of the table" in str(
        found.terms
    )


def test_the_boundaries_of_the_cautions():
    labels = np.arange(1000) % 4
    said = np.where(np.arange(1000) < 980, labels, (labels + 1) % 4)
    assert cautions.caution_of_answers("a", said, labels, True).startswith("98.0% of the labels")
    said[0] += 1
    assert cautions.caution_of_answers("a", said, labels, True) == ""
    chance = np.random.default_rng(0).permutation(labels)
    assert "by chance" in cautions.caution_of_answers("a", chance, labels, True)
    assert cautions.caution_of_answers("a", chance, labels, False) == ""
    same = {("t", 0): 0.5, "other": 0.1}
    most = np.sqrt(np.log(2 * 2 / 1e-6) / 2 / 100)
    assert cautions.caution_of_draw(same | {("t", 0): 0.5 + most - 1e-9}, same, 100) == ""
    assert cautions.caution_of_draw(same | {("t", 0): 0.5 + most + 1e-9}, same, 100) != ""
    grade = np.arange(40) / 40
    assert cautions.caution_of_grade("a", grade >= 0.5, grade) != ""
    assert cautions.caution_of_grade("a", grade >= 0.525, grade) == ""  # 19 correct answers


def test_one_mean_correlation_of_each_model_decides():
    rng = np.random.default_rng(0)
    ease = rng.normal(size=2500)
    correct = {name: ease + rng.normal(size=2500) > -1 for name in "abc"}
    assert cautions.caution_of_correlation(correct) == ""
    lone = correct | {"d": rng.random(2500) < 0.8, "constant": np.ones(2500, bool)}
    found = cautions.caution_of_correlation(lone)
    others = sum(each.astype(int) for name, each in lone.items() if name != "d")
    phi = np.corrcoef(lone["d"], others)[0, 1]
    assert found.startswith(f"the correctness of d correlates with that of the others by {phi:.2f}")
    assert phi < 0.15 - 2 / 50
    assert cautions.caution_of_correlation({"a": correct["a"]}) == ""


def test_a_seed_that_orders_the_samples_is_stated_and_repeats_a_certificate():
    graded = answers(correct=TABLE.correct.astype(float), predictions=None, labels=None)
    check = graded.take(slice(2000, None))
    point = front().point(len(front()) // 2)
    first, second = (certify(check, point, 0.04, reference="large") for _ in range(2))
    assert first.table["p_value"][0] != second.table["p_value"][0]
    (clause,) = (each for each in first.terms.assumes if each.startswith("seed "))
    assert clause.endswith(" of the order of the samples was not chosen by its result")
    again = certify(check, point, 0.04, reference="large", seed=int(clause.split()[1]))
    assert again.table["p_value"][0] == first.table["p_value"][0]
    counted = certify(CHECK, point, 0.04, reference="large", seed=5)
    assert not any("seed" in clause for clause in counted.terms.assumes)
