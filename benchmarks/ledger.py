"""How often does the ledger tell methods apart that are equal? A thousand families of claims."""

import sys
from pathlib import Path
from typing import Any

from measuring import row

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "notebooks")]
from equal_methods import decided_families  # noqa: E402 - the tests have the quick version


def ledger(quick: bool = False) -> list[dict[str, Any]]:
    """Share of families of which a claim is called supported or contradicted."""
    decided, families = decided_families(50 if quick else 1000, seed=1)
    name = f"ledger: equal methods told apart, of {families} families"
    return [row(name, decided / families, "share", target="≤ 0.05")]


JOBS = {"ledger": ledger}
