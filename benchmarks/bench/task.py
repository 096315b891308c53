"""A score file, the part of it that a rule gets in one draw, and the evaluation of its choice."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import cascadelib as cl

DELTA = 0.05
EPSILONS = (0.02, 0.05)
LABELS = (300, 1_000, 3_000)
MOST_IN_POOL = 6_000
MOST_LABELLED = 0.6  # of the pool

Keeps = Callable[[np.ndarray, np.ndarray], np.ndarray]
Choice = Callable[[cl.ScoreTable], tuple[float, float]]  # from a table to accuracy and mean cost


@dataclass(frozen=True, eq=False)
class File:
    """Scores of real models on real rows.

    Parameters
    ----------
    name, about : str
        What it is called, and what it is, in one sentence with its source.
    table : ScoreTable
        All models, the small one before the reference, with predictions.
    small, reference : str
        The pair.
    curve : DataFrame or None
        A published result for this file: seed, cost (÷ that of ``reference``), accuracy.
    """

    name: str
    about: str
    table: cl.ScoreTable
    small: str
    reference: str
    curve: Any = None

    def __post_init__(self) -> None:
        if self.table.row(self.small) > self.table.row(self.reference):
            raise ValueError(
                f"{self.name}: the table lists {self.reference!r} before {self.small!r}; list its "
                "models cheapest first"
            )

    @cached_property
    def pair(self) -> cl.ScoreTable:
        """The small model and the reference alone."""
        return self.table.select([self.small, self.reference])

    @property
    def size(self) -> int:
        """The number of models × rows."""
        return len(self.table.names) * len(self.table)

    @property
    def pool(self) -> int:
        """The number of rows that a rule sees."""
        return min(MOST_IN_POOL, len(self.table) // 2)

    @property
    def labels(self) -> list[int]:
        """The numbers of labels: at most 60% of the pool."""
        return [count for count in LABELS if count <= MOST_LABELLED * self.pool]

    def seed(self, draw: int) -> int:
        """Return the seed of a draw. It differs between files, so that their draws are
        independent."""
        return zlib.crc32(f"{self.name}, draw {draw}".encode())

    def order(self, draw: int) -> np.ndarray:
        """Return the rows of a draw's pool, the labelled ones first."""
        return np.random.default_rng(self.seed(draw)).permutation(len(self.table))[: self.pool]


@dataclass(frozen=True, eq=False)
class Task:
    """The input of a rule: the pool of a draw, of which the first ``labels`` rows are labelled.

    ``bought`` are the rows whose labels were read by :meth:`lost`.
    """

    file: File
    draw: int
    labels: int
    epsilon: float
    delta: float = DELTA
    bought: set[int] = field(default_factory=set)

    @property
    def seed(self) -> int:
        """The seed of the draw, for rules with random choices."""
        return self.file.seed(self.draw)

    @property
    def pool(self) -> cl.ScoreTable:
        """The pair on the pool."""
        return part_of(self.file, self.draw, self.file.pool)[0]

    @property
    def labelled(self) -> cl.ScoreTable:
        """The pair on the labelled rows."""
        return part_of(self.file, self.draw, self.labels)[0]

    @property
    def labelled_of_all(self) -> cl.ScoreTable:
        """All models on the labelled rows."""
        return part_of(self.file, self.draw, self.labels)[1]

    @property
    def unlabelled(self) -> cl.ScoreTable:
        """The pair on the pool's other rows, without labels."""
        return unlabelled_part(self.file, self.draw, self.labels)

    @property
    def confidence(self) -> np.ndarray:
        """The small model's confidences on the pool, float64 [P]."""
        return self.pool.confidence[0]

    @property
    def predictions(self) -> np.ndarray:
        """The small model's predictions on the pool, text [P]."""
        return self.pool.predictions[0]

    @property
    def costs(self) -> tuple[float, float]:
        """The costs of the small model and of the reference, per row."""
        small, reference = self.file.pair.cost.tolist()
        return small, reference

    def lost(self, rows: ArrayLike) -> np.ndarray:
        """Return whether only the reference is correct on rows of the pool, bool.

        It costs a label per row.
        """
        at = np.asarray(rows)
        self.bought.update(at.tolist())
        small, reference = self.pool.correct[:, at]
        return reference & ~small

    def scaled(self, confidence: np.ndarray) -> np.ndarray:
        """Return confidences in [½, 1], in the same order, as peers expect them."""
        lowest = self.confidence.min()
        width = max(np.ptp(self.confidence), 1e-12)
        return 0.5 + 0.5 * np.clip((confidence - lowest) / width, 0, 1)

    def nothing(self) -> Choice:
        """Choose the reference without a small model."""
        return reference_alone(self.file)

    def keep(self, keeps: Keeps) -> Choice:
        """Keep the small model's answer if ``keeps(confidence, predictions)``, bool, is True.

        If that is not cheaper on the pool than the reference, choose the reference.
        """
        small, reference = self.costs
        share = np.mean(keeps(self.confidence, self.predictions))
        if small + (1 - share) * reference >= reference:
            return self.nothing()
        names = [self.file.small, self.file.reference]

        def choice(table: cl.ScoreTable) -> tuple[float, float]:
            pair = table.select(names)
            kept = keeps(pair.confidence[0], pair.predictions[0])
            correct = np.where(kept, *pair.correct)
            return float(correct.mean()), small + (1 - kept.mean()) * reference

        return choice

    def run(self, point: cl.Point | None) -> Choice:
        """Choose a cascade, or the reference if there is none or if it is not cheaper."""
        if point is None or point.cost >= self.costs[1]:
            return self.nothing()

        def choice(table: cl.ScoreTable) -> tuple[float, float]:
            run = cl.evaluate(table, point)
            return run.accuracy, run.cost

        return choice


@lru_cache(8)  # all rules of a draw share them
def part_of(file: File, draw: int, count: int) -> tuple[cl.ScoreTable, cl.ScoreTable]:
    """Return the first rows of the pool of a draw: the pair, and all models."""
    rows = file.order(draw)[:count]
    return file.pair.take(rows), file.table.take(rows)


@lru_cache(8)
def unlabelled_part(file: File, draw: int, labels: int) -> cl.ScoreTable:
    """Return the pair on the unlabelled rows of the pool, without columns that reveal labels."""
    rest = file.pair.take(file.order(draw)[labels : file.pool])
    return cl.ScoreTable(
        None,
        rest.confidence,
        rest.cost,
        rest.names,
        predictions=rest.predictions,
    )


def reference_alone(file: File) -> Choice:
    """Return the choice of the reference without a small model."""

    def choice(table: cl.ScoreTable) -> tuple[float, float]:
        row = table.row(file.reference)
        return float(table.correct[row].mean()), float(table.cost[row].mean())

    return choice


def from_stores(splits: list[cl.LogitStore], names: list[str]) -> cl.ScoreTable:
    """Return models on several splits of one store as a table with max softmax and predictions."""
    method = cl.Method()
    confidence = []
    predictions = []
    labels = []
    for split in splits:
        stage = split.outcome(names, method, "top1")
        confidence.append([stage((row,))[1] for row in range(len(names))])
        predictions.append([split.predicted(name) for name in names])
        labels.append(split.labels)
    cost = splits[0].models["macs"][names].to_numpy()
    return cl.ScoreTable(
        None,
        np.concatenate(confidence, axis=1),
        cost,
        names,
        predictions=np.concatenate(predictions, axis=1),
        labels=np.concatenate(labels),
    )


def found(folder: Path | None, *path: str) -> Path | None:
    """Return the path of a file below a folder, or None if it does not exist."""
    if folder is None:
        return None
    place = folder.joinpath(*path)
    return place if place.is_file() else None
