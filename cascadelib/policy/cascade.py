"""Run a cascade in batches (paper, algorithm 1). Undecided samples reach the next model."""

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

from ..checks import CLASSES, brief, check_count, error_context, items_of
from ..evaluation.point import Point, records_of
from ..methods.ensembles import EnsembleOutput
from ..methods.thresholds import convert_units
from ..zoo.batches import concatenate_batches, count_samples, map_parts, take_rows
from ..zoo.model import describe_identity
from .cascade_file import point_for_file, versions
from .decisions import MALFORMED, Answer, Decisions, align_by_model, empty_decisions
from .members import (
    CallableModule,
    Member,
    check_class_counts,
    check_pinned,
    check_revision,
    kind_of,
    member_named,
)
from .policy import Policy

MIN_STREAM_BATCH = 64  # samples of a stream that are decided together if its batches are smaller


def pieces_of(batch: Any, size: int) -> list:
    """Split raw inputs into batches. The last one may be smaller.

    Parameters
    ----------
    batch : batch
        Raw inputs, in a batch of any form.
    size : int
        Samples per batch.

    Returns
    -------
    list of batches

    See Also
    --------
    Cascade.run : Decide a stream of batches.

    Examples
    --------
    >>> from cascadelib.policy import pieces_of
    >>> pieces_of(["a", "b", "c"], 2)
    [['a', 'b'], ['c']]
    """
    starts = range(0, max(1, count_samples(batch)), check_count(size, "batch_size"))
    return [take_rows(batch, slice(start, start + size)) for start in starts]


@dataclass(eq=False)
class Batch:
    """Samples that wait for a model.

    ``rows``, int64 [N], are their positions among all samples of a run. ``inputs`` are their raw
    inputs. ``output`` is the output of the previous models. Only batches of one kind are joined.
    """

    rows: np.ndarray
    inputs: Any
    kind: Any
    output: EnsembleOutput | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Any) -> "Batch":
        """Return some of the samples, by a slice or int64 [n]."""
        output = self.output and self.output.take(rows)
        return Batch(self.rows[rows], take_rows(self.inputs, rows), self.kind, output)

    def joined(self, others: list["Batch"]) -> "Batch":
        """Return these samples, followed by those of other batches of this kind."""
        parts = (self, *others)
        output = self.output and self.output.joined([part.output for part in parts])
        rows = np.concatenate([part.rows for part in parts])
        return Batch(rows, concatenate_batches([part.inputs for part in parts]), self.kind, output)

    def logits(self, member: Member, size: int) -> np.ndarray:
        """Return the logits [N, classes] of a model, called on at most ``size`` samples."""
        if len(self) <= size:
            return member.logits(self.inputs)
        return np.concatenate([member.logits(piece) for piece in pieces_of(self.inputs, size)])


class Cascade(torch.nn.Module):
    """Run models in order of rising cost: ``cascade(batch)`` returns :class:`Decisions`.

    A batch is a tensor or array [N, …] of raw inputs, a list of N samples (texts), or a mapping or
    tuple of batches. Each model's transform receives the undecided samples only. Models may be on
    different devices and have any floating dtype. They stay in eval mode.

    Parameters
    ----------
    point : Point
        The chosen cascade. It has one threshold fewer than models.
    models : mapping, optional
        As in :meth:`from_point`.
    allow_download : bool, default=False
        As in :meth:`load`.

    Attributes
    ----------
    policy : Policy
        The thresholds in use.
    point : Point
        The content of the file.
    differences : tuple of str
        A sentence for each difference from the environment in which the cascade was measured:
        weights, transform, library versions.

    Raises
    ------
    ValueError
        If the point has no method, a name is unknown, or numbers of classes differ. If weights are
        not those of the revision in the file.

    See Also
    --------
    Policy : Decide without torch models.

    Notes
    -----
    Confidences are computed in float64 from the logits, so decisions equal those of
    :func:`cascadelib.evaluate`. If a model's input or logits have nan or inf, the sample is
    deferred to the last model, with a warning. Such an output is not used in an ensemble.

    Examples
    --------
    >>> import numpy as np
    >>> import cascadelib as cl
    >>> point = cl.Point(("small", "large"), (0.8,), method=cl.Method())
    >>> small = lambda batch: np.stack([batch, -batch], axis=1)
    >>> large = lambda batch: np.stack([9 * batch, -9 * batch], axis=1)
    >>> cascade = cl.Cascade.from_point(point, {"small": small, "large": large})
    >>> decisions = cascade(np.array([2.0, -0.1, -3.0]))
    >>> decisions.predictions.tolist(), decisions.exit_stage.tolist()
    ([0, 1, 1], [0, 1, 0])
    """

    def __init__(
        self, point: Point, models: Mapping | None = None, allow_download: bool = False
    ) -> None:
        super().__init__()
        if point.method is None:
            raise ValueError(
                "this cascade is of a ScoreTable, whose confidences have no formula. Run it as a "
                "cascadelib.Policy, or name the formula: dataclasses.replace(point, "
                "method=cascadelib.Method(…))"
            )
        self.method = point.method
        models = models or {}
        align_by_model(point.models, models, "models")
        installed = dict.fromkeys(point.versions, "missing") | versions()
        differences = [
            f"{package} is {installed[package]}, it was {recorded}"
            for package, recorded in point.versions.items()
            if installed[package] != recorded
        ]
        unchanged = len(differences)
        self.members: list[Member] = []
        identified = []
        for record in records_of(point):
            model = member_named(record["name"], models, record.get("checkpoint"), allow_download)
            # A callable has no identity.
            identity = {} if isinstance(model.module, CallableModule) else describe_identity(model)
            if model.name not in models and not allow_download:
                check_revision(model, record, identity)
            differences += [
                f"model {model.name!r}: {key} is not as recorded "
                f"({record[key]!s:.16} then, {value!s:.16} now)"
                for key, value in identity.items()
                if record.get(key, value) != value
            ]
            identified.append(identity | record)
            classes = record.get("classes")
            self.members.append(Member(model.name, model.module, model.transform, classes))
        check_class_counts(self.members)
        self.differences = tuple(differences)
        if len(differences) > unchanged:  # a guarantee is about the recorded models
            point = replace(point, certified=None)
        if point.guarantee is None:  # a guarantee is about the records that it was computed with
            point = replace(point, records=tuple(identified))
        self.policy = Policy(point)
        self.models = torch.nn.ModuleList(member.module for member in self.members)
        self.models.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.eval()

    @classmethod
    def from_point(
        cls, point: Point, models: Mapping | None = None, store: Any = None, held_out: Any = None
    ) -> "Cascade":
        """Return the cascade of a point.

        Parameters
        ----------
        point : Point
        models : mapping, optional
            {name: (module, transform)}, {name: module} or {name: Model}. Missing names are looked
            up in the zoo. A module may be any callable that takes a batch and returns logits
            [N, classes].
        store : LogitStore, optional
            The selection split.
        held_out : LogitStore, optional
            Another split. The expected figures are measured on it. If it is None, they are measured
            on `store`. If both are None, the cascade has no expected figures.

        Returns
        -------
        Cascade

        See Also
        --------
        Policy.from_point : The same without models.
        """
        return cls(point_for_file(point, store, held_out), models, allow_download=True)

    @classmethod
    def load(
        cls, path: str | Path, models: Mapping | None = None, allow_download: bool = False
    ) -> "Cascade":
        """Read a cascade that :meth:`save` wrote. Nothing is unpickled, and no foreign code runs.

        Library versions, weights and transforms that differ from the record give a warning, and are
        in ``differences``.

        Parameters
        ----------
        path : str or Path
        models : mapping, optional
            As in :meth:`from_point`. Missing names must be in the bundled zoos or in timm, with the
            current weights of the Hub.
        allow_download : bool, default=False
            Whether to load a model from any folder or repository of the Hub that the file names, at
            the commit in the file.

        Returns
        -------
        Cascade

        Raises
        ------
        ValueError
            As in :meth:`Policy.load`.
        ConnectionError
            If weights cannot be downloaded.
        """
        policy = Policy.load(path)
        with error_context(str(path)):
            check_pinned(policy.point, models)
            cascade = cls(policy.point, models, allow_download)
        if cascade.differences:
            warnings.warn(f"{path}: " + "; ".join(cascade.differences), UserWarning, stacklevel=2)
        return cascade

    def save(self, path: str | Path) -> None:
        """Write the cascade to a small JSON file, without weights, see :meth:`Policy.save`."""
        self.policy.save(path)

    def __repr__(self) -> str:
        return repr(self.policy).replace("Policy", "Cascade", 1)

    @property
    def point(self) -> Point:
        """Return the content of the file."""
        return self.policy.point

    @property
    def cascades(self) -> tuple[Point, ...]:
        """Return the only point, for :func:`points_of`."""
        return self.policy.cascades

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Return the thresholds in use, in the metric's native units. They can be set."""
        return self.policy.thresholds

    @thresholds.setter
    def thresholds(self, values: Iterable[float]) -> None:
        self.policy = replace(self.policy, thresholds=tuple(items_of(values)))

    def train(self, mode: bool = True) -> "Cascade":
        """Stay in eval mode, since a cascade is not trained."""
        return super().train(False)

    def optimize(self, example: Any) -> "Cascade":
        """Run each model as a frozen graph if that is faster on this machine.

        Decisions stay the same up to rounding, for batches of all sizes. The module itself runs if
        an input is not finite. A model whose graph might differ is not changed, and a warning names
        it, see docs/running.md. Graphs store the current weights. A cascade that is copied,
        pickled, loaded or moved to another device runs without graphs.

        Parameters
        ----------
        example : batch
            Raw inputs, in a batch of typical size.

        Returns
        -------
        Cascade
            The same object.
        """
        for member in self.members:
            member.logits(example)
            try:
                member.optimize(example)
            except Exception as error:
                reason = " ".join(str(error).split())[:300]
                text = f"model {member.name!r} is not changed, since a graph might differ: {reason}"
                warnings.warn(text, UserWarning, stacklevel=2)
        return self

    def forward(self, batch: Any) -> Decisions:
        """Decide a batch of N samples. Each model runs on the undecided samples."""
        run = torch.compiler.disable(self.run) if torch.compiler.is_compiling() else self.run
        return run([batch], sys.maxsize)

    @torch.inference_mode()
    def run(self, batches: Iterable, batch_size: int = 64, guesses: int = 1) -> Decisions:
        """Decide a stream of batches.

        Deferred samples wait until they fill a batch of the next model, or until the stream ends.
        Batches of fewer than 64 samples are joined.

        Parameters
        ----------
        batches : iterable of batches
        batch_size : int, default=64
            Samples per call of a model.
        guesses : int, default=1
            The number of best classes in ``decisions.guesses``.

        Returns
        -------
        Decisions
            The decisions of all samples, in their order.

        Raises
        ------
        ValueError
            If ``batches`` is not an iterable.
        BaseException
            If the iterable or a model raises it. ``error.decided`` has the decisions so far, with
            the exit stage −1 for undecided samples.
        """
        classes = self.members[0].classes or CLASSES.stop
        guesses = check_count(guesses, "guesses", 1, classes)
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
                run.queue_batch(batch)
                run.decide_queued(run.joint_size)
            run.decide_queued(1)
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes
                error.decided = run.result()  # type: ignore[attr-defined]
                error.decided.undecide()  # type: ignore[attr-defined]
            raise
        decisions = run.result()
        failures = ", ".join(
            f"{name!r} for {n} samples"
            for name, n in zip(self.policy.models, decisions.failure_counts)
            if n
        )
        if failures:
            warnings.warn(
                f"nan or infinite logits of {failures}: these samples were deferred to the last "
                "model, or kept the previous output",
                RuntimeWarning,
                stacklevel=2,
            )
        return decisions

    def batch_of(self, inputs: Any) -> Batch:
        """Return raw inputs as a :class:`Batch`, numbered from 0."""
        with error_context(f"model {self.policy.models[0]!r}"):
            rows = np.arange(count_samples(inputs))
        return Batch(rows, inputs, map_parts(kind_of, inputs))

    def answer_after(self, stage: int, logits: np.ndarray, batch: Batch, guesses: int) -> Answer:
        """Combine the logits [N, classes] of a stage's model with the batch's previous output.

        Samples with nan or infinite logits failed and keep their previous output.
        """
        samples, classes = logits.shape
        if stage or guesses > 1:
            check_class_counts(self.members)
            check_count(guesses, "guesses", 1, classes)
        ensemble = self.method.combination
        before = batch.output or ensemble.empty_output(samples, classes, guesses)
        is_broken = np.zeros(samples, bool)
        if not np.isfinite(logits).all():
            is_broken = ~np.isfinite(logits).all(axis=1)
            logits = np.where(is_broken[:, None], 0, logits)
        temperature = self.method.temperature_of(self.members[stage].name)
        output = ensemble.add_model(self.method.rule, temperature, logits, before)
        if self.policy.fitted:
            confidence = self.policy.fitted[stage](output.confidence, output.guesses[:, 0])
            output = output._replace(confidence=confidence)
        batch.output = output.where(is_broken, before) if is_broken.any() else output
        confidence = convert_units(self.policy.metric, batch.output.confidence)
        return Answer(batch.output.guesses, confidence, is_broken * MALFORMED)


class CascadeRun:
    """State of one :meth:`Cascade.run`: the queue of each model, and the decisions so far."""

    def __init__(self, cascade: Cascade, size: int, guesses: int) -> None:
        self.cascade = cascade
        self.point = cascade.policy.in_use
        self.size = size
        self.joint_size = size * max(1, MIN_STREAM_BATCH // size)
        self.guesses = guesses
        self.waiting: list[deque[Batch]] = [deque() for _ in cascade.members]
        self.samples = 0
        self.decisions = self.empty(0)

    def empty(self, samples: int) -> Decisions:
        """Return decisions of samples that no model has seen."""
        return empty_decisions(samples, self.point.models, -1, self.guesses)

    def queue_batch(self, inputs: Any) -> None:
        """Queue a batch for the first model."""
        batch = self.cascade.batch_of(inputs)
        batch.rows += self.samples
        self.samples += len(batch)
        if self.samples > len(self.decisions):  # double the length, so that copies are rare
            more = max(len(batch), len(self.decisions))
            self.decisions = self.decisions.joined(self.empty(more))
        if len(batch):
            self.waiting[0].append(batch)

    def decide_queued(self, least: int) -> None:
        """Run each model while at least this many samples are queued, the first model first."""
        for stage, waiting in enumerate(self.waiting):
            while sum(map(len, waiting)) >= least:
                self.decide(stage, next_batch(waiting, self.joint_size))

    def decide(self, stage: int, batch: Batch) -> None:
        """Run the model of a stage, and queue the deferred samples for the next model.

        Samples for which the model failed are queued for the last model.
        """
        logits = batch.logits(self.cascade.members[stage], self.size)
        answer = self.cascade.answer_after(stage, logits, batch, self.guesses)
        exits = self.decisions.write(self.point, stage, batch.rows, answer)
        if exits.all():
            return
        is_broken = answer.failures > 0
        last = len(self.waiting) - 1
        for after, chosen in ((stage + 1, ~exits & ~is_broken), (last, ~exits & is_broken)):
            if chosen.any():
                self.waiting[after].append(batch.take(np.flatnonzero(chosen)))

    def result(self) -> Decisions:
        """Return the decisions so far, of all samples that arrived."""
        decisions = self.decisions.take(slice(self.samples))
        return replace(decisions, ids=np.arange(self.samples))


def next_batch(waiting: deque, size: int) -> Any:
    """Take at most ``size`` inputs of one kind from the front of a queue."""
    batch = waiting.popleft()
    others = []
    count = len(batch)
    while waiting and count < size and waiting[0].kind == batch.kind:
        others.append(waiting.popleft())
        count += len(others[-1])
    if others:
        batch = batch.joined(others)
    if count > size:
        waiting.appendleft(batch.take(slice(size, None)))
        batch = batch.take(slice(size))
    return batch
