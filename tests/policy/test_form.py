"""The file of a cascade is read back to the last bit, and invalid or forged files are refused."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from points_of_files import POINT, STORE, same

from cascadelib import Method, Point
from cascadelib.files import digest_of
from cascadelib.policy.cascade_file import point_for_file
from cascadelib.policy.form import (
    PARTS,
    parse_cascade,
    text_of,
    threshold_from_json,
    threshold_to_json,
)
from cascadelib.policy.policy import Policy

FLOATS = st.floats(allow_nan=False)
METHODS = st.sampled_from(["max_softmax", "entropy", "logits_margin", "top3_softmax_sum"]).map(
    Method
)


@settings(max_examples=80)
@given(METHODS, st.lists(FLOATS, max_size=4), st.data())
def test_every_point_is_read_back_to_the_last_bit(method, thresholds, data):
    names = tuple(f"m{i}" for i in range(len(thresholds) + 1))
    shares = st.lists(st.floats(0, 1), min_size=len(names), max_size=len(names)).map(tuple)
    point = Point(
        names,
        tuple(thresholds),
        exit_rates=data.draw(shares),
        accuracy=data.draw(st.floats(0, 1)),
        cost=data.draw(st.floats(1e-9, 1e15)),
        improvement=data.draw(st.floats(0, 1e9) | st.just(math.nan)),
        method=method,
        cost_kind="seconds",
    )
    assert same(parse_cascade(text_of(point_for_file(point))), point)


@pytest.mark.parametrize("metric", ["max_softmax", "entropy"])
def test_infinite_thresholds_are_the_words_always_and_never(metric):
    inside = [-math.inf, math.inf]
    own = [-t if metric == "entropy" else t for t in inside]
    words = [threshold_to_json(metric, t) for t in own]
    assert words == ["always", "never"]
    assert [threshold_from_json(metric, w) for w in words] == own


FIRST = POINT.models[0]
EDITED = [
    (lambda c: c.update(version=2), "format version 2"),
    (lambda c: c.update(format="bicycle"), "this is not a cascade"),
    (lambda c: c.update(thresholds=[0.5]), "the file was edited after it was written"),
    (lambda c: c.update(note=1), "note"),
]
FORGED = [
    (lambda c: c["chosen_on"][0].update(keys="%"), "not base64"),
    (lambda c: c["chosen_on"][0].update(keys="AAAA"), "6 bytes each"),
    (lambda c: c["thresholds"].append(0.5), "2 thresholds for 2 models"),
    (lambda c: c.update(thresholds=["sometimes"]), "unknown threshold 'sometimes'"),
    (lambda c: c.update(thresholds=[None]), "finite number"),
    (lambda c: c.update(thresholds=[True]), "finite number"),
    (lambda c: c["method"].update(metric="max_sofmax"), "nearest: 'max_softmax'"),
    (lambda c: c["method"].update(ensemble="mean"), "unknown ensemble 'mean'"),
    (lambda c: c["method"]["temperatures"].pop(FIRST), "fitted temperature"),
    (lambda c: c["method"]["temperatures"].update({FIRST: 0}), "'temperatures' must be positive"),
    (lambda c: c.pop("score"), "lacks 'score'"),
    (lambda c: c["models"].__setitem__(1, c["models"][0]), "'models' must be distinct names"),
    (lambda c: c["models"][0].update(classes=0), "classes"),
    (lambda c: c["models"][0].update(classes=2**52), "classes"),
    (lambda c: c["expected"].update(confidences=[]), "are needed of 2 models"),
]


@pytest.mark.parametrize(("change", "message"), [*EDITED, *FORGED])
def test_invalid_files_are_refused(change, message, tmp_path):
    """A forged file has the checksum that fits its content."""
    content = json.loads(text_of(point_for_file(POINT, STORE)))
    change(content)
    is_forged = (change, message) in FORGED
    (tmp_path / "c.json").write_text(
        sealed(json.dumps(content)) if is_forged else json.dumps(content)
    )
    with pytest.raises(ValueError, match=rf"c\.json: .*({message})"):
        Policy.load(tmp_path / "c.json")


def sealed(text, **parts):
    """A file's text with other parts, and the checksum that fits them."""
    content = json.loads(text) | parts
    parts = {part: content[part] for part in PARTS if part in content}
    return json.dumps(content | {"checksum": digest_of(parts)})


@pytest.mark.parametrize(
    ("part", "message"),
    [({"kind": "logistic"}, "unknown fitted confidence 'logistic'"), ({"columns": []}, "columns")],
)
def test_a_fitted_confidence_that_cannot_be_computed_is_refused(part, message):
    method = {"metric": "max_softmax", "ensemble": "none", "temperature": False}
    changed = method | {"fitted": [{"kind": "isotonic_by_label", "curves": []} | part] * 2}
    with pytest.raises(ValueError, match=message):
        parse_cascade(sealed(text_of(Point(("a", "b"), (0.5,))), method=changed))
