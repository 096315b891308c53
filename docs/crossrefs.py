"""Sphinx's roles in docstrings as Markdown: a link where the name is public, code where it is not (for griffe)."""

import re
import sys
from pathlib import Path

import griffe

sys.path.insert(0, str(Path(__file__).resolve().parent))
from rooms import public, rooms  # noqa: E402

ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([^`]+)`")
PATHS = {name: f"cascadelib.{room}.{name}" for room in rooms() for name in public(room)}


def linked(match):
    """``:func:`cascadelib.fronts.exact.search``` → a link named ``search``."""
    parts = match[1].split(".")
    for i, part in enumerate(parts):
        if part in PATHS and part[0] != "_":
            rest = parts[i + 1 :]
            if not rest or part[0].isupper():
                return f"[`{'.'.join(parts[i:])}`][{'.'.join([PATHS[part], *rest])}]"
    return f"`{match[1]}`"


class Roles(griffe.Extension):
    """Rewrites every docstring as it is read."""

    def on_instance(self, *, obj, **kwargs):
        """Rewrite the roles of one object's docstring."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub(linked, obj.docstring.value)
