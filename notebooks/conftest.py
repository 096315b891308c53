"""Under nbval all notebooks but 08 run without cascadelib.serve: its import fails there."""

import os
from pathlib import Path

import pytest

WITHOUT_SERVE = Path(__file__).resolve().parents[1] / "tests" / "notebooks" / "without_serve"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    os.environ["PYTHONPATH"] = "" if item.path.name.startswith("08") else str(WITHOUT_SERVE)
