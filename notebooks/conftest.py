"""Settings of the notebooks under nbval: their ledger goes into build/quick."""

from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "build" / "quick" / "ledger"  # build/ledger is for full runs


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup() -> Iterator[None]:
    """Set variables while the kernel of a notebook starts, not for later tests of the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CASCADELIB_LEDGER", str(LEDGER))
        return (yield)
