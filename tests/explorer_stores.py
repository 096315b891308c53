"""Small stores for the explorer, and what must hold of whatever it shows."""

from dataclasses import fields
from typing import Any

import numpy as np

import cascadelib as cl
from cascadelib.deployment.form import parse_cascade
from cascadelib.labels import samples_in_common


def made(seed: int = 0, k: int = 400, classes: int = 7, models: int = 5) -> cl.LogitStore:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, k)
    ease = rng.normal(size=(k, 1))
    truth = np.eye(classes)[labels]
    logits = {
        f"m{i}": (1 + 0.7 * i) * truth * (1 + ease) + rng.normal(size=(k, classes))
        for i in range(models)
    }
    costs = {name: 10.0 ** (i + 2) for i, name in enumerate(logits)}
    return cl.LogitStore.from_arrays(
        labels, logits, macs=costs, seconds={name: c / 1e9 for name, c in costs.items()}
    )


STORE = made()
OTHER = made(1, 300)


def told(point: Any) -> dict:
    """The fields of a point without its improvement, which may be nan, and without ``kept``, which
    a front alone knows."""
    left_out = ("improvement", "kept")
    names = [field.name for field in fields(point) if field.name not in left_out]
    return {name: getattr(point, name) for name in names}


def assert_shows_its_point(explorer: Any, store: cl.LogitStore = STORE, other: Any = OTHER) -> Any:
    """All that is shown and exported is the point, and the point is what evaluate says, on both
    splits."""
    point = explorer.point
    for split, at in (("validation", store), ("held-out", other)):
        if at is not None:
            result = cl.evaluate(at, point)
            reading = explorer.readings[split]
            assert (reading.accuracy, reading.cost) == (result.accuracy, result.cost)
    namespace = {"store": store}
    exec(explorer.export.call.value, namespace)
    again = namespace["point"]
    part = ("models", "thresholds", "exit_rates", "accuracy", "cost", "score", "cost_kind")
    assert [getattr(again, key) for key in part] == [getattr(point, key) for key in part]
    assert samples_in_common(again.found_on, point.found_on) == len(store)
    assert cl.evaluate(store, again).accuracy == point.accuracy
    assert parse_cascade(explorer.export.json.value).thresholds == point.thresholds
    now = next(trace for trace in explorer.charts.figure.data if trace.meta == "now, validation")
    assert (now.x[0], now.y[0]) == (np.float32(point.cost), np.float32(point.accuracy))
    return point
