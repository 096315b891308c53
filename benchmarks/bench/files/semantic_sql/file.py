"""Yes-no queries over table rows, answered by Llama 3.1 8B and by Llama 3.3 70B (bundled)."""

from collections.abc import Iterator
from pathlib import Path

from bench.task import File
from fitted import queries

TITLE = "Semantic SQL"
ABOUT = (
    "Yes-no queries over table rows: Llama 3.1 8B, and Llama 3.3 70B, whose answers are the labels "
    "and whose price is 50 times as high (Liskowski and Schmaus, 2026; bundled, MIT)."
)
NAMES = ("sst2", "arxiv", "boolq")


def files(folder: Path | None) -> Iterator[File]:
    for name in NAMES:
        yield File(name, ABOUT, queries(name), small="small", reference="large")
