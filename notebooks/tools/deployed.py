"""A running cascade beside the evaluator and the clock, and its guesses as a file for a test server."""

import statistics
import timeit
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cascadelib import Cascade, evaluate
from cascadelib.checks import check_count
from cascadelib.evaluation.point import single_point
from cascadelib.files import replacing
from cascadelib.policy import Decisions, pieces_of
from cascadelib.policy.members import Member, member_named
from cascadelib.scoring import F1
from cascadelib.store.protocol import Store
from cascadelib.zoo.batches import count_samples


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
    size = count_samples(inputs)
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


def write_submission(
    path: str | Path, guesses: np.ndarray, order: np.ndarray | None = None
) -> None:
    """A file with a line per image: its guesses, best first, separated by spaces, in the images'
    order.

    Parameters
    ----------
    path : path
    guesses : int [k, g]
        Such as ``cascade.run(batches, guesses=g).guesses``.
    order : int [classes], optional
        From :func:`read_ilsvrc_order`: then the numbers are the challenge's, 1 … 1000, as the test server
        wants them; without it, labels as in the stores.

    Raises
    ------
    ValueError
        For a class that order lacks.
    """
    guesses = np.asarray(guesses)
    if order is not None:
        most = max(int(guesses.max()), int(np.max(order)))
        numbers = np.full(most + 2, -1)  # the last: of no class (−1)
        numbers[np.asarray(order)] = np.arange(1, len(order) + 1)
        guesses = numbers[guesses]
        strange = np.flatnonzero((guesses < 0).any(axis=1))
        if len(strange):
            raise ValueError(
                f"order names {len(order)} classes, but image {strange[0]} has another"
            )
    with replacing(Path(path)) as temporary:
        lines = [" ".join(map(str, row)) + "\n" for row in guesses.tolist()]
        temporary.write_text("".join(lines), encoding="utf-8")


def same_decisions(
    store: Store, cascade: Any, decisions: Decisions, tolerance: float = 1e-5
) -> pd.Series:
    """Decisions of a running cascade beside :func:`evaluate` on the same samples in the same order.

    Parameters
    ----------
    store : LogitStore or ScoreTable
    cascade : Point, Policy or Cascade
    decisions : Decisions
    tolerance : float
        In confidence: another batch size or processor rounds otherwise.

    Returns
    -------
    Series
        Counts: samples; same (exit stage and correctness); near (they differ, and a confidence that
        the evaluator sees on the sample's way lies within ``tolerance`` of its threshold); other
        (they differ for another reason: to be looked into).

    Raises
    ------
    ValueError
        For another number of samples.
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
