"""The package as griffe is to see it (an extension of mkdocstrings' Python handler): docstrings as
Markdown, and the names of the lazy faces where they stand."""

import sys
from pathlib import Path
from typing import Any

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rooms import listed, markdown, rooms  # noqa: E402


class Roles(griffe.Extension):
    """Rewrites every docstring as it is read; gives each room the names that its face lists."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Aliases for what griffe cannot find, since no face imports anything."""
        for room in rooms():
            for name, module in listed(room).items():
                if module and name not in pkg[room].members:
                    target = f"{pkg.path}.{room}.{module}.{name}"
                    pkg[room].set_member(name, griffe.Alias(name, target, parent=pkg[room]))

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the roles of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = markdown(obj.docstring.value)
