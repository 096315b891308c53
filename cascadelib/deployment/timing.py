"""Measured time of a running cascade beside each model's own, and beside what its exit rates
promise.
"""

import statistics
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch

from ..checks import check_count
from ..zoo.batches import rows_of, size_of
from .cascade import Cascade
from .members import Member, member_named


def pieces_of(inputs: Any, batch_size: int) -> list:
    """Raw inputs (a batch of any form) in batches of ``batch_size``; the last may be smaller."""
    rows = torch.arange(size_of(inputs)).split(check_count(batch_size, "batch_size"))
    return [rows_of(inputs, piece.numpy()) for piece in rows]


@torch.inference_mode()
def time_cascade(
    cascade: Cascade,
    inputs: Any,
    batch_size: int = 64,
    repeats: int = 5,
    others: Sequence[str] = (),
) -> pd.DataFrame:
    """Seconds a sample, measured: a DataFrame indexed by what ran.

    inputs: N raw samples, a batch of any form; others: names of zoo models that are timed as well.
    Rows: every model alone on all samples in full batches (with its preprocessing and the copy of
    its logits from the device); ``ideal``, Σ C_i · reach_i from these times and the exit rates of
    the run; ``cascade`` batch by batch; ``cascade, stream``, where the undecided wait for full
    batches; and ``exit decisions``, their part in the first of the two. Columns: seconds (a
    sample), share_run (samples that the model saw in the cascade), seconds_in_cascade (of
    ``cascade``: in the model and its preprocessing), throughput_to_ideal, decision_seconds (a stage
    and batch). All take turns, and medians of ``repeats`` rounds count, so that whatever else the
    machine does weighs on all.
    """
    size = size_of(inputs)
    pieces = pieces_of(inputs, batch_size)
    repeats = check_count(repeats, "repeats")
    more = [member_named(name, {}) for name in others if name not in cascade.point.models]
    members = [*cascade.members, *(Member(m.name, m.module.eval(), m.transform) for m in more)]

    def alone(member: Member) -> list:
        return [member.logits(piece) for piece in pieces]

    calls: dict[str, Callable] = {member.name: partial(alone, member) for member in members}
    calls["cascade"] = lambda: [cascade(piece) for piece in pieces]
    calls["cascade, stream"] = lambda: cascade.run(pieces, batch_size)
    times: dict[str, list[float]] = {name: [] for name in calls}
    spent = []
    for _ in range(repeats + 1):  # the first round warms up
        for name, call in calls.items():
            cascade.running.reset()
            times[name].append(timeit.timeit(call, number=1) / size)
            if name == "cascade":
                spent.append(cascade.running.seconds / size)
    seconds = pd.Series(
        {name: statistics.median_high(values[1:]) for name, values in times.items()}, name="seconds"
    )
    reach = pd.Series(cascade.running.table["inputs"] / size)
    seconds["ideal"] = (seconds[reach.index] * reach).sum()
    in_models, in_decisions = spent[times["cascade"].index(seconds["cascade"], 1)].T
    seconds["exit decisions"] = in_decisions.sum()
    parts = pd.Series(in_models, index=reach.index)
    ratio = (seconds["ideal"] / seconds)[["cascade", "cascade, stream"]]
    table = seconds.to_frame().assign(
        share_run=reach, seconds_in_cascade=parts, throughput_to_ideal=ratio
    )
    stages = len(pieces) * len(cascade.members)
    table.loc["exit decisions", "decision_seconds"] = seconds["exit decisions"] * size / stages
    return table
