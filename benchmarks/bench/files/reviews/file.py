"""The bundled reviews: a bag of words before a transformer, among 15 models."""

from collections.abc import Iterator
from pathlib import Path

from bench.task import File, from_stores

from cascadelib import LogitStore

DATA = Path(__file__).resolve().parents[4] / "data" / "reviews"
TITLE = "The bundled reviews"
ABOUT = (
    "Sentences of film reviews, val and test: a bag of words before six layers of MiniLM, priced "
    "in MACs (Hutto and Gilbert, 2014; models trained for this repository)."
)


def files(folder: Path | None) -> Iterator[File]:
    splits = [LogitStore(DATA / split) for split in ("val", "test")]
    table = from_stores(splits, list(splits[0].models.index))
    yield File("reviews", ABOUT, table, small="bag_of_words", reference="minilm_l6")
