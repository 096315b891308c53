"""A cascade that runs (paper, algorithm 1): in batches, and only the undecided samples go on to the
next model."""

import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..checks import about, brief, check_count, items_of
from ..evaluation.point import Point, single_point
from ..evaluation.run import evaluate
from ..files import replacing
from ..methods.confidence_metrics import metric_of
from ..methods.ensembles import Output
from ..methods.fitted import CONFIDENCE, given_columns
from ..methods.method import Method
from ..methods.thresholds import own_units
from ..scoring import F1
from ..store.protocol import Store
from ..zoo.batches import joined, rows_of, size_of
from .cascade_file import point_for_file
from .decisions import Decisions
from .members import check_classes, check_pinned, members_of
from .policy import Policy


@dataclass(eq=False)
class Group:
    """Samples on their way: their numbers int64 [N], raw inputs, and output so far."""

    numbers: np.ndarray
    inputs: Any
    output: Output | None = None

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, rows: np.ndarray) -> "Group":
        """Some of the samples, int64 [n]."""
        return Group(
            self.numbers[rows], rows_of(self.inputs, rows), self.output and self.output.take(rows)
        )

    @classmethod
    def joined(cls, groups: Sequence["Group"]) -> "Group":
        """Groups that wait for the same model as one."""
        if len(groups) == 1:
            return groups[0]
        numbers = np.concatenate([group.numbers for group in groups])
        inputs = joined([group.inputs for group in groups])
        outputs = [group.output for group in groups if group.output is not None]
        return cls(numbers, inputs, Output.joined(outputs) if outputs else None)


@dataclass(frozen=True, eq=False)
class Step:
    """One model's run on N samples.

    Parameters
    ----------
    stage : int
    numbers : int64 [N]
        Of the samples.
    broken, leaves : bool [N]
        Whose logits were nan or infinite, and which samples leave.
    confidence : float64 [N]
    guesses : int64 [N, g]
    seconds : (float, float)
        In the model, and in the exit decision.
    """

    stage: int
    numbers: np.ndarray
    broken: np.ndarray
    leaves: np.ndarray
    confidence: np.ndarray
    guesses: np.ndarray
    seconds: tuple[float, float]


class Cascade(torch.nn.Module):
    """Models in order of rising cost with a threshold fewer: ``cascade(batch)`` gives
    :class:`Decisions`.

    Made by :meth:`from_point` or :meth:`load`. A batch is a tensor or array [N, …] of raw inputs, a
    list of N samples (texts), or a mapping or tuple of batches; each model's transform makes its
    input of it, and sees undecided samples only. Confidences are computed in float64 from the
    logits by the evaluator's formulas: decisions are those of :func:`cascadelib.evaluate`. Models
    may lie on different devices and have any floating dtype; they stay in eval mode. A sample whose
    input for a model holds nan or inf, or for which it gives such logits, goes to the last model,
    with a warning; that output does not count in an ensemble.

    Attributes
    ----------
    policy : Policy
        What decides.
    point : Point
        What :meth:`save` writes.
    running : Running
        Counts, time and drift.
    differences : tuple of str
        What differs from where the cascade was measured, a sentence each.
    """

    def __init__(
        self, point: Point, models: Mapping | None = None, allow_download: bool = False
    ) -> None:
        super().__init__()
        if point.method is None:
            raise ValueError(
                "this cascade is of a ScoreTable, whose confidences have no formula: run it as a "
                "cascadelib.Policy, or name it, dataclasses.replace(point, "
                "method=cascadelib.Method(…))"
            )
        self.method = point.method
        self.members, records, self.differences = members_of(point, models, allow_download)
        self.policy = Policy(replace(point, records=records))
        self.models = torch.nn.ModuleList(member.module for member in self.members)
        self.models.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.running = self.policy.running
        self.references: dict[str, Cascade] = {}  # of audits
        self.eval()

    @classmethod
    def from_point(
        cls, point: Point, models: Mapping | None = None, store: Any = None, held_out: Any = None
    ) -> "Cascade":
        """The cascade of a Point.

        Parameters
        ----------
        point : Point
        models : mapping, optional
            {name: (module, transform)}, {name: module}, {name: Model}; names that it lacks are
            looked up in the zoo. A module may be any callable that takes a batch and returns logits
            [N, classes].
        store : LogitStore, optional
            Where the point was chosen.
        held_out : LogitStore, optional
            Where it is measured (default: store), see :func:`point_for_file`; without them nothing
            is known of the accuracy and exit rates to expect.

        Returns
        -------
        Cascade
        """
        return cls(point_for_file(point, store, held_out), models, allow_download=True)

    @classmethod
    def load(
        cls, path: str | Path, models: Mapping | None = None, allow_download: bool = False
    ) -> "Cascade":
        """A cascade from :meth:`save`. Nothing is unpickled, no code of others runs.

        Warns of, and keeps in ``differences``, library versions, weights and transforms other than
        those recorded.

        Parameters
        ----------
        path : path
        models : mapping, optional
            As in :meth:`from_point`. Names that it lacks must be of the bundled zoos or of timm,
            with the weights that the Hub has of them now.
        allow_download : bool
            Whether the file may name any folder or repository of the Hub, and the commit.

        Raises
        ------
        ValueError
            As :meth:`Policy.load`.
        ConnectionError
            Where weights cannot be downloaded.
        """
        policy = Policy.load(path)
        with about(str(path)):
            check_pinned(policy.point, models)
            cascade = cls(policy.point, models, allow_download)
        if cascade.differences:
            warnings.warn(f"{path}: " + "; ".join(cascade.differences), UserWarning, stacklevel=2)
        return cascade

    def save(self, path: str | Path) -> None:
        """Write the cascade, without weights, as a small JSON file: see :meth:`Policy.save`."""
        self.policy.save(path)

    def __repr__(self) -> str:
        return repr(self.policy).replace("Policy", "Cascade", 1)

    @property
    def point(self) -> Point:
        """What :meth:`save` writes."""
        return self.policy.point

    @property
    def cascades(self) -> tuple[Point, ...]:
        """The one cascade that it is: what :func:`points_of` asks for."""
        return self.policy.cascades

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Thresholds in use, in the metric's own units; set others to move them, as
        :class:`StreamBudget` does."""
        return self.policy.thresholds

    @thresholds.setter
    def thresholds(self, values: Iterable[float]) -> None:
        self.policy = replace(self.policy, thresholds=tuple(items_of(values)))

    def train(self, mode: bool = True) -> "Cascade":
        """Stays in eval mode: a cascade only runs."""
        return super().train(False)

    def optimize(self, example: Any) -> "Cascade":
        """Let each model run as a frozen graph where that is faster, here and now.

        Batches of all sizes are decided as before, but for rounding, and a model that has a graph
        still runs itself where an input is not finite. A model whose graph could differ stays as it
        is, with a warning that names it: see docs/running.md. Graphs have the weights of now; a
        copied, pickled or loaded cascade, or one on another device, runs without them.

        Parameters
        ----------
        example : batch
            Raw inputs, of the size that will run.

        Returns
        -------
        Cascade
            Itself.
        """
        for member in self.members:
            member.logits(example)
            try:
                member.optimize(example)
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                text = f"model {member.name!r} stays as it is, since a graph might differ: {reason}"
                warnings.warn(text, UserWarning, stacklevel=2)
        return self

    def forward(self, batch: Any) -> Decisions:
        """Decide a batch of N samples, each model on the samples that are undecided."""
        run = torch.compiler.disable(self.run) if torch.compiler.is_compiling() else self.run
        return run([batch], sys.maxsize)

    @torch.inference_mode()
    def run(self, stream: Iterable, batch_size: int = 64, guesses: int = 1) -> Decisions:
        """Decide a stream of batches.

        Undecided samples wait until ``batch_size`` of them need the same model (torch prepares its
        kernels anew for every other size); the last ones run at the end. An error of the stream or
        of a model goes on to the caller with what was decided: ``error.decided``, Decisions of all
        samples that had come, those still under way with exit_stage −1.

        Parameters
        ----------
        stream : iterable of batches
        batch_size : int
        guesses : int
            How many of the best classes ``decisions.guesses`` names.

        Returns
        -------
        Decisions
            Of all samples, in their order.

        Raises
        ------
        ValueError
            For several guesses where a vote has one winner only.
        """
        batch_size = check_count(batch_size, "batch_size")
        guesses = check_count(guesses, "guesses")
        if guesses > 1 and self.method.combination.one_winner:
            raise ValueError(
                "a vote has one winner and ranks no other classes: use a cascade with another "
                "ensemble"
            )
        try:
            stream = iter(stream)
        except TypeError as error:
            raise ValueError(
                f"a stream of batches is needed, as [batch], not {brief(stream)}"
            ) from error
        queues: list[list[Group]] = [[] for _ in self.members]
        count = 0
        log: list[Step] = []
        audited: list[Group] = []
        try:
            for batch in stream:
                with about(f"model {self.members[0].name!r}"):
                    group = Group(np.arange(count, count + size_of(batch)), batch)
                queues[0].append(group)
                rows = self.running.drawn(len(group))
                if len(rows):
                    audited.append(group.take(rows))
                count += len(group)
                log += self._advance(queues, batch_size, guesses, batch_size)
            log += self._advance(queues, batch_size, guesses, 1)
            audit = self._audit(audited, batch_size) if audited else None
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes: the error itself goes on
                error.decided = self._decisions(count, guesses, log)  # type: ignore[attr-defined]
            raise
        decisions = self._decisions(count, guesses, log, audit)
        where = ", ".join(
            f"{m.name!r} for {n} samples" for m, n in zip(self.members, decisions.broken) if n
        )
        if where:
            warnings.warn(
                f"nan or infinite logits of {where}: they went to the last model, or kept what "
                "came before",
                RuntimeWarning,
                stacklevel=2,
            )
        return decisions

    def _advance(
        self, queues: list[list[Group]], batch_size: int, guesses: int, least: int
    ) -> Iterator[Step]:
        """Run each model for which ``least`` samples wait, and yield what came of it."""
        last = len(self.members) - 1
        for stage, queue in enumerate(queues):
            while (waiting := sum(map(len, queue))) >= least:
                with self.members[stage].given(*(group.inputs for group in queue)):
                    group = Group.joined(queue)
                queue.clear()
                if waiting > batch_size:
                    queue.append(group.take(np.arange(batch_size, waiting)))
                    group = group.take(np.arange(batch_size))
                begun = time.perf_counter()
                logits = self.members[stage].logits(group.inputs)
                decided = time.perf_counter()
                output, broken = self._after(stage, logits, group.output, guesses)
                group.output = output
                leaves = self.policy.exits(stage, output.confidence, inside=True)  # nan passes
                if stage < last:
                    leaves &= ~broken
                for place, rows in ((last, ~leaves & broken), (stage + 1, ~leaves & ~broken)):
                    if rows.any():
                        queues[place].append(group.take(rows.nonzero()[0]))
                yield Step(
                    stage,
                    group.numbers,
                    broken,
                    leaves,
                    output.confidence,
                    output.guesses,
                    seconds=(decided - begun, time.perf_counter() - decided),
                )

    def _after(
        self, stage: int, logits: np.ndarray, before: Output | None, guesses: int
    ) -> tuple[Output, np.ndarray]:
        """The output after a stage's model, and whose logits [N, classes] are nan or infinite, bool
        [N]: of those it stays as before."""
        member = self.members[stage]
        ensemble = self.method.combination
        check_classes(self.members)
        samples, classes = logits.shape
        check_count(guesses, "guesses", 1, classes)
        before = before or ensemble.nothing(samples, classes, len(self.members), guesses)
        broken = np.zeros(len(logits), bool)
        if not np.isfinite(logits).all():
            broken = ~np.isfinite(logits).all(axis=1)
            logits = np.where(broken[:, None], 0, logits)
        temperature = self.method.temperature_of(member.name)
        output = ensemble.after(self.method.rule, temperature, logits, before, stage)
        if self.policy.fitted:
            fitted = self.policy.fitted[stage]
            values = [
                output.confidence if what == CONFIDENCE else metric_of(what).from_logits(logits)
                for what in given_columns(fitted.columns)
            ]
            answer = output.guesses[:, 0]
            answer_before = before.guesses[:, 0] if stage else None
            confidence = fitted(np.column_stack(values), answer, answer_before)
            output = output._replace(confidence=confidence)
        return (output.where(broken, before) if broken.any() else output), broken

    def _audit(self, groups: list[Group], batch_size: int) -> tuple[np.ndarray, np.ndarray, float]:
        """What the reference says of the samples drawn for the audit: (their numbers, classes,
        seconds)."""
        begun = time.perf_counter()
        name = self.running.reference
        if name not in self.references:
            own = {m.name: (m.module, m.transform) for m in self.members if m.name == name}
            alone = Point((name,), (), (1.0,), method=Method())
            self.references[name] = Cascade(alone, own, allow_download=True)
        reference = self.references[name]
        answers = reference.run([group.inputs for group in groups], batch_size).predictions
        numbers = np.concatenate([group.numbers for group in groups])
        return numbers, answers, time.perf_counter() - begun

    def _decisions(
        self, count: int, guesses: int, log: list[Step], audit: tuple | None = None
    ) -> Decisions:
        """What :meth:`_advance` yielded, as :class:`Decisions` of the samples in their order."""
        n = len(self.members)
        guesses = min(guesses, self.members[0].classes or 1)
        exit_stage = np.full(count, -1)
        confidence = np.full(count, np.nan)
        best = np.full((count, guesses), -1)
        confidences = np.full((count, n), np.nan)
        broken = np.zeros(n, np.int64)
        seconds = np.zeros((n, 2))
        for step in log:
            seconds[step.stage] += step.seconds
            confidences[step.numbers, step.stage] = np.where(step.broken, np.nan, step.confidence)
            broken[step.stage] += step.broken.sum()
            left = step.numbers[step.leaves]
            exit_stage[left] = step.stage
            confidence[left] = step.confidence[step.leaves]
            best[left] = step.guesses[step.leaves]
        confidence = own_units(self.policy.metric, confidence)
        confidences = own_units(self.policy.metric, confidences)
        decisions = Decisions(best[:, 0], exit_stage, confidence, confidences, broken, best)
        self.running.add(decisions, seconds, audit)
        return decisions


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
        From :func:`ilsvrc_order`: then the numbers are the challenge's, 1 … 1000, as the test server
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
