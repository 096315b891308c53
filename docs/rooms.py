"""List the public names of the package, and convert its docstrings to Markdown."""

import ast
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cascadelib"
ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([^`]+)`")


def rooms() -> list[str]:
    """Return the names of the subpackages, in alphabetical order."""
    return sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))


@cache
def listed(room: str) -> dict[str, str]:
    """Return {public name: module that defines it} of a subpackage, or of the package: ""."""
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    call = next((node for node in ast.walk(tree) if isinstance(node, ast.Call)), None)
    homes = {word.arg or "": ast.literal_eval(word.value) for word in call.keywords} if call else {}
    homes.pop("modules", None)
    return {name: home for home, names in homes.items() for name in names.split() if name[0] != "_"}


@cache
def paths() -> dict[str, str]:
    """Return {public name: its dotted path}."""
    return {name: f"cascadelib.{room}.{name}" for room in rooms() for name in listed(room)}


def markdown(docstring: str) -> str:
    """Convert a docstring to Markdown: roles become links if the name is public, else code."""
    parts = re.split(r"(`+[^`]+`+)", ROLE.sub(linked, docstring))
    return "".join(
        part if part.startswith("`") else re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for part in parts
    )


def linked(match: re.Match[str]) -> str:
    """Replace ``:func:`cascadelib.fronts.exact.search``` by a link named ``search``, with members
    of classes."""
    parts = match[1].split(".")
    for i, part in enumerate(parts):
        if part in paths() and (i + 1 == len(parts) or part[0].isupper()):
            return f"[`{'.'.join(parts[i:])}`][{'.'.join([paths()[part], *parts[i + 1 :]])}]"
    return f"`{match[1]}`"
