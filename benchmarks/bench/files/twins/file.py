"""The bundled images by two zoos of the same eight sizes with different training."""

from collections.abc import Iterator
from pathlib import Path

from bench.task import File, from_stores

from cascadelib import LogitStore

DATA = Path(__file__).resolve().parents[4] / "data" / "fashion-mnist" / "twins"
TITLE = "The twins of the bundled images"
ABOUT = (
    "Fashion-MNIST, 5,000 images each of val and test, by models of eight sizes that learnt from "
    "{}: a linear classifier before a residual network, priced in MACs."
)
ZOOS = {"hard": "hard labels", "distilled": "a large model's outputs"}


def files(folder: Path | None) -> Iterator[File]:
    for zoo, words in ZOOS.items():
        splits = [LogitStore(DATA / zoo / split) for split in ("val", "test")]
        table = from_stores(splits, list(splits[0].models.index))
        yield File(
            f"twins, {zoo}",
            ABOUT.format(words),
            table,
            small="linear@28",
            reference="small_resnet_w24x2@28",
        )
