"""A guarantee is about one cascade and one draw, and its sentence states both."""

import json
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.evaluation.guarantee import AGREEMENT, Design, Guarantee, certainty, percent
from cascadelib.files import digest_of
from cascadelib.origin import parts_of
from cascadelib.policy.form import PARTS, parse_cascade, text_of

OLD = Path(__file__).parents[1] / "data" / "written_by_0.3.0"


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
    assert "This holds for one certificate on these samples" in text
    assert repr(point.guarantee) == f"<Guarantee: {text}>"
    loaded = parse_cascade(text_of(point))
    assert loaded.guarantee == point.guarantee and text_of(loaded) == text_of(point)


def test_a_point_with_any_changed_field_has_no_guarantee(point):
    """Except notes such as ``chosen_by``, which no sentence mentions and the page lists."""
    notes = {"selected_on", "thresholds_from", "saving", "difference", "expected_accuracy"}
    notes |= {"chosen_by", "expected", "versions", "certified", "chosen"}
    page = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in notes - {"certified"})
    changed = 0
    for part in fields(point):
        if part.name in notes | {"method", "records"}:
            continue
        for value in other(getattr(point, part.name)):
            if value == getattr(point, part.name):
                continue
            assert replace(point, **{part.name: value}).guarantee is None, (part.name, value)
            assert point.annotate(**{part.name: value}).guarantee is None
            changed += 1
    assert changed >= 15
    renamed = [dict(each) | {"checkpoint": "another"} for each in point.records]
    methods = [cl.Method("entropy"), cl.Method("max_softmax"), cl.Method(ensemble="mean_softmax")]
    methods += [one for one in METHODS.values() if (one is None) == bool(point.fitted)]
    methods.append(cl.Method(confidence="isotonic_by_label").fit(CHECK))
    assert replace(point, records=tuple(renamed)).guarantee is None
    for method in methods:
        assert replace(point, method=method).guarantee is None
    for name in notes - {"certified"}:
        assert replace(point, **{name: getattr(cl.Point(("a",), ()), name)}).guarantee
    assert cl.Policy(point, tuple(t + 0.01 for t in point.thresholds)).in_use.guarantee is None


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
    edits = 0
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
            try:
                found = parse_cascade(content, edited=True)
            except ValueError:
                continue
            assert found.guarantee is None, path
            assert parse_cascade(text_of(found)).guarantee is None
            edits += 1
            decides = path[0] in ("models", "thresholds", "method", "score", "cost_kind")
            measured = path[0] == "chosen" and path[1] != "expected_accuracy"
            if decides or measured or path == ("certified", "cascade"):
                parts = {part: content[part] for part in PARTS if part in content}
                found = parse_cascade(content | {"checksum": digest_of(parts)})
                assert found.guarantee is None, path
                rebuilt += 1
    assert edits > 40 and rebuilt > 8
    name = json.dumps(point.models[0])
    renamed = parse_cascade(json.loads(text.replace(name, '"another"')), edited=True)
    assert renamed.models[0] == "another" and renamed.guarantee is None
    assert "certified" not in json.loads(text_of(renamed))


def test_a_guarantee_of_version_0_3_is_not_read_and_a_message_says_so():
    with pytest.warns(UserWarning, match=r"0\.3\.0 or earlier. Its guarantee is not read.*Certify"):
        point = cl.Policy.load(OLD / "certified.json").point
    assert point.guarantee is None and point.certified is None
    assert "certified" not in json.loads(text_of(point))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cl.Policy.load(OLD / "policy.json")


@pytest.mark.parametrize("file", ["certified", "policy"])
def test_samples_of_a_file_of_version_0_3_are_recognized_by_their_ids(file):
    content = json.loads((OLD / f"{file}.json").read_text())
    content.pop("guarantee", None)
    stored = content["chosen_on"]
    parts = {
        part: content[part] for part in content if part not in ("format", "version", "checksum")
    }
    point = parse_cascade(content | {"checksum": digest_of(parts)})
    sets = parts_of(point.selected_on)
    assert len(sets[0]) == stored["samples"]
    assert (sets[0].keys is None) == ("keys" not in stored)


TERMS = Guarantee("", "s at 0.5 → l", "l", "accuracy", 0.02, None, 0.05, Design(500))


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
            {"epsilon": None, "budget": 3, "max_price": 4},
            "→ l costs at most 3 a sample (if no input",
        ),
        ({"groups": 3}, "against l in each of 3 groups"),
        ({"certificates": 3}, "holds for 3 certificates on these samples together"),
        (
            {"design": Design(90, "clusters of samples")},
            "90 clusters of samples, s at .* as the mean",
        ),
        (
            {"design": Design(90, frame=800)},
            "on those 800 rows. .* without replacement from 800 rows",
        ),
        (
            {"design": Design(9, drawn_by="x", labelled_by="y")},
            "independently by x, and labelled by y",
        ),
    ],
)
def test_a_guarantee_states_its_bounds_and_its_draw(changes, words):
    import re

    assert re.search(words.replace("(", r"\("), str(replace(TERMS, **changes)))


@pytest.mark.parametrize("delta", [0.05, 0.004, 0.3, 1e-9, 1 / 3])
def test_probabilities_have_the_digits_of_delta(delta):
    assert float(certainty(delta)[:-1]) == pytest.approx(100 - 100 * delta, rel=1e-15)
    assert certainty(delta) != "100%" and float(percent(delta)[:-1]) == pytest.approx(100 * delta)
