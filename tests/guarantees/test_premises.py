"""Each premise of a guarantee is verified, violated or not verifiable.

The certificate, the policy file and the command line state the result."""

import warnings
from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_of_scores import status_of

from cascadelib import LogitStore, Policy, ScoreTable, certify, ladder, search, to_label
from cascadelib.__main__ import main
from cascadelib.datasets import llm_answers
from cascadelib.guarantees.premises import CHECKS
from cascadelib.guarantees.repeats import LEVEL
from cascadelib.methods.confidence_range import has_power


def answers(k=4000, seed=0, **changes):
    """Return answers of a small and a large model to k questions of three classes."""
    rng = np.random.default_rng(seed)
    ease = rng.random(k)
    labels = rng.integers(0, 3, k)
    is_correct = rng.random((2, k)) < [0.4 + 0.6 * ease, 0.75 + 0.25 * np.sqrt(ease)]
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
FRONT = search(CHOOSE, 2)
POINT = FRONT.point(len(FRONT) // 2)


def with_confidence(table, confidence):
    return replace(table, confidence=np.asarray(confidence), sample_ids=table.sample_ids)


def test_a_certificate_lists_every_premise_once():
    certificate = certify(CHECK, FRONT, 0.03)
    table = certificate.premises
    assert list(table) == ["premise", "status", "evidence"]
    assert table["premise"].tolist() == list(CHECKS)
    assert not (table["status"] == "violated").any() and table["evidence"].str.len().min() > 20
    text = str(certificate)
    assert "Violated" not in text and text.endswith(" Not verifiable: independent.")


def test_samples_of_the_selection_are_refused_unless_overlap_is_accepted(tmp_path):
    with pytest.raises(ValueError, match="2000 of the 2000 samples took part .*accept=.'overlap',"):
        certify(CHOOSE, FRONT, 0.03)
    with pytest.raises(ValueError, match="2000 of the 2000"):
        certify(CHOOSE, FRONT, 0.03, accept=("independent", "confidences"))
    accepted = certify(CHOOSE, FRONT, 0.03, accept=("overlap",))
    assert status_of(accepted, "overlap") == "violated"
    assert "Violated, but accepted" in str(accepted)
    assert str(accepted).index("overlap (2000 of the 2000") < str(accepted).index("Not verifiable")
    Policy.from_point(accepted.point, CHOOSE).save(tmp_path / "policy.json")
    stated = {
        each.name: each for each in Policy.load(tmp_path / "policy.json").point.guarantee.premises
    }
    assert stated["overlap"].status == "violated"
    assert stated["overlap"].evidence.startswith("2000 of the 2000 samples took part")


def test_show_prints_the_premises_of_a_file(tmp_path, capsys):
    path = tmp_path / "policy.json"
    Policy.from_point(certify(CHECK, FRONT, 0.03).point, CHOOSE, CHECK).save(path)
    assert main(["show", str(path)]) == 0
    assert "premise overlap: verified: no id" in capsys.readouterr().out
    Policy.from_point(FRONT.point(-1), CHOOSE).save(path)
    assert main(["show", str(path)]) == 0
    assert "premise" not in capsys.readouterr().out


def test_repeated_samples_are_refused_unless_accepted():
    doubled = CHECK.take(np.arange(4000) // 2)
    renamed = replace(doubled, sample_ids=[f"r{row}" for row in range(4000)])
    for store, how in ((doubled, " .ids"), (renamed, ": they are equal in all known values")):
        with pytest.raises(ValueError, match=f"2000 of the 4000 samples repeat others{how}"):
            certify(store, FRONT, 0.03)
        accepted = certify(store, FRONT, 0.03, accept=["independent"])
        assert status_of(accepted, "independent") == "violated"
        assert "Violated, but accepted" in str(accepted)


def test_named_clusters_may_repeat_samples_and_verify_nothing():
    doubled = CHECK.take(np.arange(4000) // 2)
    for store, clusters, evidence in (
        (CHECK, None, "no sample repeats another"),
        (doubled, np.arange(4000) // 2, "2000 clusters are named, and none repeats another"),
        (CHECK, np.arange(2000), "each cluster has a single sample, which shows nothing"),
    ):
        found = certify(store, FRONT, 0.03, clusters=clusters)
        assert status_of(found, "independent") == "not verifiable"
        assert evidence in found.premises["evidence"][0]
    with pytest.raises(ValueError, match="samples repeat others"):
        certify(doubled, FRONT, 0.03, clusters=np.arange(4000))


def test_labels_of_a_table_must_be_a_uniform_draw_of_its_rows():
    """Of the table that gave the thresholds. Labels of confident rows hide the errors."""
    points = ladder(TABLE, ["small", "large"])
    confident = np.argsort(-TABLE.confidence[0])[:800]
    agreeing = np.flatnonzero(TABLE.predictions[0] == TABLE.predictions[1])[:800]
    for rows in (confident, agreeing):
        with pytest.raises(ValueError, match="not a uniform draw from the 4000 rows.*label a unif"):
            certify(TABLE.take(rows), points, 0.02, reference="large")
    for seed in range(5):
        rows = np.random.default_rng(seed).choice(4000, 800, replace=False)
        found = certify(TABLE.take(rows), points, 0.03, reference="large")
        assert found.terms.design.frame == 4000


def test_only_whole_clusters_of_the_rows_that_gave_the_thresholds_are_certified():
    points = ladder(TABLE, ["small", "large"])
    options = {"epsilon": 0.1, "reference": "large"}
    cluster_of = dict(zip(TABLE.sample_ids.tolist(), np.arange(4000) // 4))
    with pytest.raises(ValueError, match="draw of rows is not a draw of clusters. Give the clus"):
        certify(CHECK, points, **options, clusters=np.arange(2000) // 4)
    with pytest.raises(ValueError, match="2 rows of the drawn clusters are not .*: draw whole cl"):
        certify(TABLE.take(slice(0, 1002)), points, **options, clusters=cluster_of)
    drawn = np.isin(np.arange(4000) // 4, np.random.default_rng(0).choice(1000, 300, False))
    found = certify(TABLE.take(drawn), points, **options, clusters=cluster_of)
    assert found.guarantee.design.frame == 1000
    text = "as the mean over clusters of their means, on those 1000 clusters."
    assert text in str(found) and "drawn without replacement from 1000 clusters" in str(found)
    groups = TABLE.labels[drawn]
    with pytest.raises(ValueError, match="sizes of the groups in the table are unknown"):
        certify(TABLE.take(drawn), points, **options, clusters=cluster_of, groups=groups)
    confident = np.argsort(-TABLE.confidence[0].reshape(1000, 4).mean(axis=1))[:300]
    with pytest.raises(ValueError, match="the 1200 samples are not a uniform draw"):
        drawn = np.isin(np.arange(4000) // 4, confident)
        certify(TABLE.take(drawn), points, **options, clusters=cluster_of)


def test_the_operating_system_orders_the_samples_of_bets_and_its_seed_repeats_a_certificate():
    graded = answers(correct=TABLE.correct.astype(float), predictions=None, labels=None)
    check = graded.take(slice(2000, None))
    first, second = (certify(check, POINT, 0.04, reference="large") for _ in range(2))
    assert first.table["p_value"][0] != second.table["p_value"][0]
    design = first.terms.design
    assert design.order_by.startswith("the operating system (seed ")
    assert f". They were tested in an order by {design.order_by}" in str(design)
    seed = int("".join(filter(str.isdigit, design.order_by)))
    again = certify(check, POINT, 0.04, reference="large", seed=seed)
    assert again.table["p_value"][0] == first.table["p_value"][0]
    assert "valid if it repeats a recorded draw" in again.terms.design.order_by
    counted = certify(CHECK, POINT, 0.04, reference="large", seed=5)
    assert counted.terms.design.order_by == ""
    for options, is_ordered in (
        ({"clusters": np.arange(2000) // 2}, True),
        ({"budget": 15.0}, False),
        ({"budget": 15.0, "clusters": np.arange(2000) // 2}, True),
    ):
        found = certify(CHECK, POINT, 0.04, reference="large", **options)
        assert bool(found.terms.design.order_by) == is_ordered


def test_confidences_that_are_missing_more_often_than_at_selection_are_stated():
    missing = np.arange(4000) % 5 == 0
    gaps = replace(
        TABLE,
        confidence=np.where(missing & [[True], [False]], -np.inf, TABLE.confidence),
        predictions=np.where(missing & [[True], [False]], "", TABLE.predictions),
        correct=None, answered=None, sample_ids=TABLE.sample_ids,
    )  # fmt: skip
    halves = [part.take(slice(2000, None)) for part in (TABLE, gaps)]
    fronts = [search(part.take(slice(0, 2000)), 2) for part in (TABLE, gaps)]
    stated = certify(halves[1], fronts[0], 0.03)
    assert status_of(stated, "confidences") == "not verifiable"
    evidence = "400 confidences of 'small' are missing, and 0 on the selection splits"
    assert evidence in stated.premises["evidence"].tolist()
    for part, front in ((halves[1], fronts[1]), (halves[0], fronts[1])):
        assert status_of(certify(part, front, 0.03), "confidences") == "verified"


def test_a_search_names_the_models_that_are_misaligned_with_all_others():
    with pytest.warns(UserWarning, match=r"\['middle'\] does not .* models=\['small', 'large'\]"):
        search(three_models(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(three_models(), 2, models=["small", "large"])
        search(TABLE, 2)


def test_labels_that_are_the_small_model_s_answers_are_refused():
    copied = answers(seed=5, labels=answers(seed=5).predictions[0])
    points = ladder(CHOOSE, ["small", "large"])
    with pytest.raises(ValueError, match="the labels are the answers of 'small' on all 4000"):
        certify(copied, points, 0.02, reference="large")
    accepted = certify(copied, points, 0.02, reference="large", accept=["labels complete"])
    assert status_of(accepted, "labels complete") == "violated"


def three_models(seed=0, k=3000):
    """Return a table of three models, of which the middle one is in another order."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, k)
    ease = rng.normal(size=k)
    margin = np.array([ease + 0.5, rng.normal(size=k) + 1.5, ease + 1.5])
    margin = margin + 0.5 * rng.normal(size=(3, k))
    predictions = np.where(margin > 0, labels, (labels + 1) % 3).astype(str)
    changes = {"labels": labels.astype(str), "names": ["small", "middle", "large"]}
    changes |= {"confidence": margin + rng.normal(size=(3, k)), "cost": [1, 5, 20]}
    return answers(k, seed, predictions=predictions, **changes)


def test_a_misaligned_model_outside_of_the_cascade_does_not_matter():
    """Its own cascades are left out, and the others are certified."""
    table = three_models()
    check = three_models(seed=1)
    sound, mixed = (ladder(table, [name, "large"])[:40] for name in ("small", "middle"))
    found = certify(check, sound, 0.05, reference="large")
    assert found.guarantee is not None and "misaligned" not in str(found)
    both = certify(check, [*sound, *mixed], 0.05, reference="large", simultaneous=True)
    assert status_of(both, "rows aligned") == "not verifiable"
    assert (
        "'middle'" in dict(zip(both.premises["premise"], both.premises["evidence"]))["rows aligned"]
    )
    assert both.certified and {"middle" in point.models for point in both.certified} == {False}
    with pytest.raises(ValueError, match="rows are not aligned"):
        certify(check, mixed, 0.05, reference="large")


def test_all_violated_premises_are_named_in_one_error():
    percent = with_confidence(CHOOSE, CHOOSE.confidence * 100)
    with pytest.raises(ValueError, match="took part .*median confidence of 'small'"):
        certify(percent, FRONT, 0.03)


@pytest.mark.parametrize(
    ("change", "violates"),
    [
        (lambda c: c * 100, True),
        (lambda c: np.log(c), True),
        (lambda c: -c, True),
        (lambda c: c + 0.3, False),  # many values are outside, but not the median
        (lambda c: np.where(c > 0.995, 7.0, c), False),
    ],
    ids=["percent", "logarithms", "negative", "shifted", "a few outside"],
)
def test_confidences_in_another_unit_are_refused(change, violates):
    other = with_confidence(CHECK, change(CHECK.confidence))
    if not violates:
        assert status_of(certify(other, FRONT, 0.03), "confidences") == "verified"
        return
    with pytest.raises(ValueError, match="median confidence of 'small' is .* same unit"):
        certify(other, FRONT, 0.03)
    accepted = certify(other, FRONT, 0.03, accept=["confidences"])
    assert status_of(accepted, "confidences") == "violated"


def test_few_confidences_cannot_be_compared():
    certificate = certify(CHECK.take([0]), FRONT, 0.3)
    assert status_of(certificate, "confidences") == "not verifiable"
    single = certify(CHECK, FRONT.reference, 0.03, reference="large")
    assert status_of(single, "confidences") == "verified"


@given(st.integers(1, 6), st.integers(1, 6))
def test_the_level_of_the_median_test_is_exact(seen, here):
    """All possible ranks of the certification split among all values are enumerated."""
    orders = list(combinations(range(seen + here), here))
    above = [ranks for ranks in orders if ranks[here // 2] > max({*range(seen + here)} - {*ranks})]
    upper = here - here // 2
    assert len(above) * comb(seen + here, upper) == comb(here, upper) * len(orders)


def test_the_median_test_needs_samples_on_both_sides():
    upper = 10
    exact = 2 * comb(20, upper) / comb(20 + 40, upper)
    assert has_power(40, 20, LEVEL) == (exact <= LEVEL)
    needed = next(k for k in range(1, 99) if has_power(k, k, LEVEL))
    assert 2 * comb(needed, -(-needed // 2)) / comb(2 * needed, -(-needed // 2)) <= LEVEL
    assert not has_power(needed - 1, needed - 1, LEVEL) and not has_power(
        needed, needed, LEVEL / 2**20
    )
    assert not has_power(0, 50, LEVEL) and not has_power(50, 0, LEVEL)


def test_coarse_and_heavy_tailed_confidences_of_one_source_pass():
    rng = np.random.default_rng(1)
    for draw in (lambda: rng.integers(0, 2, 300), lambda: rng.standard_cauchy(300)):
        for _ in range(12):
            choose, check = (
                with_confidence(answers(300, seed), np.array([draw(), draw()]) * 1.0)
                for seed in rng.integers(10**9, size=2)
            )
            found = certify(check, search(choose, 2), 0.3)
            assert status_of(found, "confidences") == "verified"


def test_missing_labels_count_as_the_worst_case_and_are_counted():
    unlabelled = replace(CHECK, correct=None, labels=None, sample_ids=CHECK.sample_ids)
    ids = to_label(unlabelled, FRONT, epsilon=0.03)
    label_of = dict(zip(CHECK.sample_ids.tolist(), CHECK.labels.tolist()))
    every = certify(unlabelled, FRONT, 0.03, labels={name: label_of[name] for name in ids})
    assert status_of(every, "labels complete") == "verified"
    assert f"all {len(ids)} labels that can matter" in " ".join(every.premises["evidence"])
    some = certify(unlabelled, FRONT, 0.03, labels={name: label_of[name] for name in ids[7:]})
    assert f"labels complete (7 of {len(ids)} labels that can matter are missing" in str(some)
    drawn = certify(
        unlabelled,
        FRONT,
        0.03,
        labels={name: label_of[name] for name in ids[:-7]},
        labels_in_order=True,
    )
    assert status_of(drawn, "labels complete") == "verified"


def test_stores_of_logits_verify_spelling_and_confidences():
    store = LogitStore("data/fashion-mnist/val").select(["mlp@28", "lenet@28"])
    found = certify(store.take(slice(5000, None)), search(store.take(slice(0, 5000)), 2), 0.02)
    verified = found.premises.set_index("premise")["status"] == "verified"
    assert verified.drop("independent").all()


def test_a_ladder_compares_confidences_with_those_of_its_thresholds():
    points = ladder(CHOOSE, ["small", "large"])
    percent = with_confidence(CHECK, CHECK.confidence * 100)
    with pytest.raises(ValueError, match="median confidence of 'small'"):
        certify(percent, points, 0.03, reference="large")
    assert status_of(certify(CHECK, points, 0.03, reference="large"), "confidences") == "verified"


def test_certificates_on_the_same_samples_are_counted():
    table = answers(seed=77)
    front = search(table.take(slice(0, 2000)), 2)
    check = table.take(slice(2000, None))
    texts = []
    for count in (1, 2, 3):
        found = certify(check, front, 0.03)
        texts.append(str(found))
        stated = f"{count} certificates of this process, 1 are accounted for"
        assert (stated in found.premises["evidence"][0]) == (count > 1)
    assert len(set(texts)) == 1  # the text of a certificate is the same each time
    shared = certify(check, front, 0.03, certificates=9)
    assert "accounted for" not in shared.premises["evidence"][0]


def test_rows_of_different_samples_are_refused():
    """The rows of one model are shifted by one, so that errors seem to be independent."""
    shifted = answers(20_000, seed=3)
    predictions = np.array([shifted.predictions[0], np.roll(shifted.predictions[1], 1)])
    labels = shifted.labels
    predictions[1] = np.where(np.roll(shifted.correct[1], 1), labels, predictions[1] + "x")
    table = replace(shifted, predictions=predictions, correct=None, sample_ids=shifted.sample_ids)
    choose, check = (table.take(slice(start, start + 10_000)) for start in (0, 10_000))
    with pytest.warns(UserWarning, match="Check the join by sample id$"):
        front = search(choose, 2)
    with pytest.raises(ValueError, match="join the models' rows by sample id"):
        certify(check, front, 0.03)
    accepted = certify(check, front, 0.03, accept=["rows aligned"])
    assert status_of(accepted, "rows aligned") == "violated"
    assert "rows aligned (" in str(accepted).partition("Violated")[2]


def test_labels_of_disagreements_cannot_show_that_rows_are_aligned():
    unlabelled = replace(CHECK, correct=None, labels=None, sample_ids=CHECK.sample_ids)
    label_of = dict(zip(CHECK.sample_ids.tolist(), CHECK.labels.tolist()))
    ids = to_label(unlabelled, FRONT, epsilon=0.03)
    few = certify(unlabelled, FRONT, 0.03, labels={name: label_of[name] for name in ids})
    assert status_of(few, "rows aligned") == "not verifiable"
    assert status_of(certify(CHECK, FRONT, 0.03), "rows aligned") == "verified"


def without_answers(table, absent):
    """Return the table without answers of the large model for some samples."""
    predictions = table.predictions.copy()
    confidence = table.confidence.copy()
    predictions[1, absent] = ""
    confidence[1, absent] = -np.inf
    return replace(
        table,
        predictions=predictions,
        confidence=confidence,
        correct=None,
        answered=None,
        sample_ids=table.sample_ids,
    )


@pytest.mark.parametrize("share", [0.01, 0.15, 1.0])
def test_a_reference_without_an_answer_counts_as_the_worst_case_and_the_share_is_stated(share):
    absent = np.arange(2000) < share * 2000
    found = certify(without_answers(CHECK, absent), POINT, 0.03, reference="large")
    text = f"reference complete (the reference has no readable answer on {share:.1%} of the samples"
    assert status_of(found, "reference complete") == "not verifiable" and text in str(found)
    exits = CHECK.confidence[0] >= POINT.thresholds[0]
    counted = 0  # the reference counts as correct, unless the cascade returns its answer
    for row in range(2000):
        reference = True if absent[row] else CHECK.correct[1, row]
        answer = CHECK.correct[0, row] if exits[row] else reference
        counted += int(reference) - int(answer)
    assert found.table["accuracy_loss"][0] == pytest.approx(counted / 2000)


@given(st.integers(0, 2**32 - 1), st.sampled_from([None, "labels of disagreements"]))
@settings(max_examples=25)
def test_a_missing_answer_of_the_reference_has_the_p_value_of_the_worst_answer(seed, labels):
    rng = np.random.default_rng(seed)
    table = CHECK.take(slice(0, 300))
    absent = rng.random(300) < rng.random()
    asked = without_answers(table, absent)
    if labels:
        asked = replace(asked, correct=None, labels=None, sample_ids=asked.sample_ids)
        label_of = dict(zip(table.sample_ids.tolist(), table.labels.tolist()))
        labels = {name: label_of[name] for name in to_label(asked, POINT, reference="large")}
    found = certify(asked, POINT, 0.1, reference="large", labels=labels)
    predictions = table.predictions.copy()
    answers = rng.integers(0, 3, (absent.sum(), 2)).astype(str)
    predictions[1, absent] = np.where(rng.random() < 0.5, answers[:, 0], table.labels[absent])
    filled = replace(
        table, predictions=predictions, correct=None, answered=None, sample_ids=table.sample_ids
    )
    there = certify(filled, POINT, 0.1, reference="large", accept=["rows aligned"])
    assert there.table["p_value"][0] <= found.table["p_value"][0] + 1e-12
    assert there.table["accuracy_loss"][0] <= found.table["accuracy_loss"][0] + 1e-12


def test_a_certificate_states_how_text_was_compared():
    for rule, status, words in (
        (None, "verified", "all answers were read as labels"),
        ("exact", "not verifiable", "answer='exact'"),
    ):
        table = replace(CHECK, answer=rule, correct=None, sample_ids=CHECK.sample_ids)
        found = certify(table, FRONT, 0.03)
        assert status_of(found, "spelling") == status
        assert words in found.premises.set_index("premise")["evidence"]["spelling"]
        assert (words in str(found)) == (rule == "exact")


def test_dropped_samples_are_stated():
    found = certify(replace(CHECK, dropped=7, sample_ids=CHECK.sample_ids), FRONT, 0.03)
    assert "labels complete (7 samples with missing rows were dropped" in str(found)


BUNDLED = ["fashion-mnist/val", "fashion-mnist/test", "reviews/val", "reviews/tweets", "answers"]


@pytest.mark.parametrize("name", BUNDLED)
def test_no_bundled_table_is_refused(name):
    if name == "answers":
        columns = {"prediction": "prediction", "label": "label"}
        store = ScoreTable.from_frame(llm_answers(), **columns)
    else:
        store = LogitStore(f"data/{name}")
    order = np.random.default_rng(0).permutation(len(store))
    halves = [store.take(np.sort(rows)) for rows in np.array_split(order, 2)]
    found = certify(halves[1], search(halves[0], 2), 0.05)
    assert not (found.premises["status"] == "violated").any()


def test_a_confidence_that_is_a_grade_is_refused():
    grades = (TABLE.predictions == TABLE.labels).astype(float)
    graded = with_confidence(TABLE, [grades[0], TABLE.confidence[1]])
    front = search(graded.take(slice(0, 2000)), 2)
    check = graded.take(slice(2000, None))
    with pytest.raises(ValueError, match="confidences of 'small' separate .*before the label"):
        certify(check, front, 0.03)
    accepted = certify(check, front, 0.03, accept=("confidences",))
    assert "Violated, but accepted" in str(accepted)


def test_answers_of_the_reference_that_are_not_labels_are_counted_in_the_text():
    predictions = TABLE.predictions.copy()
    predictions[1, ::20] = "n/a"
    table = answers(predictions=predictions)
    with pytest.raises(ValueError, match=r"'large' that are unreadable \(5.0%\), such as 'n' 100"):
        search(table.take(slice(0, 2000)), 2)
    with pytest.raises(ValueError, match=r"'large' that are unreadable \(5.0%\)"):
        certify(table.take(slice(2000, None)), POINT, 0.5, reference="large")
    table = answers(predictions=predictions, missing="wrong")
    front = search(table.take(slice(0, 2000)), 2)
    certificate = certify(table.take(slice(2000, None)), front, 0.5, reference="large")
    assert status_of(certificate, "spelling") == "not verifiable"
    assert "5.00% unreadable; missing='wrong' counts all of them as wrong" in str(certificate)


def test_one_model_under_two_names_is_refused():
    twice = answers(predictions=TABLE.predictions[[1, 1]])
    front = search(twice.take(slice(0, 2000)), 2)
    with pytest.raises(ValueError, match="equal on all samples.*one model under two names"):
        certify(twice.take(slice(2000, None)), front.point(0), 0.03, reference="large")


def test_confidences_of_graded_answers_are_not_refused_as_grades():
    grades = np.clip([TABLE.confidence[0], 0.5 + 0.5 * TABLE.confidence[0]], 0, 1).round(2)
    graded = answers(correct=grades, predictions=None, labels=None)
    front = search(graded.take(slice(0, 2000)), 2)
    certificate = certify(graded.take(slice(2000, None)), front, 0.2)
    assert status_of(certificate, "confidences") == "verified"
