"""Whether there is somebody who can look at a widget."""

import os

import pytest

from cascadelib.front_end import has_front_end


@pytest.mark.parametrize(
    ("environment", "live"),
    [({}, False), ({"JPY_SESSION_NAME": "a.ipynb"}, True), ({"VSCODE_PID": "1"}, True)]
    + [({"SERVER_SOFTWARE": "other"}, False)],
)
def test_has_front_end(environment, live, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    assert has_front_end() is live
