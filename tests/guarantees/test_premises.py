"""Each premise of a guarantee is verified, violated or not verifiable.

The certificate, the policy file and the command line state the result."""

import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_of_scores import status_of

from cascadelib import LogitStore, Policy, ScoreTable, certify, ladder, search, to_label
from cascadelib.__main__ import main
from cascadelib.datasets import llm_answers
from cascadelib.guarantees.premises import CHECKS


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
DOUBLED = CHECK.take(np.arange(4000) // 2)
LABELS = dict(zip(CHECK.sample_ids.tolist(), CHECK.labels.tolist()))


@cache
def front():
    """The front of the selection half, which all tests share."""
    return search(CHOOSE, 2)


def middle():
    return front().point(len(front()) // 2)


def changed(table, **changes):
    """Return a table with other columns. Its correctness is computed again."""
    same = {"correct": None, "answered": None, "sample_ids": table.sample_ids}
    return replace(table, **same | changes)


def with_confidence(change, table=CHECK):
    return changed(table, confidence=np.array(change(table.confidence), float))


def evidence_of(certificate, premise):
    return certificate.premises.set_index("premise")["evidence"][premise]


def test_a_certificate_lists_every_premise_once():
    certificate = certify(CHECK, front(), 0.03)
    table = certificate.premises
    assert list(table) == ["premise", "status", "evidence"]
    assert table["premise"].tolist() == list(CHECKS)
    assert not (table["status"] == "violated").any() and table["evidence"].str.len().min() > 20
    text = str(certificate)
    assert "Violated" not in text and text.endswith(" Not verifiable: independent.")


def graded():
    """Return the certification half with the correctness of the small model as confidence."""
    return with_confidence(lambda c: [CHECK.correct[0], c[1]])


def in_another_order():
    """Return a table whose large model has its rows shifted by one, so that errors are separate."""
    table = answers(10_000, seed=3)
    wrong = ((table.labels.astype(int) + 1) % 3).astype(str)
    shifted = np.where(np.roll(table.correct[1], 1), table.labels, wrong)
    return changed(table, predictions=np.array([table.predictions[0], shifted]))


VIOLATIONS = {
    "samples of the selection": ("overlap", lambda: CHOOSE, "2000 of the 2000 samples took part"),
    "repeated ids": ("independent", lambda: DOUBLED, "2000 of the 4000 samples repeat others .ids"),
    "repeated rows": (
        "independent",
        lambda: changed(DOUBLED, sample_ids=[f"r{row}" for row in range(4000)]),
        "2000 of the 4000 samples repeat others: they are equal in all known values",
    ),
    "labels that are the answers of a model": (
        "labels complete",
        lambda: changed(CHECK, labels=CHECK.predictions[0]),
        "the labels are the answers of 'small' on all 2000",
    ),
    "a confidence that is a grade": (
        "confidences",
        graded,
        "confidences of 'small' separate .*before the label",
    ),
    **{
        f"confidences in {unit}": (
            "confidences",
            lambda change=change: with_confidence(change),
            "median confidence of 'small' is .* same unit",
        )
        for unit, change in (
            ("percent", lambda c: c * 100),
            ("logarithms", np.log),
            ("negative numbers", np.negative),
        )
    },
    "one model under two names": (
        "rows aligned",
        lambda: changed(CHECK, predictions=CHECK.predictions[[1, 1]]),
        "equal on all samples.*one model under two names",
    ),
    "rows in another order": ("rows aligned", in_another_order, "models' rows by sample id"),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_a_violated_premise_is_refused_unless_it_is_accepted(case):
    premise, store, message = VIOLATIONS[case]
    others = [name for name in CHECKS if name != premise]
    with pytest.raises(ValueError, match=f"{message}.*accept=.'{premise}',"):
        certify(store(), front(), 0.03, accept=others)
    accepted = certify(store(), front(), 0.03, accept=[premise])
    assert status_of(accepted, premise) == "violated"
    assert f"{premise} (" in str(accepted).partition("Violated, but accepted")[2]


def test_two_models_may_always_give_the_same_answer():
    constant = changed(CHECK, predictions=np.full_like(CHECK.predictions, "0"))
    assert status_of(certify(constant, front(), 0.03), "rows aligned") != "violated"


def test_labels_of_disagreements_that_are_all_the_answers_of_a_model_are_refused():
    ids = to_label(unlabelled(), front(), "large")
    answer_of = dict(zip(CHECK.sample_ids.tolist(), CHECK.predictions[0].tolist()))
    labels = {name: answer_of[name] for name in ids}
    with pytest.raises(ValueError, match=f"answers of 'small' on all {len(ids)} samples"):
        certify(unlabelled(), front(), 0.03, labels=labels)


def test_all_violated_premises_are_named_in_one_error():
    with pytest.raises(ValueError, match="took part .*median confidence of 'small'"):
        certify(with_confidence(lambda c: c * 100, CHOOSE), front(), 0.03)


def test_a_policy_file_stores_the_premises_and_show_prints_them(tmp_path, capsys):
    path = tmp_path / "policy.json"
    accepted = certify(CHOOSE, front(), 0.03, accept=("overlap",))
    Policy.from_point(accepted.point, CHOOSE).save(path)
    assert Policy.load(path).point.guarantee.premises == accepted.terms.premises
    assert main(["show", str(path)]) == 0
    assert "premise overlap: violated: 2000 of the 2000" in capsys.readouterr().out


def missing_confidences(table):
    """Return the table in which the small model has no answer to a fifth of the questions."""
    is_missing = (np.arange(len(table)) % 5 == 0) & np.array([[True], [False]])
    confidence = np.where(is_missing, -np.inf, table.confidence)
    return changed(
        table, confidence=confidence, predictions=np.where(is_missing, "", table.predictions)
    )


def unlabelled(table=CHECK):
    return changed(table, labels=None)


def with_labels(first=0):
    """Return options of certify: the labels that can matter, from the first one on."""
    ids = to_label(unlabelled(), front(), epsilon=0.03)[first:]
    return {"labels": {name: LABELS[name] for name in ids}}


def with_draw():
    draw = to_label(unlabelled(), models="all")
    ids = to_label(unlabelled(), front(), epsilon=0.03, draw=draw)[:-7]
    return {"labels": {name: LABELS[name] for name in ids}, "draw": draw}


def stated(premise, status, words, store=lambda: CHECK, **options):
    return premise, status, words, store, options


STATED = [
    stated("independent", "not verifiable", "no sample repeats another"),
    stated(
        "independent",
        "not verifiable",
        "2000 clusters are named, and none repeats another",
        lambda: DOUBLED,
        clusters=np.arange(4000) // 2,
    ),
    stated("independent", "not verifiable", "has a single sample", clusters=np.arange(2000)),
    stated("spelling", "verified", "all answers were read as labels"),
    stated(
        "spelling",
        "not verifiable",
        "text was compared as written: answer='exact'",
        lambda: changed(CHECK, answer="exact"),
    ),
    stated("labels complete", "verified", "all 2000 labels"),
    stated("labels complete", "verified", "all ", unlabelled, options=with_labels),
    stated(
        "labels complete", "not verifiable", "7 of ", unlabelled, options=lambda: with_labels(7)
    ),
    stated("labels complete", "verified", "the first of the draw", unlabelled, options=with_draw),
    stated(
        "labels complete",
        "not verifiable",
        "7 samples with missing rows were dropped",
        lambda: changed(CHECK, dropped=7),
    ),
    stated("rows aligned", "verified", "each model correlates with another"),
    stated("rows aligned", "not verifiable", "known only where", unlabelled, options=with_labels),
    stated("confidences", "verified", "inside the range"),
    stated(
        "confidences", "verified", "inside the range", lambda: with_confidence(lambda c: c + 0.3)
    ),
    stated(
        "confidences",
        "verified",
        "inside the range",
        lambda: with_confidence(lambda c: np.where(c > 0.995, 7.0, c)),
    ),
    stated("confidences", "not verifiable", "too few", lambda: CHECK.take([0]), epsilon=0.3),
    stated("confidences", "verified", "inside the range", cascades=lambda: front().reference),
    stated(
        "confidences",
        "not verifiable",
        "400 confidences of 'small' are missing, and 0 on the selection splits",
        lambda: missing_confidences(CHECK),
    ),
    *(
        stated(
            "confidences",
            "verified",
            "inside the range",
            store,
            cascades=lambda: search(missing_confidences(CHOOSE), 2),
        )
        for store in (lambda: missing_confidences(CHECK), lambda: CHECK)
    ),
]


@pytest.mark.parametrize(("premise", "status", "words", "store", "options"), STATED)
def test_a_premise_states_what_was_compared(premise, status, words, store, options):
    """The text of the certificate has the evidence of premises that count samples."""
    cascades = options.get("cascades", front)()
    others = {name: options[name] for name in options if name in ("clusters", "epsilon")}
    others |= options.get("options", dict)()
    found = certify(store(), cascades, **{"epsilon": 0.03, "reference": "large"} | others)
    assert status_of(found, premise) == status
    assert words in evidence_of(found, premise)
    counted = ("spelling", "labels complete", "reference complete")
    is_in_text = f"{premise} ({evidence_of(found, premise)})" in str(found)
    assert is_in_text == (premise in counted and status == "not verifiable")


def test_clusters_of_one_sample_do_not_excuse_repeats():
    with pytest.raises(ValueError, match="samples repeat others"):
        certify(DOUBLED, front(), 0.03, clusters=np.arange(4000))


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
    first, second = (certify(check, middle(), 0.04, reference="large") for _ in range(2))
    assert first.table["p_value"][0] != second.table["p_value"][0]
    design = first.terms.design
    assert design.order_by.startswith("the operating system (seed ")
    seed = int("".join(filter(str.isdigit, design.order_by)))
    again = certify(check, middle(), 0.04, reference="large", seed=seed)
    assert again.table["p_value"][0] == first.table["p_value"][0]
    assert "valid if it repeats a recorded draw" in again.terms.design.order_by
    counted = certify(CHECK, middle(), 0.04, reference="large", seed=5)
    assert counted.terms.design.order_by == ""
    pairs = {"clusters": np.arange(2000) // 2}
    for options, is_ordered in ((pairs, True), ({"budget": 15.0}, False)):
        found = certify(CHECK, middle(), 0.04, reference="large", **options)
        assert bool(found.terms.design.order_by) == is_ordered


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


def test_a_search_names_the_models_that_are_misaligned_with_all_others():
    with pytest.warns(UserWarning, match=r"\['middle'\] does not .* models=\['small', 'large'\]"):
        search(three_models(), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(three_models(), 2, models=["small", "large"])
        search(TABLE, 2)


def test_a_misaligned_model_outside_of_the_cascade_does_not_matter():
    """Its own cascades are left out, and the others are certified."""
    table = three_models()
    check = three_models(seed=1)
    sound, mixed = (ladder(table, [name, "large"])[:40] for name in ("small", "middle"))
    found = certify(check, sound, 0.05, reference="large")
    assert found.guarantee is not None and "misaligned" not in str(found)
    both = certify(check, [*sound, *mixed], 0.05, reference="large", simultaneous=True)
    assert status_of(both, "rows aligned") == "not verifiable"
    assert "'middle'" in evidence_of(both, "rows aligned")
    assert both.certified and {"middle" in point.models for point in both.certified} == {False}
    with pytest.raises(ValueError, match="rows are not aligned"):
        certify(check, mixed, 0.05, reference="large")
    # If a label is missing, correctness is unknown, so that no cascade is left out.
    labels = dict(zip(check.sample_ids.tolist(), check.labels.tolist()))
    del labels[to_label(check, mixed, "large")[0]]
    few = certify(unlabelled(check), [*sound, *mixed], 0.9, reference="large", labels=labels)
    assert status_of(few, "rows aligned") == "not verifiable" and few.table["certified"].all()


def test_coarse_and_heavy_tailed_confidences_of_one_source_pass():
    rng = np.random.default_rng(1)
    for draw in (lambda: rng.integers(0, 2, (2, 300)), lambda: rng.standard_cauchy((2, 300))):
        for seed in range(0, 10, 2):
            chosen = answers(300, seed, confidence=draw().astype(float))
            check = answers(300, seed + 1, confidence=draw().astype(float))
            found = certify(check, search(chosen, 2), 0.3)
            assert status_of(found, "confidences") == "verified"


def test_a_ladder_compares_confidences_with_those_of_its_thresholds():
    points = ladder(CHOOSE, ["small", "large"])
    percent = with_confidence(lambda c: c * 100)
    with pytest.raises(ValueError, match="median confidence of 'small'"):
        certify(percent, points, 0.03, reference="large")
    assert status_of(certify(CHECK, points, 0.03, reference="large"), "confidences") == "verified"


def test_certificates_on_the_same_samples_are_counted():
    check = answers(2000, seed=77)
    for count in (1, 2, 3):
        found = certify(check, front(), 0.03)
        stated = f"{count} certificates of this process, 1 are accounted for"
        assert (stated in evidence_of(found, "independent")) == (count > 1)
    shared = certify(check, front(), 0.03, certificates=9)
    assert "accounted for" not in evidence_of(shared, "independent")


def without_answers(table, absent):
    """Return the table without answers of the large model for some samples."""
    is_absent = absent & np.array([[False], [True]])
    confidence = np.where(is_absent, -np.inf, table.confidence)
    return changed(
        table, confidence=confidence, predictions=np.where(is_absent, "", table.predictions)
    )


@pytest.mark.parametrize("share", [0.01, 0.15, 1.0])
def test_a_reference_without_an_answer_counts_as_the_worst_case_and_the_share_is_stated(share):
    absent = np.arange(2000) < share * 2000
    found = certify(without_answers(CHECK, absent), middle(), 0.03, reference="large")
    text = f"reference complete (the reference has no readable answer on {share:.1%} of the samples"
    assert status_of(found, "reference complete") == "not verifiable" and text in str(found)
    exits = CHECK.confidence[0] >= middle().thresholds[0]
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
        asked = unlabelled(asked)
        labels = {name: LABELS[name] for name in to_label(asked, middle(), reference="large")}
    found = certify(asked, middle(), 0.1, reference="large", labels=labels)
    predictions = table.predictions.copy()
    answers = rng.integers(0, 3, (absent.sum(), 2)).astype(str)
    predictions[1, absent] = np.where(rng.random() < 0.5, answers[:, 0], table.labels[absent])
    filled = changed(table, predictions=predictions)
    there = certify(filled, middle(), 0.1, reference="large", accept=["rows aligned"])
    assert there.table["p_value"][0] <= found.table["p_value"][0] + 1e-12


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
    status = found.premises["status"]
    assert not (status == "violated").any()
    assert name == "answers" or (status.iloc[1:] == "verified").all()


def test_answers_of_the_reference_that_are_not_labels_are_counted_in_the_text():
    predictions = TABLE.predictions.copy()
    predictions[1, ::20] = "n/a"
    table = answers(predictions=predictions)
    with pytest.raises(ValueError, match=r"'large' that are unreadable \(5.0%\)"):
        certify(table.take(slice(2000, None)), middle(), 0.5, reference="large")
    table = answers(predictions=predictions, missing="wrong")
    front = search(table.take(slice(0, 2000)), 2)
    certificate = certify(table.take(slice(2000, None)), front, 0.5, reference="large")
    assert status_of(certificate, "spelling") == "not verifiable"
    assert "5.00% unreadable; missing='wrong' counts all of them as wrong" in str(certificate)


def test_confidences_of_graded_answers_are_not_refused_as_grades():
    grades = np.clip([TABLE.confidence[0], 0.5 + 0.5 * TABLE.confidence[0]], 0, 1).round(2)
    graded = answers(correct=grades, predictions=None, labels=None)
    front = search(graded.take(slice(0, 2000)), 2)
    certificate = certify(graded.take(slice(2000, None)), front, 0.2)
    assert status_of(certificate, "confidences") == "verified"
