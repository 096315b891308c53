"""Prepare the package for griffe (an extension of mkdocstrings' Python handler).

Docstrings become Markdown, and the names of lazy subpackages are resolved.
"""

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rooms import listed, markdown, rooms  # noqa: E402


class Roles(griffe.Extension):
    """Rewrites every docstring on reading and gives each subpackage its public names."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Add aliases that griffe cannot find, because the subpackages import lazily."""
        for room in rooms():
            for name, module in listed(room).items():
                if module and name not in pkg[room].members:
                    target = f"{pkg.path}.{room}.{module}.{name}"
                    pkg[room].set_member(name, griffe.Alias(name, target, parent=pkg[room]))

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the roles of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
