"""Run a cascade in batches (paper, algorithm 1). Undecided samples reach the next model."""

import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..checks import error_context
from ..evaluation.point import Point, records_of
from ..methods.ensembles import EnsembleOutput
from ..methods.thresholds import convert_units
from ..zoo.batches import count_samples, take_rows
from ..zoo.model import describe_identity
from .cascade_file import point_for_file, versions
from .decisions import (
    MALFORMED,
    Answer,
    Decisions,
    align_by_model,
    empty_decisions,
    join_decisions,
)
from .members import (
    CallableModule,
    Member,
    check_class_counts,
    check_pinned,
    check_revision,
    member_named,
)
from .policy import Policy


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
    deferred to the next model, with a warning. Such an output is not used in an ensemble.

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
        self.members: list[Member] = []
        identified = []
        changed: list[str] = []
        for record in records_of(point):
            model = member_named(record["name"], models, record.get("checkpoint"), allow_download)
            # A callable has no identity.
            identity = {} if isinstance(model.module, CallableModule) else describe_identity(model)
            if model.name not in models and not allow_download:
                check_revision(model, record, identity)
            changed += [
                f"model {model.name!r}: {key} is not as recorded "
                f"({record[key]!s:.16} then, {value!s:.16} now)"
                for key, value in identity.items()
                if record.get(key, value) != value
            ]
            identified.append(identity | record)
            classes = record.get("classes")
            self.members.append(Member(model.name, model.module, model.transform, classes))
        check_class_counts(self.members)
        installed = dict.fromkeys(point.versions, "missing") | versions()
        self.differences = tuple(
            f"{package} is {installed[package]}, it was {recorded}"
            for package, recorded in point.versions.items()
            if installed[package] != recorded
        )
        self.differences += tuple(changed)
        if changed:  # a guarantee is about the recorded models
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

    def train(self, mode: bool = True) -> "Cascade":
        """Stay in eval mode, since a cascade is not trained."""
        return super().train(False)

    def forward(self, batch: Any) -> Decisions:
        """Decide a batch of N samples. Each model runs on the undecided samples."""
        run = torch.compiler.disable(self.run) if torch.compiler.is_compiling() else self.run
        return run([batch])

    @torch.inference_mode()
    def run(self, batches: Iterable) -> Decisions:
        """Decide batches, one after another, and join their decisions.

        Parameters
        ----------
        batches : iterable of batches

        Returns
        -------
        Decisions
            The decisions of all samples, in their order.

        Raises
        ------
        BaseException
            If the iterable or a model raises it. ``error.decided`` has the decisions of the batches
            before.
        """
        parts = [empty_decisions(np.arange(0), self.policy.models, -1)]
        try:
            parts += map(self.decide, batches)
        except BaseException as error:
            with suppress(Exception):  # a class may refuse attributes
                error.decided = join_decisions(parts)  # type: ignore[attr-defined]
            raise
        decisions = join_decisions(parts)
        if decisions.failures.any():
            counts = dict(zip(decisions.models, decisions.failure_counts.tolist()))
            warnings.warn(
                f"nan or infinite logits, samples by model: {counts}. These samples were deferred "
                "to the next model, or kept the previous output",
                RuntimeWarning,
                stacklevel=2,
            )
        return decisions

    def decide(self, inputs: Any) -> Decisions:
        """Decide a batch of raw inputs, model by model."""
        point = self.point
        with error_context(f"model {point.models[0]!r}"):
            rows = np.arange(count_samples(inputs))
        decisions = empty_decisions(rows, point.models, -1)
        output = None
        for stage, member in enumerate(self.members):
            if not len(rows):
                break
            logits = member.logits(inputs)
            output, is_broken = self.add_output(stage, logits, output)
            confidence = convert_units(point.metric, output.confidence)
            answer = Answer(output.predictions, confidence, is_broken * MALFORMED)
            deferred = np.flatnonzero(~decisions.write(point, stage, rows, answer))
            rows = rows[deferred]
            inputs = take_rows(inputs, deferred)
            output = output.take(deferred)
        return decisions

    def add_output(
        self, stage: int, logits: np.ndarray, before: EnsembleOutput | None
    ) -> tuple[EnsembleOutput, np.ndarray]:
        """Combine the logits [N, classes] of a stage's model with the previous output.

        The second result, bool [N], is True for samples with nan or infinite logits, which keep
        their previous output.
        """
        check_class_counts(self.members)
        ensemble = self.method.combination
        samples, classes = logits.shape
        before = before or ensemble.empty_output(samples, classes)
        is_broken = ~np.isfinite(logits).all(axis=1)
        logits = np.where(is_broken[:, None], 0, logits)
        temperature = self.method.temperature_of(self.members[stage].name)
        output = ensemble.add_model(self.method.rule, temperature, logits, before)
        if fitted := self.point.fitted:
            confidence = fitted[stage](output.confidence, output.predictions)
            output = output._replace(confidence=confidence)
        return output.where(is_broken, before), is_broken
