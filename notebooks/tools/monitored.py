"""Monitor streams of inputs as a service does: which raise an alarm, and how soon."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cascadelib import Point, evaluate
from cascadelib.front_end import watched
from cascadelib.serve import DriftSignal, Monitor


def alarm_share(
    reference: Any, store: Any, point: Point, window: int, repeats: int = 200, **options: Any
) -> float:
    """Return the share of streams that raise an alarm before they end.

    ``repeats`` streams of ``window`` inputs are drawn from a store. If the reference is the same
    store, the alarms are false: a random half is the reference and the other half the stream.
    options: false_alarm_rate. Raises ValueError if there are too few samples.
    """
    run = evaluate(store, point)

    def reaching(rows: np.ndarray) -> list[np.ndarray]:
        """Return the confidences of some samples at the stages that they reach."""
        stages = enumerate(run.confidences)
        return [values[rows[run.exit_stage[rows] >= stage]] for stage, values in stages]

    unchanged = reference is store
    half = len(store) // 2 if unchanged else 0
    fixed = None if unchanged else evaluate(reference, point).stage_confidences
    if window > len(store) - half:
        raise ValueError(
            f"a stream of {window} inputs is longer than the {len(store) - half} samples there are"
        )
    rng = np.random.default_rng(0)
    alarms = []
    for _ in watched(range(repeats), "streams"):
        order = rng.permutation(len(store))
        signal = DriftSignal(fixed or reaching(order[:half]), **options)
        alarms.append(signal.check(reaching(order[half:][:window])).alarm)
    return float(np.mean(alarms))


def alarm_table(
    point: Point,
    store: Any,
    other: Any,
    splits: dict[str, Any],
    windows: Sequence[int],
    repeats: int = 50,
    **options: Any,
) -> pd.DataFrame:
    """Return shares of streams that raise an alarm before they end, a column per length that fits.

    The first row is of unchanged data of ``other`` (4 × ``repeats`` streams). The others are of the
    splits {label: store}, against ``store``. options: a signal's.
    """
    fits = min(len(other) // 2, *(len(data) for data in splits.values()))
    table = {}
    for window in [window for window in windows if window <= fits]:
        shares = {"unchanged": alarm_share(other, other, point, window, 4 * repeats, **options)}
        for name, data in splits.items():
            shares[name] = alarm_share(store, data, point, window, repeats, **options)
        table[f"share of alarms, {window} inputs"] = shares
    return pd.DataFrame(table)


def drift_table(cascade: Any, streams: Mapping[str, Sequence]) -> pd.DataFrame:
    """Run several streams {label: batches} through a cascade and summarize their drift, a row each.

    exit_rate of the first stage, the expected one, and whether :meth:`Monitor.drift` raises the
    alarm.
    """
    rows = {}
    for label, batches in streams.items():
        monitor = Monitor(cascade)
        monitor.observe(cascade.run(batches))
        row = monitor.table.iloc[0][["exit_rate", "exit_rate_expected"]].to_dict()
        rows[label] = row | {"alarm": "ALARM" if monitor.drift().alarm else "–"}
    return pd.DataFrame.from_dict(rows, orient="index")
