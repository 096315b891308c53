"""Whether there is somebody who can look at a widget."""

import io
import os
import sys

import pytest

from cascadelib.front_end import displays_widgets, is_watched


@pytest.mark.parametrize(
    ("environment", "live"),
    [({}, False), ({"JPY_SESSION_NAME": "a.ipynb"}, True), ({"VSCODE_PID": "1"}, True)]
    + [({"SERVER_SOFTWARE": "other"}, False)],
)
def test_has_front_end(environment, live, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    assert displays_widgets() is live


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "stderr", "seen"),
    [
        ({}, Terminal(), True),
        ({"CI": "true"}, Terminal(), False),
        ({"CI": "1", "JPY_SESSION_NAME": "a.ipynb"}, Terminal(), False),
        ({"CI": "false"}, Terminal(), True),
        ({}, io.StringIO(), False),
        ({}, None, False),
    ],
)
def test_a_progress_bar_is_for_somebody_who_sees_it(environment, stderr, seen, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert is_watched() is seen
