"""A cascade that runs (paper, algorithm 1): in batches, and only the undecided samples go on to the
next model."""

import asyncio
import sys
import warnings
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
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
from .asking import terms_of
from .cascade_file import point_for_file
from .decisions import MALFORMED, Answer, Decisions
from .engine import Caller, Engine, Group, Terms
from .members import Member, check_classes, check_pinned, kind_of, member_named, members_of
from .policy import Policy

TOGETHER = 64  # samples of a stream that are decided at once, where batches are smaller


def pieces_of(batch: Any, size: int) -> list:
    """Raw inputs (a batch of any form) in batches of ``size``; the last may be smaller."""
    starts = range(0, max(1, count_samples(batch)), check_count(size, "batch_size"))
    return [take_rows(batch, slice(start, start + size)) for start in starts]


class Underway(Group):
    """Samples on their way: raw inputs in a batch of any form."""

    whole = staticmethod(concatenate_batches)

    def some(self, rows: Any) -> Any:
        """The samples at some rows: a slice, or int64 [n]."""
        return take_rows(self.inputs, rows)


class Deciding(Engine):
    """Runs of a cascade, whose models are called in this thread, one after another, or in those of a
    pool, where samples of many callers are decided together.

    No more calls are under way than the pool has threads: what a busy pool would only keep waits
    here, where it is joined by others. Torch's own threads are divided among the calls that run.
    """

    skips = True

    def __init__(
        self, cascade: "Cascade", terms: Terms, guesses: int = 1, pool: Executor | None = None
    ) -> None:
        super().__init__(cascade.policy.in_use, cascade.running, terms, unknown=-1, guesses=guesses)
        if pool is None:  # nobody waits for what is decided in this thread
            self.counts_after = 32
            for queue in self.queues:
                queue.size *= max(1, TOGETHER // queue.size)
        self.cascade = cascade
        self.most = terms.concurrency[0]
        self.threads = torch.get_num_threads()
        self.guesses = guesses
        self.pool = pool

    def group_of(self, inputs: Any) -> Underway:
        """A batch as it comes; those of other forms stay apart."""
        with about(f"model {self.point.models[0]!r}"):
            numbers = np.arange(count_samples(inputs))
        return Underway(numbers, inputs, kind=map_parts(kind_of, inputs))

    async def answer(self, stage: int, group: Underway) -> np.ndarray:  # type: ignore[override]
        """Logits [N, classes] of a stage's model, or of the audit's."""
        if self.pool is None:
            return self.said(stage, group)
        return await asyncio.get_running_loop().run_in_executor(
            self.pool, self.said_beside_others, stage, group
        )

    @torch.inference_mode()
    def said_beside_others(self, stage: int, group: Underway) -> np.ndarray:
        """The same, in a thread of the pool."""
        calls = len(self.calls) or 1  # 0: this one was given up
        torch.set_num_threads(max(1, self.threads // calls))  # of this thread, and of new ones,
        try:
            return self.said(stage, group)
        finally:
            torch.set_num_threads(self.threads)  # which get as many as there were before

    def said(self, stage: int, group: Underway) -> np.ndarray:
        """The same, in this thread, in torch's inference mode."""
        logits = self.cascade.member_at(stage).logits
        size = self.terms.batch_sizes[stage]
        if len(group) <= size:
            return logits(group.inputs)
        return np.concatenate([logits(piece) for piece in pieces_of(group.inputs, size)])

    def read(self, stage: int, group: Underway, answer: np.ndarray) -> Answer:  # type: ignore[override]
        """The output after a stage's model; of samples whose logits are nan or infinite it stays as
        before."""
        if stage > self.last:
            broken = ~np.isfinite(answer).all(axis=1)
            best = answer.argmax(axis=1)
            return Answer(best[:, None], np.full(len(best), np.nan), broken * MALFORMED)
        output, broken = self.cascade.output_after(stage, answer, group.output, self.guesses)
        group.output = output
        confidence = own_units(self.point.metric, output.confidence)
        return Answer(output.guesses, confidence, broken * MALFORMED)

    def result(self, caller: Caller) -> Decisions:
        """What was decided, with the best classes, and with a warning where models failed."""
        decisions = super().result(caller)
        where = ", ".join(
            f"{name!r} for {n} samples" for name, n in zip(self.point.models, decisions.broken) if n
        )
        if where:
            warnings.warn(
                f"nan or infinite logits of {where}: they went to the last model, or kept what "
                "came before",
                RuntimeWarning,
                stacklevel=4,
            )
        return decisions


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
        self.running = self.policy.running
        self.references = {member.name: member for member in self.members}  # of audits
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

        Undecided samples wait until batches of ``batch_size`` need the same model (torch prepares
        its kernels anew for every other size), several at once where they are small: up to 64
        samples in all; the last ones run at the end. An error of the stream or of a model goes on
        to the caller with what was decided: ``error.decided``, Decisions of all samples that had
        come, those still under way with exit_stage −1.

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
        classes = self.members[0].classes or CLASSES.stop
        guesses = check_count(guesses, "guesses", 1, classes)
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
        stages = len(self.members) + 1
        terms = Terms([check_count(batch_size, "batch_size")] * stages, [1] * stages)
        deciding = Deciding(self, terms, guesses)
        caller = deciding.caller()
        try:
            for batch in stream:
                deciding.enter(caller, batch)
                deciding.go_here(caller)
                if caller.error is not None:
                    break
            deciding.may_come = lambda: False
            deciding.go_here(caller)
        except BaseException as error:
            caller.stop(error)
        return deciding.result(caller)

    def together(
        self, batch_size: int = 64, concurrency: int = 2, max_wait: float = 0.005
    ) -> Deciding:
        """What decides the samples of many callers together, on one event loop.

        Parameters
        ----------
        batch_size : int
            Samples on which a model runs at once, at most.
        concurrency : int
            Batches under way at once, of all models, each in a thread; torch's own threads, as many
            as there are now, are divided among them.
        max_wait : float
            Seconds for which a sample waits for others until a model runs, where more can come.

        Returns
        -------
        Deciding
            ``await deciding.decide(batch)`` for each caller: :class:`Decisions`. A batch that no
            model takes is the error of its caller alone. ``await deciding.end()`` when no more can
            come.
        """
        terms = terms_of(
            self.point.models, self.point.models[-1], batch_size, concurrency, max_wait
        )
        return Deciding(self, terms, pool=ThreadPoolExecutor(concurrency))

    def output_after(
        self, stage: int, logits: np.ndarray, before: Output | None, guesses: int
    ) -> tuple[Output, np.ndarray]:
        """The output after a stage's model, and whose logits [N, classes] are nan or infinite, bool
        [N]: of those it stays as before."""
        member = self.members[stage]
        samples, classes = logits.shape
        if stage or guesses > 1:
            check_classes(self.members)
            check_count(guesses, "guesses", 1, classes)
        ensemble = self.method.combination
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

    def member_at(self, stage: int) -> Member:
        """The model of a stage; after the last one, the reference of audits."""
        if stage < len(self.members):
            return self.members[stage]
        name = self.running.reference
        if name not in self.references:
            model = member_named(name, {})
            self.references[name] = Member(name, model.module.eval(), model.transform)
        return self.references[name]
