"""Widgets and progress bars are shown only if a person can see them."""

import io
import os
import sys

import pytest

from cascadelib.figures.front_end import displays_widgets, is_watched


@pytest.mark.parametrize(
    ("environment", "is_displayed"),
    [({}, False), ({"JPY_SESSION_NAME": "a.ipynb"}, True), ({"VSCODE_PID": "1"}, True)]
    + [({"SERVER_SOFTWARE": "other"}, False)],
)
def test_widgets_are_displayed_in_notebooks(environment, is_displayed, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    assert displays_widgets() is is_displayed


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("environment", "stderr", "is_seen"),
    [
        ({}, Terminal(), True),
        ({"CI": "true"}, Terminal(), False),
        ({"CI": "1", "JPY_SESSION_NAME": "a.ipynb"}, Terminal(), False),
        ({"CI": "false"}, Terminal(), True),
        ({}, io.StringIO(), False),
        ({}, None, False),
    ],
)
def test_a_progress_bar_is_shown_on_a_watched_terminal(environment, stderr, is_seen, monkeypatch):
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert is_watched() is is_seen
