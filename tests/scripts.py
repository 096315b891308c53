"""Scripts of the repository, which are in no package."""

import importlib.util
from pathlib import Path

from cascadelib.files import ROOT


def load_script(path):
    """Return the script at a path of the repository as a new module."""
    name = "_".join(Path(path).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
