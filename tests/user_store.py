"""A store that a user writes, and a table with predictions."""

import numpy as np

from cascadelib.store.score_table import ScoreTable


class Fees:
    """A store that a user writes. Its numbers are in a table here, and could be anywhere."""

    path = None
    class_count = None
    cost_names = ["cost"]
    default_cost = "cost"

    def __init__(self, table):
        self.table = table
        self.origin = table.origin

    @property
    def models(self):
        return self.table.models

    def __len__(self):
        return len(self.table)

    @property
    def has_predictions(self):
        return self.table.has_predictions

    def metadata(self, name):
        return {}

    def resolve_options(self, method, score, cost):
        return method, "top1", "cost"

    def predicted(self, name):
        return self.table.predicted(name)

    def labelled(self, labels):
        return Fees(self.table.labelled(labels))

    def outcome(self, names, method, score):
        return self.table.outcome(names, method, score)

    def positives(self):
        return self.table.positives()

    def costs(self, cost):
        return self.table.costs(cost)

    def sample_costs(self, cost):
        return self.table.sample_costs(cost)

    def take(self, indices):
        return Fees(self.table.take(indices))

    def select(self, names):
        return Fees(self.table.select(names))


def with_predictions():
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
