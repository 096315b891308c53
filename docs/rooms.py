"""List the public names and docstrings per subpackage, read from the sources without importing."""

import ast
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "cascadelib"


def rooms() -> list[str]:
    """Return the names of the subpackages, in alphabetical order."""
    return sorted(
        init.parent.name for init in PACKAGE.glob("*/__init__.py") if "attach(" in init.read_text()
    )


def listed(package: str) -> dict[str, str]:
    """Return {public name: dotted module that defines it} of a subpackage, or of the package: "".

    The value is "" for a module.
    """
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    block = next((node for node in tree.body if isinstance(node, ast.If)), None)
    names: dict[str, str] = {}
    if block is None:
        call = next(node for node in ast.walk(tree) if isinstance(node, ast.Call))
        homes = {keyword.arg: ast.literal_eval(keyword.value).split() for keyword in call.keywords}
        for home, listed_there in homes.items():
            module = "" if home == "modules" else home
            names |= dict.fromkeys(listed_there, module)
    else:
        for line in block.body:
            if isinstance(line, ast.ImportFrom):
                names |= dict.fromkeys([alias.name for alias in line.names], line.module or "")
    return {name: module for name, module in names.items() if not name.startswith("_")}


def docstrings(file: Path) -> dict[str, str]:
    """Return {name: docstring, "" without one} of a file's top level.

    The docstring of a constant is the string that follows it.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = {"": ast.get_docstring(tree) or ""}
    for node, after in zip(tree.body, [*tree.body[1:], None]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = ast.get_docstring(node) or ""
        elif isinstance(node, ast.ImportFrom) and node.level == 2:  # of the ground
            own = [alias.name for alias in node.names if alias.asname == alias.name]
            there = docstrings(PACKAGE / f"{node.module}.py") if own else {}
            found |= {name: there[name] for name in own}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= dict.fromkeys(assigned(node), text_of(after))
    return found


def assigned(node: ast.Assign | ast.AnnAssign) -> list[str]:
    """Return the names that a statement assigns."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def text_of(node: ast.stmt | None) -> str:
    """Return the string that a statement consists of, or "" if it is another statement."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return str(node.value.value)
    return ""


def public(package: str) -> dict[str, str]:
    """Return {public name: docstring, "" without one} of a subpackage, or of the package's own
    names."""
    found = {}
    for name, module in listed(package).items():
        file = PACKAGE / package / f"{module or name}.py"
        if file.is_file():
            found[name] = docstrings(file)[name if module else ""]
    return found


def undocumented() -> list[str]:
    """Return ["subpackage.name", …] of the public names without a docstring."""
    return [
        f"{room}.{name}"
        for room in [*rooms(), ""]
        for name, text in public(room).items()
        if not text
    ]


ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([^`]+)`")


def markdown(docstring: str) -> str:
    """Convert a docstring to Markdown: roles become links if the name is public, else code."""
    parts = re.split(r"(`+[^`]+`+)", ROLE.sub(_linked, docstring))
    return "".join(
        part if part.startswith("`") else re.sub(r"<(?=[A-Za-z/])", "&lt;", part) for part in parts
    )


@cache
def _paths() -> dict[str, str]:
    """Return {public name: its dotted path}."""
    return {name: f"cascadelib.{room}.{name}" for room in rooms() for name in public(room)}


def _linked(match: re.Match[str]) -> str:
    """Replace ``:func:`cascadelib.fronts.exact.search``` by a link named ``search``, with members
    of classes."""
    parts = match[1].split(".")
    for i, part in enumerate(parts):
        if part in _paths() and (i + 1 == len(parts) or part[0].isupper()):
            return f"[`{'.'.join(parts[i:])}`][{'.'.join([_paths()[part], *parts[i + 1 :]])}]"
    return f"`{match[1]}`"
