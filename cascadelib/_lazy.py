"""Lazy faces (PEP 562): a package says what is public and where it lies; nothing is imported until it is used."""

import ast
import sys
from importlib import import_module


def attach(package):
    """``(__getattr__, __dir__, __all__)`` of a package that imports its names under ``if TYPE_CHECKING:``.

    That block is the one list: editors and type checkers read it as it stands, and this reads it from the source.
    ``from .pareto import Baseline as Baseline`` there imports ``pareto`` when ``Baseline`` is first asked for;
    ``from . import figures as figures`` makes a module reachable without naming it in ``__all__``.
    """
    spec = sys.modules[package].__spec__
    homes = dict(_listed(ast.parse(spec.loader.get_source(package))))

    def __getattr__(name):
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        found = import_module(f".{name}", package) if home == "." else getattr(import_module(home, package), name)
        setattr(sys.modules[package], name, found)
        return found

    public = sorted(name for name, home in homes.items() if home != "." and not name.startswith("_"))
    return __getattr__, lambda: sorted({*homes, *vars(sys.modules[package])}), public


def _listed(tree):
    """(name, relative module) of every import under ``if TYPE_CHECKING:``."""
    for block in tree.body:
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING":
            for line in block.body:
                yield from ((alias.name, "." * line.level + (line.module or "")) for alias in line.names)
