"""Test the claims of the ledger on the out-of-fold logits of folds.py, and write folds-ledger.csv.

``python data/fashion-mnist/folds_ledger.py`` runs notebooks 02, 03, 04 and 07 on ``build/folds``.
Their report is ``build/folds-report``. The table has a row for each of their claims, with the
columns of the ledger.
"""

import sys
from pathlib import Path

import pandas as pd

from cascadelib.files import ROOT

sys.path.insert(0, str(ROOT / "notebooks"))
from tools import run  # noqa: E402 - a script beside the notebooks, not a package

HERE = Path(__file__).parent
REPORT = ROOT / "build" / "folds-report"
NOTEBOOKS = ("02", "03", "04", "07")
COLUMNS = ["held out", "this run", "verdict"]


def write_table() -> None:
    """Write the stored claims of the notebooks into one table."""
    paths = [REPORT / "ledger" / f"{number}.parquet" for number in NOTEBOOKS]
    rows = pd.concat([pd.read_parquet(path) for path in paths])
    rows[COLUMNS].to_csv(HERE / "folds-ledger.csv", lineterminator="\n")


def main() -> int:
    folder = ["-p", "dataset", str(ROOT / "build" / "folds"), "--out", str(REPORT)]
    failed = run.main([*NOTEBOOKS, *folder])
    if not failed:
        write_table()
    return failed


if __name__ == "__main__":
    sys.exit(main())
