"""Docstrings become Markdown as griffe reads them (an extension of mkdocstrings' Python handler)."""

import sys
from pathlib import Path

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rooms import markdown  # noqa: E402


class Roles(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrite the roles of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
