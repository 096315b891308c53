"""In a process with this folder on PYTHONPATH, an import of cascadelib.serve fails."""

import sys
from importlib.abc import MetaPathFinder


class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "cascadelib.serve":
            raise ImportError("cascadelib.serve is blocked here: the core works without it")


sys.meta_path.insert(0, Block())
