"""Read the accuracies and costs that timm publishes of its pretrained models."""

from pathlib import Path

import pandas as pd

from .checks import error_context
from .files import LARGEST_JSON, find_folder, open_regular_file

TABLE = Path(__file__).with_name("models-2022-07.csv")
COLUMNS = (
    "top1 top5 imagenetv2_top1 image_size parameters macs seconds family current source"
).split()


def models(path: str | Path = TABLE) -> pd.DataFrame:
    """Read the published accuracies and costs of pretrained ImageNet models.

    Parameters
    ----------
    path : str or Path, optional
        A CSV file. Defaults to the bundled table of July 2022. ``data/imagenet-1k/tables.py`` makes
        newer ones.

    Returns
    -------
    DataFrame
        One row per model, indexed by its name in the table: top1, top5, imagenetv2_top1
        (fractions), image_size (pixels), parameters, macs and seconds (per image, nan if not
        published), family, current (current name) and source.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If columns are missing.

    References
    ----------
    .. [1] Lebovitz et al., TMLR 2023, section 4.
    .. [2] timm's tables of 2022-07-27 and fvcore's counts (``data/imagenet-1k``).

    Examples
    --------
    >>> import cascadelib as cl
    >>> table = cl.published.models()
    >>> len(table)
    668
    """
    path = Path(path)
    if not path.is_file():
        path = find_folder(path.parent) / path.name
    if not path.is_file():
        raise FileNotFoundError(f"no table {path}: data/imagenet-1k/tables.py makes one")
    with open_regular_file(path, LARGEST_JSON) as file, error_context(str(path)):
        table = pd.read_csv(file)
    missing = [c for c in ["model", *COLUMNS] if c not in table]
    if missing:
        raise ValueError(
            f"{path}: columns {missing} are missing: data/imagenet-1k/tables.py writes them"
        )
    return table.set_index("model")[COLUMNS]
