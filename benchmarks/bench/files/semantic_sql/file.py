"""Yes-no queries over table rows, answered by Llama 3.1 8B and by Llama 3.3 70B (bundled)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from bench.task import File

import cascadelib as cl

TITLE = "Semantic SQL"
ABOUT = (
    "Yes-no queries over table rows: Llama 3.1 8B, and Llama 3.3 70B, whose answers are the labels "
    "and whose price is 50 times as high (Liskowski and Schmaus, 2026; bundled, MIT)."
)
NAMES = ("sst2", "arxiv", "boolq")
DATA = Path(__file__).resolve().parents[4] / "data" / "semantic-sql"
PRICE = 50.0  # of the reference ÷ that of the small model


def queries(name: str) -> cl.ScoreTable:
    """Return a small model and the reference, whose answers are the labels."""
    frame = pd.read_parquet(DATA / f"{name}.parquet")
    yes = frame["proxy_pred_true_prob"].to_numpy(np.float64)
    answers = np.stack([yes >= 0.5, frame["oracle_pred"].to_numpy() == 1]).astype(int).astype(str)
    confidence = np.stack([np.maximum(yes, 1 - yes), np.full(len(yes), np.nan)])
    costs = [1.0, PRICE]
    names = ["small", "large"]
    labels = answers[1]
    return cl.ScoreTable(None, confidence, costs, names, predictions=answers, labels=labels)


def files(folder: Path | None) -> Iterator[File]:
    for name in NAMES:
        yield File(name, ABOUT, queries(name), small="small", reference="large")
