"""Fixtures that the tests of this room share."""

from pathlib import Path

import pytest
from toy_store import IDS, LABELS, C

from cascadelib.store.logit_store import LogitStore


@pytest.fixture
def store(tmp_path: Path) -> LogitStore:
    return LogitStore.create(
        tmp_path / "val",
        LABELS,
        IDS,
        classes=[f"c{i}" for i in range(C)],
        dataset="toy",
        split="val",
    )
