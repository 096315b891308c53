"""A cascade that runs (paper, algorithm 1): in batches, and only the undecided samples go on to the
next model."""

import sys
import warnings
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import CLASSES, about, brief, check_count, items_of
from ..evaluation.point import Point
from ..methods.confidence_metrics import metric_of
from ..methods.ensembles import Output
from ..methods.fitted import CONFIDENCE, given_columns
from ..methods.thresholds import own_units
from ..zoo.batches import concatenate_batches, count_samples, map_parts, take_rows
from .batches import next_batch, push
from .cascade_file import point_for_file
from .decisions import MALFORMED, Answer, Decisions, nothing
from .members import Member, check_classes, check_pinned, kind_of, members_of
from .policy import Policy

TOGETHER = 64  # samples of a stream that are decided at once, where batches are smaller


def pieces_of(batch: Any, size: int) -> list:
    """Raw inputs (a batch of any form) in batches of ``size``; the last may be smaller."""
    starts = range(0, max(1, count_samples(batch)), check_count(size, "batch_size"))
    return [take_rows(batch, slice(start, start + size)) for start in starts]


@dataclass(eq=False)
class Batch:
    """Samples that wait for a model: their rows int64 [N] among all samples of a run, raw inputs in
    a batch of any form, and the output of the models before. Only batches of one kind are
    joined."""

    rows: np.ndarray
    inputs: Any
    kind: Any
    output: Output | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Any) -> "Batch":
        """Some of the samples: a slice, or int64 [n]."""
        output = self.output and self.output.take(rows)
        return Batch(self.rows[rows], take_rows(self.inputs, rows), self.kind, output)

    def joined(self, others: list["Batch"]) -> "Batch":
        """These samples, and then those of other batches of this kind."""
        parts = (self, *others)
        output = self.output and self.output.joined([part.output for part in parts])
        rows = np.concatenate([part.rows for part in parts])
        return Batch(rows, concatenate_batches([part.inputs for part in parts]), self.kind, output)


def batch_of(cascade: "Cascade", inputs: Any) -> Batch:
    """Raw inputs as a :class:`Batch`, numbered from 0; ValueError if they are no batch."""
    with about(f"model {cascade.policy.models[0]!r}"):
        rows = np.arange(count_samples(inputs))
    return Batch(rows, inputs, map_parts(kind_of, inputs))


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
    differences : tuple of str
        What differs from where the cascade was measured, a sentence each.
    """

    parts = staticmethod(pieces_of)  # as StreamBudget cuts a batch

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
    def run(self, batches: Iterable, batch_size: int = 64, guesses: int = 1) -> Decisions:
        """Decide a stream of batches.

        Deferred samples wait until they fill a batch of the next model; the last ones run at the
        end. Batches of fewer than 64 samples are decided several at once.

        Parameters
        ----------
        batches : iterable of batches
        batch_size : int, default=64
            Samples on which a model runs at once.
        guesses : int, default=1
            The number of best classes in ``decisions.guesses``.

        Returns
        -------
        Decisions
            Of all samples, in their order.

        Raises
        ------
        ValueError
            If several guesses are asked of a vote, which has one winner, or ``batches`` is not an
            iterable of batches.
        BaseException
            What the iterable or a model raises; ``error.decided`` has the decisions so far. In them
            undecided samples have the exit stage −1.
        """
        classes = self.members[0].classes or CLASSES.stop
        guesses = check_count(guesses, "guesses", 1, classes)
        if guesses > 1 and self.method.combination.one_winner:
            raise ValueError(
                "a vote has one winner and ranks no other classes: use a cascade with another "
                "ensemble"
            )
        size = check_count(batch_size, "batch_size")
        try:
            batches = iter(batches)
        except TypeError as error:
            raise ValueError(
                f"a stream of batches is needed, as [batch], not {brief(batches)}"
            ) from error
        run = CascadeRun(self, size, guesses)
        try:
            for batch in batches:
                run.enter(batch)
                run.decide_full_batches()
            run.decide_the_rest()
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes
                error.decided = run.result()  # type: ignore[attr-defined]
                error.decided.undecide()  # type: ignore[attr-defined]
            raise
        decisions = run.result()
        where = ", ".join(
            f"{name!r} for {n} samples"
            for name, n in zip(self.policy.models, decisions.broken)
            if n
        )
        if where:
            warnings.warn(
                f"nan or infinite logits of {where}: they went to the last model, or kept what "
                "came before",
                RuntimeWarning,
                stacklevel=2,
            )
        return decisions

    def answer_after(self, stage: int, logits: np.ndarray, batch: Batch, guesses: int) -> Answer:
        """Read the logits [N, classes] of a stage's model: the output of the models so far, which
        the batch keeps. If logits are nan or infinite, their samples failed and keep their
        output."""
        samples, classes = logits.shape
        if stage or guesses > 1:
            check_classes(self.members)
            check_count(guesses, "guesses", 1, classes)
        ensemble = self.method.combination
        before = batch.output or ensemble.nothing(samples, classes, len(self.members), guesses)
        is_broken = np.zeros(samples, bool)
        if not np.isfinite(logits).all():
            is_broken = ~np.isfinite(logits).all(axis=1)
            logits = np.where(is_broken[:, None], 0, logits)
        temperature = self.method.temperature_of(self.members[stage].name)
        output = ensemble.after(self.method.rule, temperature, logits, before, stage)
        if self.policy.fitted:
            fitted = self.policy.fitted[stage]
            values = [
                output.confidence if what == CONFIDENCE else metric_of(what).from_logits(logits)
                for what in given_columns(fitted.columns)
            ]
            answer_before = before.guesses[:, 0] if stage else None
            confidence = fitted(np.column_stack(values), output.guesses[:, 0], answer_before)
            output = output._replace(confidence=confidence)
        batch.output = output.where(is_broken, before) if is_broken.any() else output
        confidence = own_units(self.policy.metric, batch.output.confidence)
        return Answer(batch.output.guesses, confidence, is_broken * MALFORMED)


class CascadeRun:
    """One :meth:`Cascade.run`: what waits for each model, and the decisions so far."""

    def __init__(self, cascade: Cascade, size: int, guesses: int) -> None:
        self.cascade = cascade
        self.point = cascade.policy.in_use
        self.size = size
        self.together = size * max(1, TOGETHER // size)
        self.guesses = guesses
        self.waiting: list[deque[Batch]] = [deque() for _ in cascade.members]
        self.samples = 0
        self.decisions: Decisions = None  # type: ignore[assignment]

    def nothing(self, samples: int) -> Decisions:
        """Decisions of samples that no model has seen."""
        return nothing(samples, self.point.models, -1, self.guesses)

    def enter(self, inputs: Any) -> None:
        """Let a further batch wait for the first model."""
        batch = batch_of(self.cascade, inputs)
        batch.rows += self.samples
        self.samples += len(batch)
        if self.decisions is None:
            self.decisions = self.nothing(len(batch))
        elif self.samples > len(self.decisions):  # twice as long, so that they are rarely copied
            more = max(len(batch), len(self.decisions))
            self.decisions = self.decisions.joined(self.nothing(more))
        if len(batch):
            push(self.waiting[0], batch, self.together)

    def decide_full_batches(self) -> None:
        """Run each model for which enough samples wait."""
        for stage, waiting in enumerate(self.waiting):
            while sum(map(len, waiting)) >= self.together:
                self.decide(stage, next_batch(waiting, self.together))

    def decide_the_rest(self) -> None:
        """Run the models on all samples that wait, the first model first."""
        for stage, waiting in enumerate(self.waiting):
            while waiting:
                self.decide(stage, next_batch(waiting, self.together))

    def decide(self, stage: int, batch: Batch) -> None:
        """Run the model of a stage; samples exit, or wait for the next model. Those for which it
        failed wait for the last one."""
        logits = logits_of(self.cascade.members[stage], batch, self.size)
        answer = self.cascade.answer_after(stage, logits, batch, self.guesses)
        left = self.decisions.write(self.point, stage, batch.rows, answer)
        if left.all():
            return
        is_broken = answer.failures > 0
        last = len(self.waiting) - 1
        for after, chosen in ((stage + 1, ~left & ~is_broken), (last, ~left & is_broken)):
            if chosen.any():
                self.waiting[after].append(batch.take(np.flatnonzero(chosen)))

    def result(self) -> Decisions:
        """The decisions so far, of all samples that came."""
        decisions = self.nothing(0) if self.decisions is None else self.decisions
        if self.samples < len(decisions):
            decisions = decisions.take(slice(self.samples))
        return replace(decisions, ids=np.arange(self.samples))


def logits_of(member: Member, batch: Batch, size: int) -> np.ndarray:
    """Logits [N, classes] of a model on a batch, at most ``size`` samples at once."""
    if len(batch) <= size:
        return member.logits(batch.inputs)
    return np.concatenate([member.logits(piece) for piece in pieces_of(batch.inputs, size)])
