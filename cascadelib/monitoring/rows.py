"""Return the rows of a log for decisions that the library made itself, in this process."""

from time import time as clock
from typing import Any

import numpy as np
import pandas as pd

from ..labels import as_text
from ..policy.decisions import FAILURES, MALFORMED, Decisions
from ..policy.policy import Policy
from .schema import SCHEMA


def log_rows(
    decisions: Decisions,
    policy: Policy,
    audited: Any = False,
    reference: Any = None,
    time: Any = None,
) -> pd.DataFrame:
    """Return the rows of a log for decisions of :meth:`Policy.run` or a :class:`Cascade`.

    Parameters
    ----------
    decisions : Decisions
        Decisions of N inputs. Their ids name the inputs in the log, so pass ``ids=`` to a run:
        inputs without ids are numbered from 0, in each batch again.
    policy : Policy
        The policy that decided. For a cascade, ``cascade.policy``.
    audited : bool or bool array of shape (N,), default=False
        The result of :func:`is_audited`.
    reference : sequence of N answers, optional
        The reference's answers to audited inputs, None for others and for failures. Answers are
        written as text.
    time : float or float array of shape (N,), optional
        Time of the decisions in seconds since 1970. The default is now.

    Returns
    -------
    DataFrame
        One row per input, with the columns of ``SCHEMA``.

    See Also
    --------
    cascadelib.monitor : Monitor the policy from its log.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.monitoring import log_rows
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> decisions = policy.decide([[0.9, 0.1]], [["yes", "no"], ["yes", "yes"]])
    >>> rows = log_rows(decisions, policy)
    >>> rows["predictions"].tolist()
    [['yes'], ['no', 'yes']]
    >>> cl.monitor(rows, policy)
    <Report: 2 inputs, 0 audited, alarms: none>
    """
    reached = np.arange(len(policy.models)) <= decisions.exit_stage[:, None]
    answers = decisions.answers
    is_missing = pd.isna(answers) if answers.dtype == object else answers < 0
    has_answer = (decisions.failures == 0) & ~is_missing
    # A cascade does not call a middle model after logits that are not finite.
    failures = np.where((decisions.failures == 0) & is_missing, MALFORMED, decisions.failures)
    has_confidence = has_answer & ~np.isnan(decisions.confidences)
    has_confidence[:, -1] &= np.isfinite(decisions.confidences[:, -1])
    nothing = np.array(None)
    by_stage = {
        "models": np.broadcast_to(np.array(policy.models, object), reached.shape),
        "predictions": np.where(has_answer, as_text(answers).astype(object), nothing),
        "confidences": np.where(has_confidence, decisions.confidences.astype(object), nothing),
        "failures": np.array(FAILURES, object)[failures],
        "costs": np.where(np.isnan(decisions.costs), nothing, decisions.costs.astype(object)),
    }
    count = len(decisions)
    texts = as_text(np.full(count, None) if reference is None else np.array(reference, object))
    columns = {
        "id": as_text(decisions.ids).astype(object),
        "time": np.full(count, clock()) if time is None else np.broadcast_to(time, count),
        "policy": policy.checksum,
        "stage": decisions.exit_stage,
        "audited": np.broadcast_to(audited, count),
        "reference": pd.Series(np.where(texts == "", nothing, texts.astype(object)), dtype=object),
    }
    for name, values in by_stage.items():
        columns[name] = [row[chosen].tolist() for row, chosen in zip(values, reached)]
    return pd.DataFrame(columns)[SCHEMA.names]
