"""What is taken away: a call and a file."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from explorer_stores import STORE

import cascadelib as cl
from cascadelib.deployment.form import parse_cascade
from cascadelib.explorer.export import as_call, as_json


def nameless_metric(logits: Any) -> Any:
    return logits.max(axis=1)


def test_an_exported_call_knows_infinity_and_fitted_temperatures() -> None:
    method = cl.METHODS["max_softmax_mean_logits_ts"].fit(STORE)
    point = cl.Point(
        ("m0", "m1", "m2"), (np.inf, -np.inf), (0.0, 1.0, 0.0), 0.5, 1.0, np.nan, method
    )
    namespace = {"store": STORE}
    exec(as_call(point, STORE), namespace)
    again = namespace["point"]
    assert again.thresholds == point.thresholds and np.isnan(again.improvement)
    assert again.method.temperatures == {name: method.temperatures[name] for name in point.models}
    fitted = cl.pick(
        cl.search(STORE, 2, cl.Method(confidence="isotonic_by_label")), "match_best", caution=0
    )
    exec(as_call(fitted, STORE), namespace)
    in_full = replace(fitted, method=replace(fitted.method, folds=None))  # no file holds folds
    again = cl.evaluate(STORE, namespace["point"])
    assert again.accuracy == cl.evaluate(STORE, in_full).accuracy
    nameless = cl.Point(("m0", "m1"), (0.5,), (0.5, 0.5), 0.5, 1.0, 1.0, cl.Method(nameless_metric))
    assert "function" in as_json(nameless, STORE)


def test_an_exported_call_is_python_whatever_the_names(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s a "store"\n\\ {x}'
    names = ['it\'s "m"', 'cl.Method("\n', "\\"]
    store = cl.LogitStore.create(folder, STORE.labels)
    for name, model in zip(names, STORE.models.index):
        store.add(name, STORE.logits(model), macs=10.0 ** len(store.models))
    front = cl.search(store, 3)
    namespace = {}
    point = front.point(len(front) - 1)
    exec(as_call(point, store), namespace)
    assert namespace["point"].models == point.models and namespace["store"].path == store.path
    assert parse_cascade(as_json(point, store)).models == point.models
