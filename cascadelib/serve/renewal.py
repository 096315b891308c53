"""Certify new thresholds from the audited inputs of a running policy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from ..evaluation.point import Point
from ..guarantees.certificate import Certificate, certify
from ..guarantees.few_labels import to_label
from ..methods.thresholds import convert_units
from ..policy.confidence_summary import summary
from ..policy.policy import Policy


@dataclass(frozen=True, eq=False)
class Renewal:
    """New thresholds for current inputs, and their certificate.

    Parameters
    ----------
    point : Point
        The cascade in use.
    table : ScoreTable
        The audited inputs on which the cascades are tested.
    points : list of Point
        The cascades that are tested, most cautious first.
    epsilon, delta : float
        Largest loss, and the probability that a certified cascade loses more.
    labels : dict
        The labels so far.
    accept : tuple of str
        As for :func:`certify`.

    See Also
    --------
    Monitor.recertify : Choose and certify thresholds.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.serve import AuditRecord, Monitor, Record
    >>> monitor = Monitor(cl.Policy(cl.Point(("small", "large"), (0.5,))))
    >>> for n in range(400):
    ...     confidence = n * 37 % 400 / 400
    ...     small = "no" if confidence < 0.5 and n % 7 == 0 else "yes"
    ...     columns = [small], [confidence], ["none"], [1.0], [0.1]
    ...     record = Record(n, small, "small", "none", 0, *columns, audited=True)
    ...     monitor.observe([record, AuditRecord(n, "yes")])
    >>> renewal = monitor.recertify(epsilon=0.05)
    >>> renewal.policy, len(renewal.to_label)
    (<Policy: small at 0.3213 → large, given confidences>, 27)
    """

    point: Point
    table: Any
    points: list[Point]
    epsilon: float
    delta: float
    labels: dict[str, str]
    accept: tuple[str, ...] = ()

    @cached_property
    def certificate(self) -> Certificate:
        """Certify with the labels so far. Inputs without a label count as lost.

        Raises ValueError if a premise is violated.
        """
        return certify(
            self.table,
            self.points,
            self.epsilon,
            self.delta,
            reference=self.point.models[-1],
            labels=self.labels,
            accept=self.accept,
        )

    @property
    def to_label(self) -> list[str]:
        """Return the ids, as text, of the inputs whose labels could certify more.

        For any m, the first m are a uniform sample.
        """
        wanted = to_label(self.table, self.points, self.point.models[-1])
        return [name for name in wanted.tolist() if name not in self.labels]

    @property
    def policy(self) -> Policy | None:
        """Return the cheapest certified policy, or None. It has expectations for the drift signal.

        The drift signal does not compare the confidences of the last model.
        """
        found = self.certificate.point
        if found is None:
            return None
        agreed = self.table.labelled(self.table.predicted(self.point.models[-1]))
        measured = Policy.from_point(found, None, agreed).point
        confidence = self.table.confidence[0]
        # The confidences of inputs for which the first model has answered.
        native = convert_units(self.point.metric, confidence[confidence > -np.inf])
        thresholds = convert_units(self.point.metric, np.array(found.thresholds))
        _, last = measured.expected.confidences  # type: ignore[union-attr]
        return Policy(
            replace(
                measured,
                thresholds=tuple(thresholds.tolist()),
                method=self.point.method,
                records=self.point.records,
                expected=replace(measured.expected, confidences=(summary(native), last)),  # type: ignore[type-var]
                chosen=(),
            )
        )

    def label(self, labels: Mapping[Any, Any]) -> "Renewal":
        """Return the renewal with more labels {id: label}, which can only certify more.

        Other ids, and labels that no model predicts for any input, are skipped.
        """
        predicted = set(np.unique(self.table.predictions).tolist())  # type: ignore[arg-type]
        ids = set(self.table.origin.sample_ids.tolist())
        texts = {str(name): str(label) for name, label in labels.items()}
        useful = {name: text for name, text in texts.items() if name in ids and text in predicted}
        return replace(self, labels=self.labels | useful)
