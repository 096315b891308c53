"""LogitStore: the logits of many models on one labelled split, on disk or in memory."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from numpy.typing import ArrayLike

from ..files import file_name, find_folder, short_path
from ..origin import Origin
from .formats import Folder, Memory, Output, describe_duplicate
from .manifest import create
from .model_checks import (
    check_logits,
    check_metadata,
    check_probabilities,
    compute_accuracies,
    group_costs_by_model,
)
from .outputs import Outputs

ADD_LOCK = Lock()  # held while a model gets its order and is stored


class LogitStore(Outputs):
    """Hold the logits of many models on one labelled split, on disk or in memory.

    ``LogitStore(path)`` opens a folder. It reads one header per model and skips broken files with a
    warning. The headers contain top-1 and top-5 accuracies.

    Parameters
    ----------
    path : str or Path
        The folder, relative to the current folder or to the root of the repository.

    Attributes
    ----------
    labels : int64 array of shape (n_samples,) or None
        Class of each sample.
    sample_ids : str array of shape (n_samples,)
        Ids of the samples.
    classes : tuple of str or None
        Names of the classes.
    dataset, split : str
        Names of data set and split.
    origin : Origin
        Labels, ids, classes, data set and split.
    path : Path or None
        The folder, or None in memory.

    Raises
    ------
    FileNotFoundError
        If there is no store in the folder.
    ValueError
        If its manifest or labels are damaged.

    See Also
    --------
    ScoreTable : Answers and confidences without logits.
    extract : Fill a store by running models.

    Examples
    --------
    >>> import cascadelib as cl
    >>> logits = {"small": [[2.0, 1.0], [0.0, 0.5]], "large": [[3.0, 0.0], [1.0, 0.0]]}
    >>> store = cl.LogitStore.from_arrays([0, 0], logits, macs={"small": 10, "large": 100})
    >>> store.models[["top1", "macs"]].values.tolist()
    [[0.5, 10.0], [1.0, 100.0]]
    """

    def __init__(self, path: str | Path):
        self.path: Path | None = find_folder(path)
        self._use(Folder(self.path))

    @classmethod
    def create(
        cls,
        path: str | Path,
        labels: ArrayLike | None,
        sample_ids: ArrayLike | None = None,
        classes: Iterable[str] | None = None,
        dataset: str = "",
        split: str = "",
    ) -> "LogitStore":
        """Create an empty store in a folder.

        Parameters
        ----------
        path : str or Path
            The folder. It is created if it does not exist.
        labels : int or str array of shape (n_samples,), Series, dict or None
            Class of each sample. Text is looked up in `classes`. None creates a store without
            labels, which needs `sample_ids`.
        sample_ids : array of shape (n_samples,), optional
            Distinct ids. Defaults to row numbers.
        classes : iterable of str, optional
            Names of the classes. Defaults to the sorted distinct labels if these are text.
        dataset, split : str, default=""
            Names of data set and split.

        Returns
        -------
        LogitStore
            The empty store. Fill it with :meth:`add`.

        Raises
        ------
        ValueError
            If the folder already has a store, if the split is empty, if ids repeat, or if a label
            is outside the classes.
        """
        create(path, Origin.from_labels(labels, sample_ids, classes, dataset, split))
        return cls(path)

    @classmethod
    def from_arrays(
        cls,
        labels: ArrayLike | None,
        logits: Mapping[str, Any],
        macs: Mapping[str, float] | None = None,
        seconds: Mapping[str, float] | None = None,
        sample_ids: ArrayLike | None = None,
        classes: Iterable[str] | None = None,
        dataset: str = "",
        split: str = "",
        dtype: str = "float32",
        probabilities: bool = False,
        **costs: Mapping[str, float],
    ) -> "LogitStore":
        """Create a store in memory, with the checks of :meth:`add`.

        Parameters
        ----------
        labels, sample_ids, classes, dataset, split
            As for :meth:`create`.
        logits : dict
            Logits of shape (n_samples, n_classes) by model.
        macs, seconds, **costs : dict, optional
            Positive cost per sample by model. Any other keyword is another kind of cost, such as
            ``joules={…}``.
        dtype : {"float16", "float32", "float64"}, default="float32"
            Type of the stored arrays.
        probabilities : bool, default=False
            As for :meth:`add`.

        Returns
        -------
        LogitStore
            The store.

        Raises
        ------
        ValueError
            If a cost belongs to no model or is not positive, or if :meth:`add` refuses a model.
        """
        store = cls.__new__(cls)
        store.path = None
        count = len(next(iter(logits.values()), ()))
        store._use(Memory(Origin.from_labels(labels, sample_ids, classes, dataset, split, count)))
        by_model = group_costs_by_model({"macs": macs, "seconds": seconds} | costs, logits)
        for name, values in logits.items():
            store.add(
                name,
                values,
                dtype=dtype,
                probabilities=probabilities,
                **by_model[name],
            )
        return store

    @classmethod
    def from_probabilities(
        cls,
        labels: ArrayLike | None,
        probabilities: Mapping[str, Any],
        *args: Any,
        dtype: str = "float64",
        **kwargs: Any,
    ) -> "LogitStore":
        """Create a store in memory from probabilities of shape (n_samples, n_classes) by model.

        Confidences are computed from the probabilities themselves. A method that needs logits uses
        the logarithms of the probabilities. Zeros are first replaced by the smallest positive
        float. The other arguments are those of :meth:`from_arrays`.

        Returns
        -------
        LogitStore
            The store.

        Raises
        ------
        ValueError
            If a value is outside [0, 1], if the sum of a row differs from 1 by more than 0.001, or
            for the reasons of :meth:`from_arrays`.
        """
        return cls.from_arrays(
            labels, probabilities, *args, dtype=dtype, probabilities=True, **kwargs
        )  # type: ignore[misc]

    def __repr__(self) -> str:
        where = "in memory" if self.path is None else short_path(self.path)
        size = f"{len(self)} samples, {len(self._outputs())} models"
        return f"<LogitStore {where}: {self.dataset} {self.split}, {size}>"

    def to_scores(self, path: str | Path, temperatures: Mapping[str, float] | None = None) -> None:
        """Write what the notebooks of the paper need of a study, without logits, into one file.

        The file has predictions, ranks of the labels, four confidence metrics and costs: 20 bytes
        per sample and model, 36 with temperatures. :class:`cascadelib.store.ScoreFile` reads it.

        Parameters
        ----------
        path : str or Path
            The parquet file.
        temperatures : dict, optional
            Fitted temperature of each model, for methods with temperature scaling:
            ``cl.METHODS["entropy_most_confident_ts"].fit(store).temperatures``.

        Raises
        ------
        ValueError
            If the store has no labels.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import cascadelib as cl
        >>> logits = {"small": [[2.0, 1.0], [0.0, 0.5]], "large": [[3.0, 0.0], [1.0, 0.0]]}
        >>> store = cl.LogitStore.from_arrays([0, 0], logits, macs={"small": 10, "large": 100})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store.to_scores(Path(folder, "val.parquet"))
        ...     scores = cl.store.ScoreFile(Path(folder, "val.parquet"))
        >>> cl.search(scores, 2).table["accuracy"].tolist()
        [0.5, 1.0]
        """
        from .score_file import write_scores  # loads pyarrow

        write_scores(self, path, temperatures)

    def add(
        self,
        name: str,
        logits: Any,
        sample_ids: ArrayLike | None = None,
        macs: float | None = None,
        seconds: float | None = None,
        *,
        replace: bool = False,
        dtype: str = "float32",
        probabilities: bool = False,
        **metadata: Any,
    ) -> None:
        """Add the output of one model on all samples, atomically.

        Parameters
        ----------
        name : str
            Name of the model.
        logits : array or tensor of shape (n_samples, n_classes)
            Output in the order of the store's samples.
        sample_ids : array of shape (n_samples,), optional
            Ids to compare with those of the store.
        macs, seconds : float, optional
            Positive cost per sample.
        replace : bool, default=False
            Whether a model of the same name may be replaced.
        dtype : {"float16", "float32", "float64"}, default="float32"
            Type of the stored tensor.
        probabilities : bool, default=False
            Whether `logits` contains probabilities.
        **metadata
            Stored in the header. A number can serve as a kind of cost, such as ``joules=…``.

        Raises
        ------
        ValueError
            If the name, a cost, the metadata or the output is invalid. The message names the model
            and the first invalid row. The store does not change.
        """
        if self._models is not None:
            raise ValueError(
                f"model {name!r} cannot be added to a view of a store; add it to the full store"
            )
        file_name(name)  # raises for a name that a file cannot have
        header = check_metadata(name, metadata, {"macs": macs, "seconds": seconds})
        output = check_logits(name, logits, sample_ids, self.origin, dtype)
        if probabilities:
            check_probabilities(name, output, self.origin)
        scores = compute_accuracies(output, self.origin)
        kind = "probabilities" if probabilities else "logits"
        with ADD_LOCK:
            models = self._source.models
            if not replace and (name in models or name in self._source.broken):
                raise ValueError(describe_duplicate(name))
            self._check_class_count(name, output.shape[1])
            last = max((stored.metadata["order"] for stored in models.values()), default=-1)
            entry = {"model": name, "order": last + 1} | scores | header
            self._source.put(name, Output.from_tensor(output, entry, kind), replace)

    def _check_class_count(self, name: str, found: int) -> None:
        """Raise ValueError if a new model has another number of classes than the store."""
        models = self._source.models
        others = (stored.shape[1] for other, stored in models.items() if other != name)
        expected = len(self.classes) if self.classes else next(others, found)
        if found != expected:
            raise ValueError(
                f"model {name!r}: logits for {found} classes, but the store has {expected}"
            )

    def verify(self) -> None:
        """Read all files and check their digests.

        Raises
        ------
        ValueError
            If a file is broken. The message lists each broken file and the failed check.
        """
        failures = list(self._source.broken.values())
        for output in self._outputs().values():
            try:
                output.open()
            except (ValueError, OSError) as error:
                failures.append(str(error))
        if failures:
            raise ValueError("the store is damaged:\n" + "\n".join(failures))
