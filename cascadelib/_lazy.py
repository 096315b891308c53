"""Import public names lazily (PEP 562)."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

ITSELF = "."  # the home of a public module


def attach(
    package: str, modules: str = "", **homes: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return ``(__getattr__, __dir__, __all__)`` of a package.

    Parameters
    ----------
    package : str
        Name of the package.
    modules : str
        Public modules, separated by spaces. They are not part of ``__all__``.
    **homes : str
        Public names by module: ``pareto="Baseline pareto_front"``.
    """
    home_of = dict.fromkeys(modules.split(), ITSELF)
    for home, names in homes.items():
        home_of |= dict.fromkeys(names.split(), f".{home}")

    def __getattr__(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if home_of[name] == ITSELF:
            found = import_module(f".{name}", package)
        else:
            found = getattr(import_module(home_of[name], package), name)
        setattr(sys.modules[package], name, found)
        return found

    def __dir__() -> list[str]:
        return sorted({*home_of, *vars(sys.modules[package])})

    public = [name for name in home_of if home_of[name] != ITSELF and not name.startswith("_")]
    return __getattr__, __dir__, sorted(public)
