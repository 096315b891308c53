"""FrugalML's markets of commercial services, from the folder ``frugalml`` of ``--data``.

``rafdb``, ``ferplus``, ``digit``, ``waimai.parquet``: a row per (sample, service), with columns
sample, service, label, prediction, confidence, price. ``rafdb-published-curve.csv``: seed, budget
(dollars for 10,000 queries), accuracy, as FrugalML publishes them.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from bench.task import File, found

from cascadelib import ScoreTable

TITLE = "FrugalML's markets"
ABOUT = (
    "Commercial services with their prices, {}: a free local model before {} "
    "(FrugalML: Chen, Zaharia and Zou, 2020, Apache-2.0; not bundled)."
)
COLUMNS = {"model": "service", "cost": "price", "label": "label", "prediction": "prediction"}
MARKETS = {  # what it is, the small model, the reference
    "rafdb": ("faces and emotions", "GitHub(CNN)", "Microsoft"),
    "ferplus": ("faces and emotions", "GitHub(CNN)", "Microsoft"),
    "digit": ("spoken digits", "GitHub(DeepSpeech)", "Microsoft"),
    "waimai": ("sentiment of Chinese reviews", "GitHub(Bixin)", "Baidu"),
}
QUERIES = 10_000  # that a published budget is for


def files(folder: Path | None) -> Iterator[File]:
    for name, (words, small, reference) in MARKETS.items():
        path = found(folder, "frugalml", f"{name}.parquet")
        if path is not None:
            services = pd.read_parquet(path).groupby("service")["price"].mean().sort_values()
            table = ScoreTable.from_frame(path, models=services.index, **COLUMNS)
            about = ABOUT.format(words, reference)
            curve = published(folder, name, table.models["cost"][reference])
            yield File(name, about, table, small, reference, curve)


def published(folder: Path | None, market: str, price: float) -> pd.DataFrame | None:
    """Return the curve of a market: seed, cost (÷ the reference's), accuracy. None if it does not
    exist."""
    path = found(folder, "frugalml", f"{market}-published-curve.csv")
    if path is None:
        return None
    curve = pd.read_csv(path)
    return curve.assign(cost=curve["budget"] / QUERIES / price)[["seed", "cost", "accuracy"]]
