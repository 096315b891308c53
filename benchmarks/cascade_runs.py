"""Compare a running cascade with the evaluator and with the clock."""

import statistics
import time
import timeit
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch

from cascadelib import Cascade, evaluate
from cascadelib.checks import check_count
from cascadelib.evaluation.point import single_point
from cascadelib.policy import Decisions
from cascadelib.policy.members import Member
from cascadelib.scoring import F1
from cascadelib.store.protocol import Store
from cascadelib.zoo.batches import count_samples, take_rows


@torch.inference_mode()
def time_cascade(
    cascade: Cascade,
    inputs: Any,
    batch_size: int = 64,
    repeats: int = 5,
) -> pd.DataFrame:
    """Measure seconds per sample of a cascade and of its models: a DataFrame, a row per run.

    inputs: N raw samples, a batch of any form. Rows:

    - every model on all samples in full batches, with its preprocessing and the copy of its logits
      from the device
    - ``ideal``: Σ C_i · reach_i from these times and the exit rates of the run
    - ``cascade``: batch by batch
    - ``exit decisions``: the part of ``cascade`` from logits to exits

    Columns: seconds (per sample), share_run (samples that reached the model), seconds_in_cascade
    (the model and its preprocessing in ``cascade``), throughput_to_ideal, decision_seconds (per
    stage and batch). The runs take turns and the median of ``repeats`` rounds counts. Other load on
    the machine therefore affects all of them.
    """
    size = count_samples(inputs)
    starts = range(0, size, batch_size)
    pieces = [take_rows(inputs, slice(start, start + batch_size)) for start in starts]
    repeats = check_count(repeats, "repeats")

    def run_single(member: Member) -> list:
        return [member.logits(piece) for piece in pieces]

    spent = np.zeros(len(cascade.members) + 1)  # seconds in each model, and in exit decisions

    def in_cascade() -> list:
        spent[:] = 0
        with timed(cascade, spent):
            return [cascade(piece) for piece in pieces]

    calls: dict[str, Callable] = {
        member.name: partial(run_single, member) for member in cascade.members
    }
    calls["cascade"] = in_cascade
    times: dict[str, list[float]] = {name: [] for name in calls}
    in_parts = []
    for _ in range(repeats + 1):  # the first round warms up
        for name, call in calls.items():
            times[name].append(timeit.timeit(call, number=1) / size)
        in_parts.append(spent / size)
    seconds = pd.Series(
        {name: statistics.median_high(values[1:]) for name, values in times.items()}, name="seconds"
    )
    stages = cascade.run(pieces).exit_stage
    names = pd.Index(cascade.point.models, name="model")
    reach = pd.Series([np.mean(stages >= stage) for stage in range(len(names))], names)
    seconds["ideal"] = (seconds[reach.index] * reach).sum()
    *models, decisions = in_parts[times["cascade"].index(seconds["cascade"], 1)].tolist()
    parts = pd.Series(models, names)
    seconds["exit decisions"] = decisions
    ratio = (seconds["ideal"] / seconds)[["cascade"]]
    table = seconds.to_frame().assign(
        share_run=reach, seconds_in_cascade=parts, throughput_to_ideal=ratio
    )
    made = len(pieces) * len(cascade.members)
    table.loc["exit decisions", "decision_seconds"] = seconds["exit decisions"] * size / made
    return table


@contextmanager
def timed(cascade: Cascade, seconds: np.ndarray) -> Iterator[None]:
    """While the block lasts, add up the seconds of each member's logits and, last, of exit
    decisions."""
    calls: list[tuple[Any, str]] = [(member, "logits") for member in cascade.members]
    calls += [(cascade, "add_output"), (Decisions, "write")]
    with ExitStack() as stack:
        for number, (owner, name) in enumerate(calls):
            called = getattr(owner, name)
            place = min(number, len(seconds) - 1)

            def timed_call(*args: Any, at: int = place, usual: Callable = called) -> Any:
                begun = time.perf_counter()
                try:
                    return usual(*args)
                finally:
                    seconds[at] += time.perf_counter() - begun

            stack.enter_context(patch.object(owner, name, timed_call))
        yield


def same_decisions(
    store: Store, cascade: Any, decisions: Decisions, tolerance: float = 1e-5
) -> pd.Series:
    """Compare decisions of a running cascade with :func:`evaluate` on the same samples in the same
    order.

    Parameters
    ----------
    store : LogitStore or ScoreTable
    cascade : Point, Policy or Cascade
    decisions : Decisions
    tolerance : float
        Of a confidence. Another batch size or processor rounds differently.

    Returns
    -------
    Series
        Counts. samples. same: equal exit stage and correctness. near: different, with a confidence
        within ``tolerance`` of its threshold at a stage that the sample reaches. other: different
        for another reason, to be investigated.

    Raises
    ------
    ValueError
        If the numbers of samples differ.
    """
    if len(decisions) != len(store):
        raise ValueError(f"{len(decisions)} decisions for a store of {len(store)} samples")
    point = single_point(cascade)
    expected = evaluate(store, point)
    same = decisions.exit_stage == expected.exit_stage
    if point.score in ("top1", F1):
        same &= (decisions.predictions == store.origin.values) == expected.correct
    near = np.zeros(len(store), bool)
    for stage, threshold in enumerate(point.inside):
        is_close = np.abs(expected.confidences[stage] - threshold) <= tolerance
        near |= is_close & (expected.exit_stage >= stage)
    counts = {
        "samples": len(store),
        "same": same.sum(),
        "near": (~same & near).sum(),
        "other": (~same & ~near).sum(),
    }
    return pd.Series(counts, dtype=int)
