"""Accuracy and cost that timm publishes of its pretrained models: the paper's starting point."""

from pathlib import Path

import pandas as pd

from .checks import about
from .files import LARGEST_JSON, folder_of, opened

TABLE = Path(__file__).with_name("models-2022-07.csv")
COLUMNS = (
    "top1 top5 imagenetv2_top1 image_size parameters macs seconds family current source"
).split()


def models(path: str | Path = TABLE) -> pd.DataFrame:
    """Read the published accuracies and costs of models.

    Parameters
    ----------
    path : str or Path
        A CSV file; a newer one than the bundled comes from ``data/imagenet-1k/tables.py``.

    Returns
    -------
    DataFrame
        One row per model, by its name in that table: top1, top5, imagenetv2_top1 (fractions),
        image_size (pixels), parameters, macs and seconds (per image; nan where none is published),
        family, current (today's name), source.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where columns are missing.

    References
    ----------
    Paper, section 4; timm's tables of 2022-07-27 and fvcore's counts (``data/imagenet-1k``).
    """
    path = Path(path)
    if not path.is_file():
        path = folder_of(path.parent) / path.name
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}; data/imagenet-1k/tables.py makes one")
    with opened(path, LARGEST_JSON) as file, about(str(path)):
        table = pd.read_csv(file)
    missing = [c for c in ["model", *COLUMNS] if c not in table]
    if missing:
        raise ValueError(
            f"{path}: columns {missing} are missing; data/imagenet-1k/tables.py writes them"
        )
    return table.set_index("model")[COLUMNS]
