"""Lazy faces (PEP 562): a package says what is public and where it lies; nothing is imported until it is used."""

import ast
import sys
from importlib import import_module


def attach(package, modules="", **homes):
    """``(__getattr__, __dir__, __all__)`` of a package: ``pareto="Baseline pareto_front"`` says that its module
    ``pareto`` has these public names; modules: those that are public as they are.

    Without any, the list is what the package imports under ``if TYPE_CHECKING:``, which editors read as it stands;
    modules there and private names are no part of ``__all__``.
    """
    home_of = {name: f".{home}" for home, names in homes.items() for name in names.split()}
    home_of |= dict.fromkeys(modules.split(), ".")
    if not home_of:
        home_of = dict(_listed(ast.parse(sys.modules[package].__spec__.loader.get_source(package))))

    def __getattr__(name):
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = home_of[name]
        found = (
            import_module(f".{name}", package)
            if home == "."
            else getattr(import_module(home, package), name)
        )
        setattr(sys.modules[package], name, found)
        return found

    public = sorted(
        name for name, home in home_of.items() if home != "." and not name.startswith("_")
    )
    return __getattr__, lambda: sorted({*home_of, *vars(sys.modules[package])}), public


def _listed(tree):
    """(name, relative module) of every import under ``if TYPE_CHECKING:``."""
    for block in tree.body:
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING":
            for line in block.body:
                yield from (
                    (alias.name, "." * line.level + (line.module or "")) for alias in line.names
                )
