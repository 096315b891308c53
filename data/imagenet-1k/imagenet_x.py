"""Test the paper's claims on real ImageNet predictions of four networks.

``python data/imagenet-1k/imagenet_x.py FOLDER`` reads a clone of facebookresearch/imagenetx. It
writes notebooks/tools/claims/imagenet-x.csv, which the ledger shows. The predictions (CC BY-NC 4.0)
are not part of this repository. Every other validation image selects cascades, and the others
evaluate them. The files state no costs: ``MACS`` assumes ResNet-50 and ViT-B/16 at 224 pixels.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

import cascadelib as cl
from cascadelib.files import ROOT

sys.path.insert(0, str(ROOT / "notebooks"))
from tools.claims import ledger  # noqa: E402 - beside the notebooks, not a package
from tools.claims.catalogue import claims_in_scope  # noqa: E402 - so is this
from tools.claims.verdicts import UNDETERMINED, UNTESTABLE  # noqa: E402 - so is this
from tools.paper import Paper  # noqa: E402 - so is this

MACS = {"SimCLR": 4.11e9, "ResNet50": 4.11e9, "DINO": 17.58e9, "ViT": 17.58e9}
NAME = "four networks"  # of no published claim
SOURCE = (
    "# Computed by data/imagenet-1k/imagenet_x.py from the predictions of ImageNet-X (Idrissi et"
    " al., ICLR 2023; CC BY-NC 4.0). MACs are assumed: 4.11G for ResNet-50 and SimCLR, 17.58G for"
    " ViT and DINO. Every other image selects.\n"
)


def open_study(folder: Path) -> Paper:
    """Return a study of the clone: every other image selects, the others evaluate."""
    frame = cl.datasets.imagenet_x(folder)
    names = [name for name in MACS if name in set(frame["model"])]
    table = cl.ScoreTable.from_frame(
        frame, prediction="prediction", label="label", cost=MACS, models=names
    )
    halves = (table.take(slice(start, None, 2)) for start in (0, 1))
    return Paper(*halves)


def tested_claims(paper: Paper) -> pd.DataFrame:
    """Return the claims that the study tests: id, value with its interval, and verdict.

    The paper pairs models of the front, and here all four are candidates. So differences from its
    numbers are left out.
    """
    claims = claims_in_scope(NAME).assign(printed="")
    found = ledger.results_of(claims, ledger.known_values(ledger.evidence_of(paper)), NAME)
    rows = {
        name: {"value": result.here, "verdict": result.verdict.word}
        for name, result in found.items()
        if result.verdict.word != UNTESTABLE
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("id")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="clone of facebookresearch/imagenetx")
    table = tested_claims(open_study(parser.parse_args().folder))
    text = SOURCE + table.to_csv(lineterminator="\n")
    ledger.REAL.write_text(text, encoding="utf-8")
    decided = table["verdict"] != UNDETERMINED
    print(f"{len(table)} claims tested, {decided.sum()} decided")


if __name__ == "__main__":
    main()
