"""Under nbval all notebooks but 08 run without cascadelib.serve: its import fails there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

WITHOUT_SERVE = Path(__file__).resolve().parents[1] / "tests" / "notebooks" / "without_serve"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Set the path while the kernel of a notebook starts, not for later tests of the process."""
    with pytest.MonkeyPatch.context() as patch:
        if not item.path.name.startswith("08"):
            patch.setenv("PYTHONPATH", str(WITHOUT_SERVE))
        return (yield)
