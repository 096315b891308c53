"""Names that are asked for: found, or refused with the nearest."""

import pytest

from cascadelib import checks
from cascadelib.checks import known


def test_nearest_names():
    assert known("a", "abc", "letter") == "a"
    with pytest.raises(ValueError, match="unknown metric 'entropi'; nearest: 'entropy'"):
        known("entropi", ["max_softmax", "entropy"], "metric")
    long = "x" * 70 + "end"
    with pytest.raises(ValueError, match=f"nearest: '{long}'"):
        known("x" * 70, [long, "other"], "model")


def test_the_work_for_a_suggestion_is_bounded(monkeypatch):
    seen = []
    monkeypatch.setattr(checks, "get_close_matches", lambda word, names, **_: seen.extend([word, *names]) or [])
    with pytest.raises(ValueError, match="unknown model"):
        known("a" * 9000, [f"{i}" * 100 for i in range(9000)], "model")
    assert len(seen) <= 3001 and max(map(len, seen)) <= 64
