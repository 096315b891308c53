"""A store of a kind of its own, and tables to conform with."""

from typing import Any

import numpy as np

from cascadelib.store.score_table import ScoreTable


class Fees:
    """A user's own store: whose numbers lie in a table, here, and would be asked for elsewhere."""

    path = None
    class_count = None
    cost_names = ["cost"]
    default_cost = "cost"

    def __init__(self, table: Any) -> None:
        self.table = table
        self.origin = table.origin

    @property
    def models(self) -> Any:
        return self.table.models

    def __len__(self) -> int:
        return len(self.table)

    @property
    def has_predictions(self) -> Any:
        return self.table.has_predictions

    def metadata(self, name: str) -> dict:
        return {}

    def asked(self, method: Any, score: Any, cost: Any) -> tuple:
        return method, "top1", "cost"

    def column(self, name: str, what: Any) -> Any:
        return self.table.column(name, what)

    def predicted(self, name: str) -> Any:
        return self.table.predicted(name)

    def labelled(self, labels: np.ndarray) -> Any:
        return Fees(self.table.labelled(labels))

    def outcome(self, names: Any, method: Any, score: Any) -> Any:
        return self.table.outcome(names, method, score)

    def positives(self) -> Any:
        return self.table.positives()

    def costs(self, cost: Any) -> Any:
        return self.table.costs(cost)

    def sample_costs(self, cost: Any) -> Any:
        return self.table.sample_costs(cost)

    def take(self, indices: Any) -> Any:
        return Fees(self.table.take(indices))

    def select(self, names: Any) -> Any:
        return Fees(self.table.select(names))


def with_predictions() -> ScoreTable:
    rng = np.random.default_rng(7)
    labels = rng.choice(["yes", "no", "maybe"], 60)
    wrong = rng.choice(["yes", "no", ""], (3, 60))
    known = rng.random((3, 60)) < [[0.5], [0.7], [0.8]]
    return ScoreTable(
        None,
        rng.random((3, 60)),
        rng.random((3, 60)) + [[1], [4], [9]],
        sample_ids=[f"q{i}" for i in range(60)],
        predictions=np.where(known, labels, wrong),
        labels=labels,
    )
