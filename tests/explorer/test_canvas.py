"""Where a front end is, the figure is live; else it is a picture."""

import json
from typing import Any

import pytest

from cascadelib.figures.style import PLOTLY_JSON


def test_without_a_front_end_it_is_a_picture_and_says_how_to_drag(
    explorer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascadelib.explorer.explorer.has_front_end", lambda: False)
    still = explorer._repr_mimebundle_()[PLOTLY_JSON]
    assert "make lab" in still["layout"]["title"]["text"] and len(json.dumps(still)) < 100_000
    assert {trace["meta"] for trace in still["data"]} == {
        trace.meta for trace in explorer.charts.figure.data
    }
    monkeypatch.setattr("cascadelib.explorer.explorer.has_front_end", lambda: True)
    assert PLOTLY_JSON not in explorer._repr_mimebundle_()
