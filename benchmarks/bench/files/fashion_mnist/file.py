"""The bundled images: a linear classifier before a residual network, among 16 models."""

from collections.abc import Iterator
from pathlib import Path

from bench.task import File, from_stores

from cascadelib import LogitStore

DATA = Path(__file__).resolve().parents[4] / "data" / "fashion-mnist"
TITLE = "The bundled images"
ABOUT = (
    "Fashion-MNIST, val and test: a linear classifier before ResNet-18, priced in MACs "
    "(Xiao, Rasul and Vollgraf, 2017, MIT; models trained for this repository)."
)


def files(folder: Path | None) -> Iterator[File]:
    splits = [LogitStore(DATA / split) for split in ("val", "test")]
    names = list(splits[0].models.index)
    table = from_stores(splits, names[::2])
    yield File("images", ABOUT, table, small="linear@14", reference="resnet18_w32@56")
