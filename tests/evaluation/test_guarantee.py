"""A guarantee is about one cascade and one draw, and of its sentence nothing can be changed."""

import json
import pickle
import re
from dataclasses import fields, replace

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.evaluation.guarantee import AGREEMENT, Guarantee, certainty, percent
from cascadelib.evaluation.point import nan_equal
from cascadelib.files import digest_of
from cascadelib.policy.form import PARTS, parse_cascade, text_of


def table(k, seed, prefix="q"):
    """Return correctness and confidences of three models, with a column."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = np.array([[0.8], [1.3], [1.6]]) + 0.8 * ease + 0.6 * rng.normal(size=(3, k))
    values = margin + rng.normal(size=(3, k))
    labels = rng.integers(0, 3, k)
    predictions = np.where(margin > 0, labels, (labels + 1) % 3)
    ids = [f"{prefix}{row}" for row in range(k)]
    names = ["s", "m", "l"]
    return cl.ScoreTable(None, values, [1, 5, 20], names, ids, predictions, labels)


CHOSEN = table(1500, 0, "chosen")
CHECK = table(1500, 1, "check")
METHODS = {
    "none": None,
    "fitted": cl.Method(confidence="isotonic_by_label").fit(table(2000, 2, "fit")),
}


@pytest.fixture(scope="module", params=METHODS)
def point(request):
    """A certified point, with the notes that a file stores."""
    front = cl.search(CHOSEN, 2, METHODS[request.param])
    found = cl.certify(CHECK, front, 0.03, reference="l").point
    return cl.Policy.from_point(found, CHOSEN, CHECK).point


def other(value):
    """Return other values of the same kind."""
    if isinstance(value, str):
        return [value + "x"]
    if isinstance(value, bool) or value is None:
        return [not value]
    if isinstance(value, float | int):
        return [value + 1, np.nextafter(value, 9e9), -value - 1]
    if isinstance(value, tuple):
        return [value[::-1], value[:-1], (*value, *value[:1])]
    return []


def test_the_sentence_is_about_the_certified_cascade(point):
    assert point.guarantee.cascade == point.digest
    text = str(point.guarantee)
    assert text.startswith("With probability at least 95% over the draw of the 1500 samples, ")
    assert f"{point.chain} loses at most 3 points of accuracy against l, on new data" in text
    assert text.endswith(point.guarantee.assumption)
    assert repr(point.guarantee) == f"<Guarantee: {text}>"
    loaded = parse_cascade(text_of(point))
    assert loaded.guarantee == point.guarantee and text_of(loaded) == text_of(point)
    assert pickle.loads(pickle.dumps(point)).guarantee == point.guarantee


EXAMPLES = {
    "method": cl.Method("entropy"),
    "selected_on": CHECK.origin,
    "thresholds_from": cl.ladder(table(300, 9, "new"), ["s", "l"])[0].thresholds_from,
    "chosen": (("another",), ()),
    "expected": None,
    "certified": None,
    "versions": {"python": "1"},
    "records": ({"name": "another"},),
}


def test_a_point_with_any_changed_field_has_no_guarantee(point):
    """No field may be changed, not even a note that no sentence mentions."""
    for part in fields(point):
        now = getattr(point, part.name)
        values = [EXAMPLES[part.name]] if part.name in EXAMPLES else other(now)
        values = [value for value in values if nan_equal(value) != nan_equal(now)]
        assert values, part.name
        for value in values:
            assert replace(point, **{part.name: value}).guarantee is None, (part.name, value)
    methods = [cl.Method("max_softmax"), cl.Method(ensemble="mean_softmax")]
    methods += [one for one in METHODS.values() if (one is None) == bool(point.fitted)]
    methods.append(cl.Method(confidence="isotonic_by_label").fit(CHECK))
    for method in methods:
        assert replace(point, method=method).guarantee is None
    for part in fields(point.expected):
        expected = replace(point.expected, **{part.name: None})
        assert replace(point, expected=expected).guarantee is None


def test_a_guarantee_with_any_changed_term_is_none(point):
    for part in fields(Guarantee):
        now = getattr(point.guarantee, part.name)
        for value in other(now):
            if value == now:
                continue
            terms = replace(point.guarantee, **{part.name: value})
            assert replace(point, certified=terms).guarantee is None, (part.name, value)


def test_a_policy_with_other_thresholds_has_no_guarantee(point):
    for value in other(point.thresholds[0])[:2]:
        moved = replace(point, thresholds=(value, *point.thresholds[1:]))
        assert cl.Policy.from_point(cl.Policy(moved)).point.guarantee is None
    assert cl.Policy(point).point.guarantee


def leaves(value, path=()):
    """Yield the path of each value of a JSON object. Of a list, two items are enough."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, item in items:
        if isinstance(item, dict | list):
            yield from leaves(item, (*path, key))
        else:
            yield (*path, key)


def changed_file(text, path, value):
    content = json.loads(text)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


def test_an_edited_renamed_or_rebuilt_file_has_no_guarantee(point):
    """Edited: the checksum is old. Rebuilt: it fits. A rebuilt file is another cascade."""
    text = text_of(point)
    rebuilt = 0
    for path in leaves(json.loads(text)):
        if path[0] in ("format", "version", "checksum"):
            continue
        value = json.loads(text)
        for key in path:
            value = value[key]
        for new in other(value)[:1]:
            content = changed_file(text, path, new)
            with pytest.raises(ValueError):
                parse_cascade(content)
            parts = {part: content[part] for part in PARTS if part in content}
            try:
                found = parse_cascade(content | {"checksum": digest_of(parts)})
            except ValueError:
                continue
            assert found.guarantee is None, path
            assert "certified" not in json.loads(text_of(found))
            rebuilt += 1
    assert rebuilt > 30


@pytest.mark.parametrize("version", [1, 2, 4, None])
def test_a_file_of_another_version_is_refused_by_its_name(point, version):
    content = json.loads(text_of(point)) | {"version": version}
    with pytest.raises(ValueError, match=f"format version {version!r}, .* reads version 3"):
        parse_cascade(content)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("certified", "delta"), 1.5),
        (("certified", "epsilon"), -0.1),
        (("expected", "accuracy", "high"), 1.01),
        (("expected", "exit_rates", 0, "low"), -0.1),
        (("chosen", "accuracy"), 93.0),
        (("chosen", "exit_rates", 0), -0.5),
    ],
)
def test_shares_of_a_file_are_checked_for_their_range(point, path, value):
    content = changed_file(text_of(point), path, value)
    parts = {part: content[part] for part in PARTS if part in content}
    with pytest.raises(ValueError, match="^accuracies, exit rates, epsilon and delta must be"):
        parse_cascade(content | {"checksum": digest_of(parts)})


def splits(folder, weights):
    """Return three splits of a store of two models that records these weights."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1500)
    ids = [f"q{row}" for row in range(1500)]
    store = cl.LogitStore.create(folder / weights, labels, ids)
    for name, scale in {"a": 1.0, "b": 3.0}.items():
        logits = rng.normal(size=(1500, 3)) + scale * np.eye(3)[labels]
        store.add(name, logits, macs=scale**2, extraction={"weights_sha256": weights})
    return [store.take(slice(start, start + 500)) for start in (0, 500, 1000)]


def test_a_guarantee_is_about_the_weights_that_were_certified(tmp_path):
    """A store of other weights under the same names is refused."""
    chosen, check, held_out = splits(tmp_path, "first")
    point = cl.certify(check, cl.search(chosen), 0.05, reference="b").point
    assert {record["weights_sha256"] for record in point.records} == {"first"}
    assert "no digest of their weights" not in str(point.guarantee)
    kept = cl.Policy.from_point(point, chosen, held_out).point
    assert kept.guarantee and kept.expected is not None
    others = splits(tmp_path, "other")
    for options in ({"store": others[0]}, {"held_out": others[2]}):
        with pytest.raises(ValueError, match="another model 'a' .*weights_sha256 differ"):
            cl.Policy.from_point(point, **options)


@pytest.mark.parametrize("bounds", [{"budget": 15}, {"epsilon": "3%", "delta": "10%"}])
def test_bounds_of_other_types_are_read_unchanged_from_a_file(bounds):
    point = cl.certify(CHECK, cl.search(CHOSEN, 2), **bounds).point
    assert point.guarantee and parse_cascade(text_of(point)).guarantee == point.guarantee


def test_weights_without_a_digest_are_assumed():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 1000)
    logits = {name: rng.normal(size=(1000, 3)) + 3 * np.eye(3)[labels] for name in "ab"}
    store = cl.LogitStore.from_arrays(labels, logits, macs={"a": 1, "b": 5}, sample_ids=range(1000))
    halves = [store.take(slice(start, start + 500)) for start in (0, 500)]
    found = cl.certify(halves[1], cl.search(halves[0]), 0.05, reference="b")
    assert "without the label (no digest of their weights is recorded)" in str(found.terms)


def test_a_file_of_two_models_has_at_most_7_kb(point):
    """Without figures on other samples."""
    found = cl.certify(CHECK, cl.search(CHOSEN, 2), 0.03, reference="l").point
    text = text_of(cl.Policy.from_point(found).point)
    assert len(found.models) == 2 and len(text.encode()) <= 7000


TERMS = Guarantee("", "s at 0.5 → l", "l", "accuracy", 0.02, None, 0.05, 500, ("A", "B"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "With probability at least 95% over the draw of the 500 samples, s at 0.5 → l loses"),
        ({"delta": 0.004}, "probability at least 99.6% over"),
        ({"delta": 1e-12}, "probability at least 99.9999999999% over"),
        (
            {"epsilon": 0.0004},
            "loses at most 0.04 points of accuracy against l, on new data from the same",
        ),
        ({"score": "F1 of class 'fraud'"}, "2 points of F1 of class 'fraud' against l"),
        ({"score": AGREEMENT}, "s at 0.5 → l differs from l alone in at most 2% of its answers"),
        ({"budget": 12.5}, "against l and costs at most 12.5 a sample, on"),
        (
            {"epsilon": None, "budget": 3, "largest_price": 4},
            "→ l costs at most 3 a sample (if no input",
        ),
        ({"groups": 3}, "against l in each of 3 groups"),
        ({"draws": 90, "frame": 800}, "the draw of the 90 samples, .* on those 800 rows."),
        ({}, "It assumes that A, and that B.$"),
        ({"assumes": ("A",), "remarks": ("C", "D")}, "It assumes that A. C. D.$"),
        ({"remarks": ("C",), "cautions": ("E", "F")}, "that B. C. Caution: E; F.$"),
    ],
)
def test_a_guarantee_states_its_bounds_and_its_draw(changes, words):
    assert re.search(words.replace("(", r"\("), str(replace(TERMS, **changes)))


@pytest.mark.parametrize("delta", [0.05, 0.004, 0.3, 1e-9, 1 / 3])
def test_probabilities_have_the_digits_of_delta(delta):
    assert float(certainty(delta)[:-1]) == pytest.approx(100 - 100 * delta, rel=1e-15)
    assert certainty(delta) != "100%" and float(percent(delta)[:-1]) == pytest.approx(100 * delta)
