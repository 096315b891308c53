"""Read published predictions of image classifiers into the form of ``ScoreTable.from_frame``."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..checks import error_context, validate_choice
from ..files import open_regular_file

LABELS = "imagenet_x/annotations/filename_label.csv"
PREDICTIONS = "model_predictions/base"
COLUMNS = {
    "sample": "file_name",
    "prediction": "predicted_class",
    "confidence": "predicted_probability",
}
LAYOUT = f"a clone of github.com/facebookresearch/imagenetx, with {LABELS} and {PREDICTIONS}/*.csv"
MAX_FILE_BYTES = 2**27  # bytes; the files of predictions have 2.4 MB, those of factors 17 MB
NO_FACTORS = ["class", "justification", "one_word"]  # other columns of a file of factors


def imagenet_x(folder: Path | str) -> pd.DataFrame:
    """Read the predictions that ImageNet-X publishes for ImageNet's 50,000 validation images.

    The repository has one file per network: ResNet50, ViT, DINO and SimCLR. Its licence is CC BY-NC
    4.0, so the files are not bundled.

    Parameters
    ----------
    folder : Path or str
        Clone of the repository. It has the labels in ``imagenet_x/annotations/filename_label.csv``
        and the predictions in ``model_predictions/base/*.csv``.

    Returns
    -------
    DataFrame
        One row per network and image with the columns sample (name of the image's file),
        prediction, confidence (max softmax), model and label. Predictions and labels are class
        numbers in timm's order.

    Raises
    ------
    FileNotFoundError
        If a file is missing. The message states the expected layout.
    ValueError
        If a file lacks a column, or if its images are not those of the labels.

    See Also
    --------
    ScoreTable.from_frame : Convert the rows to a table that is searched.
    imagenet : Read the images.

    Notes
    -----
    The files state neither costs nor architectures. Pass costs to ``ScoreTable.from_frame``.

    References
    ----------
    .. [1] Idrissi et al., "ImageNet-X: Understanding Model Mistakes with Factor of Variation
       Annotations", ICLR 2023.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     labels = Path(folder, "imagenet_x", "annotations", "filename_label.csv")
    ...     predictions = Path(folder, "model_predictions", "base", "ViT.csv")
    ...     labels.parent.mkdir(parents=True)
    ...     predictions.parent.mkdir(parents=True)
    ...     _ = labels.write_text("file_name,label\\nILSVRC2012_val_00000293.JPEG,0\\n")
    ...     _ = predictions.write_text(
    ...         "file_name,predicted_class,predicted_probability\\n"
    ...         "ILSVRC2012_val_00000293.JPEG,394,0.25\\n"
    ...     )
    ...     frame = cl.datasets.imagenet_x(folder)
    >>> frame[["model", "prediction", "confidence", "label"]].to_dict("records")
    [{'model': 'ViT', 'prediction': 394, 'confidence': 0.25, 'label': 0}]
    """
    root = Path(folder)
    labels = _read_columns(root / LABELS, sample="file_name", label="label")
    label_of = dict(zip(labels["sample"], labels["label"]))
    paths = sorted(root.glob(f"{PREDICTIONS}/*.csv"))
    if not paths:
        raise FileNotFoundError(f"no predictions in {root / PREDICTIONS}; expected {LAYOUT}")
    frames = []
    for path in paths:
        frame = _read_columns(path, **COLUMNS)
        differing = label_of.keys() ^ {*frame["sample"]}
        if differing:
            raise ValueError(
                f"{path}: {len(differing)} images are not in both this file and {LABELS}, such as "
                f"{min(differing)!r}. Both must list the full split"
            )
        frames.append(frame.assign(model=path.stem, label=frame["sample"].map(label_of)))
    return pd.concat(frames, ignore_index=True)


def image_factors(path: Path | str, sample_ids: Iterable[str]) -> pd.Series:
    """Read what is unusual about each of ImageNet's validation images, as ImageNet-X annotates it.

    Parameters
    ----------
    path : Path or str
        ``imagenet_x_val_top_factor.jsonl`` of the package ``imagenet-x`` of PyPI (folder
        ``imagenet_x/annotations``). It names one factor per image.
    sample_ids : iterable of str
        Names of images, with or without folders.

    Returns
    -------
    Series of str
        The factor of each sample by its id, such as "pose" or "darker". None if the file has no
        factor of this image.

    Raises
    ------
    ValueError
        If an image has several factors, or if the file has none of the images.

    See Also
    --------
    imagenet_x : Predictions of four networks on the same images.

    References
    ----------
    .. [1] Idrissi et al., "ImageNet-X: Understanding Model Mistakes with Factor of Variation
       Annotations", ICLR 2023.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> row = '{"file_name": "ILSVRC2012_val_00000293.JPEG", "class": 0, "pose": 1, "darker": 0}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "imagenet_x_val_top_factor.jsonl")
    ...     _ = path.write_text(row + "\\n")
    ...     factors = cl.datasets.image_factors(path, ["n01440764/ILSVRC2012_val_00000293.JPEG"])
    >>> factors.iloc[0]
    'pose'
    """
    with open_regular_file(Path(path), MAX_FILE_BYTES) as file, error_context(str(path)):
        frame = pd.read_json(file, lines=True, dtype={"file_name": str})
        validate_choice("file_name", frame.columns, "column")
        is_factor = frame.set_index("file_name").drop(columns=NO_FACTORS, errors="ignore") == 1
        several = is_factor.index[is_factor.sum(axis=1) > 1]
        if len(several):
            raise ValueError(
                f"{len(several)} images have several factors, the first is {several[0]!r}. Pass "
                "imagenet_x_val_top_factor.jsonl, which names one for each image"
            )
        of_image = is_factor[is_factor.any(axis=1)].idxmax(axis=1)
        ids = pd.Index(sample_ids)
        found = of_image.reindex(ids.astype(str).str.rsplit("/").str[-1]).set_axis(ids)
        if found.isna().all():
            raise ValueError(
                f"none of the {len(ids)} samples is an image of the file, such as {ids[0]!r}"
            )
    return found.astype(object).where(found.notna(), None)


def _read_columns(path: Path, **columns: str) -> pd.DataFrame:
    """Read columns of a CSV file, {new name: name in the file}."""
    if not path.is_file():
        raise FileNotFoundError(f"no {path}; expected {LAYOUT}")
    with open_regular_file(path, MAX_FILE_BYTES) as file, error_context(str(path)):
        frame = pd.read_csv(file, dtype={columns["sample"]: str})
        names = [validate_choice(name, frame.columns, "column") for name in columns.values()]
    return frame[names].set_axis(list(columns), axis=1)
