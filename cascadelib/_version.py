"""The installed version."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("cascadelib")
except PackageNotFoundError:  # run from a checkout that was never installed
    __version__ = "unknown"
