"""Estimate exits, cost, failures, drift and loss of a running cascade from its log."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array

from ..checks import POSITIVE, check_number, checked_share
from ..evaluation.intervals import anytime_lower, share_interval
from ..methods.thresholds import LARGEST
from ..policy.decisions import FAILURES
from ..policy.policy import Policy
from .audit import draw_p_value, find_verdicts, open_ids
from .drift import log_capital
from .log import Inputs, Log, load_log, read_policy

LATEST_CALLS = 1024  # inputs of a model among which failures raise an alarm
BETS = np.array([[0.02], [0.1], [0.5]])  # shares of the capital that are bet on a failure
MOST_FAILURES = 0.01  # acceptable share of failures
INPUTS_PER_FALSE_ALARM = 1e7
LEAST_DRAW_P = 1e-3  # of an audit that counts as a random draw
VERDICTS = ("agreed", "lost", "tied", "gained", "open", "unknown")
LARGEST_LOG = 700.0  # of a number whose exponential is finite


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What a log says about a policy.

    Parameters
    ----------
    rows : Series
        ``inputs``: number of inputs that were counted. ``repeated``, ``other_policies``: numbers of
        rows that were not. ``audited``: number of audited inputs. ``audit_p``: p-value of the
        hypothesis that these are a random draw of all inputs. It holds for one look, not for many.
        Below 0.001, the bounds of the loss are about other inputs than those of the log.
    stages : DataFrame
        One row per model: number of ``inputs`` that reached it, number by kind of failure, answers
        by an ``other_model``, ``failing`` (alarm about the latest 1,024 inputs), ``exit_rate`` with
        its 95% interval, the ``expected`` one, and the cost ``spent``.
    cost : Series
        Mean cost of an input with its 95% interval, without the audit. ``priced``: number of inputs
        whose answers all have a cost. ``unknown_calls``: failed calls without a cost, which count
        as 0.
    drift : DataFrame
        One row per stage: ``inputs``, current ``capital`` of the bets against "nothing has
        changed", ``p``, ``since`` (time at which the capital began to rise) and ``alarm``. Empty if
        the policy has no expected figures.
    loss : Series
        Bounds ``low`` and ``high`` of the loss of accuracy relative to the reference, which hold at
        all times simultaneously, the number of audited inputs by verdict, and ``alarm``.
    windows : DataFrame
        The same for each window of time, for all windows simultaneously.
    to_label : list of str
        Ids of inputs on which cascade and reference differ and that have no label. For any m, the
        first m are a uniform sample.

    See Also
    --------
    monitor : Compute the report.

    Examples
    --------
    >>> import cascadelib as cl
    >>> import pandas as pd
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> row = dict(id="q1", time=0.0, policy=policy.checksum, stage=0, models=["small"])
    >>> row |= dict(predictions=["no"], confidences=[0.9], failures=["none"], costs=[1.0])
    >>> report = cl.monitor(pd.DataFrame([row | dict(audited=False)]), policy)
    >>> report.stages["exit_rate"].tolist(), report.cost["mean"].item()
    ([1.0, 0.0], 1.0)
    """

    rows: pd.Series
    stages: pd.DataFrame
    cost: pd.Series
    drift: pd.DataFrame
    loss: pd.Series
    windows: pd.DataFrame
    to_label: list[str]

    def __repr__(self) -> str:
        alarms = {
            "audit is not a random draw": self.rows["audit_p"] < LEAST_DRAW_P,
            "failing": self.stages["failing"].any(),
            "drift": self.drift["alarm"].any(),
            "loss": self.loss["alarm"] or self.windows["alarm"].any(),
        }
        raised = ", ".join(name for name, is_raised in alarms.items() if is_raised)
        inputs, audited = self.rows[["inputs", "audited"]]
        return f"<Report: {inputs} inputs, {audited} audited, alarms: {raised or 'none'}>"


def monitor(
    log: Any,
    policy: Policy | str | os.PathLike,
    labels: Mapping[Any, Any] | None = None,
    *,
    classes: Iterable | None = None,
    since: float | None = None,
    until: float | None = None,
    epsilon: float | str | None = None,
    error: float = 0.05,
    false_alarm_rate: float = 0.01,
    window: float = 86400.0,
) -> Report:
    """Estimate exits, cost, failures, drift and loss of a running policy from its log.

    Nothing is stored between calls: the same rows, in any order and however often repeated, give
    the same report.

    Parameters
    ----------
    log : DataFrame, or path of a .jsonl file, a parquet file or a folder of such files
        One row per input, with the columns of ``cascadelib.monitoring.SCHEMA`` (see
        docs/monitoring.md). Files are read in parts.
    policy : Policy, or path of its file
        The policy whose rows are counted.
    labels : mapping of str to label, or Series, optional
        Labels by id, of inputs of ``to_label``. Missing ones are skipped.
    classes : iterable, optional
        All valid answers. By default, a label must be spelled like an audited answer, and no two
        answers may differ only in spelling.
    since, until : float, optional
        Rows with a time from `since` to before `until` are read, in seconds since 1970.
    epsilon : float or str, optional
        Certified loss, such as 0.02 or "2%". A lower bound above it is an alarm.
    error : float, default=0.05
        Probability that a bound of the loss ever fails, half of it on each side.
    false_alarm_rate : float, default=0.01
        Probability that drift ever raises a false alarm.
    window : float, default=86400
        Seconds of a window. Windows start at multiples of it.

    Returns
    -------
    Report
        What the log says about the policy.

    Raises
    ------
    ValueError
        If a row does not fit the schema, an id repeats with other contents, no row is of the
        policy, or a label or a reference is spelled otherwise than the answers. Nothing is counted
        then.

    See Also
    --------
    cascadelib.is_audited : Draw the inputs that the reference answers too.
    cascadelib.audited_table : Return the audited inputs, for a new certificate.

    Notes
    -----
    If the inputs are independent draws of one distribution, the loss is in [low, high] at all times
    simultaneously with probability at least 1 − `error`, whichever labels arrive, and whenever. The
    error of windows i = 0, 1, … is error / ((i + 1)(i + 2)). Another `since` starts both again. See
    docs/monitoring.md.

    Examples
    --------
    >>> import cascadelib as cl
    >>> import pandas as pd
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> row = dict(time=0.0, policy=policy.checksum, stage=0, models=["small"], predictions=["no"])
    >>> row |= dict(confidences=[0.9], failures=["none"], costs=[1.0], audited=True)
    >>> rows = [row | dict(id=f"q{n}", reference="yes" if n == 7 else "no") for n in range(100)]
    >>> report = cl.monitor(pd.DataFrame(rows), policy, epsilon="2%")
    >>> report
    <Report: 100 inputs, 100 audited, alarms: none>
    >>> report.loss["agreed"], report.to_label
    (99, ['q7'])
    """
    most = 1.0 if epsilon is None else checked_share(epsilon, "epsilon")
    error = check_number(error, "error", "a number between 0 and 1", *POSITIVE[:1], 1 - 1e-9)
    rate = check_number(false_alarm_rate, "false_alarm_rate", "a number from 0 to 1", 0, 1)
    seconds = check_number(window, "window", "a positive number of seconds", *POSITIVE)
    policy = read_policy(policy)
    read = load_log(log, policy, since, until)
    verdicts = find_verdicts(read.audits, {} if labels is None else labels, classes)
    return Report(
        count_rows(read),
        count_stages(read.inputs, policy),
        estimate_cost(read.inputs),
        find_drift(read.inputs, policy, rate),
        bound_loss(verdicts, error, most),
        bound_windows(read.inputs, verdicts, seconds, error, most),
        open_ids(read.audits, verdicts),
    )


def count_rows(log: Log) -> pd.Series:
    """Count the rows of a log, and test its audit."""
    counts = {
        "inputs": len(log.inputs.rows),
        "repeated": log.repeated,
        "other_policies": log.others,
        "audited": len(log.audits),
        "audit_p": draw_p_value(log.inputs),
    }
    return pd.Series(counts, dtype=object)


def count_stages(inputs: Inputs, policy: Policy) -> pd.DataFrame:
    """Return one row per model: failures, exits and cost."""
    rows = []
    expected = policy.in_use.expected
    for stage, name in enumerate(policy.models):
        failures = inputs.failures[:, stage]
        failures = failures[failures >= 0]
        exits = inputs.stages == stage
        low, high = share_interval(exits, kind="exact")
        evidence = failure_evidence(failures[-LATEST_CALLS:] > 0) / len(policy.models)
        rows.append(
            {
                "model": name,
                "inputs": len(failures),
                **dict(zip(FAILURES, np.bincount(failures, minlength=len(FAILURES)))),
                "other_model": np.count_nonzero(inputs.is_other[:, stage]),
                "failing": evidence >= INPUTS_PER_FALSE_ALARM,
                "exit_rate": exits.mean(),
                "exit_rate_low": low,
                "exit_rate_high": high,
                "expected": expected.exit_rates[stage].value if expected else np.nan,
                "spent": np.nansum(inputs.costs[:, stage]),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def failure_evidence(has_failed: Array) -> float:
    """Return the evidence that failures are more frequent than acceptable.

    It is the mean over BETS of Shiryaev–Roberts statistics (Shin, Ramdas, Rinaldo, 2023,
    *E-detectors*). At each input, a statistic is (its previous value + 1) × the factor of the bet.
    """
    if not len(has_failed):
        return 0.0
    gain = np.log1p(BETS * (1 / MOST_FAILURES - 1))
    logs = np.cumsum(np.where(has_failed[::-1], gain, np.log1p(-BETS)), axis=1)
    total = np.logaddexp.reduce(logs, axis=None) - np.log(len(BETS))
    return float(np.exp(min(total, LARGEST_LOG)))


def estimate_cost(inputs: Inputs) -> pd.Series:
    """Return the mean cost of the inputs whose answers all have one, with its 95% interval."""
    is_unknown = np.isnan(inputs.costs)
    is_priced = ~(is_unknown & (inputs.failures == 0)).any(axis=1)
    paid = pd.Series(np.nansum(inputs.costs, axis=1)[is_priced])
    mean = paid.mean()
    half = 1.96 * paid.sem(ddof=0)
    unknown_calls = np.count_nonzero(is_unknown & (inputs.failures > 0))
    interval = {"mean": mean, "low": mean - half, "high": mean + half}
    return pd.Series(interval | {"priced": len(paid), "unknown_calls": unknown_calls})


def find_drift(inputs: Inputs, policy: Policy, false_alarm_rate: float) -> pd.DataFrame:
    """Test each stage: whether its confidences differ from those measured with the policy.

    If live inputs and reference are independent draws of one distribution, an endless stream ever
    raises an alarm with probability at most `false_alarm_rate`. An alarm means that inputs have
    changed, not that the accuracy is lower. The bound does not hold for dependent inputs, such as
    the frames of a video. See docs/monitoring.md.
    """
    expected = policy.in_use.expected
    references = expected.confidences if expected else ()
    # After a failure or another model's answer, the next stage is reached for other reasons.
    is_clean = np.logical_and.accumulate(inputs.is_answered, axis=1)
    rows = []
    for stage, reference in enumerate(references):
        values = np.clip(inputs.confidences[:, stage], -LARGEST, LARGEST)
        is_tested = is_clean[:, stage] & ~np.isnan(values)
        if stage == len(references) - 1:
            # Equal confidences of the last model carry no information, infinite ones are missing.
            differ = len({*reference.values}) > 1
            is_tested &= differ & (np.abs(values) < LARGEST)
        path = np.append(0.0, log_capital(reference, values[is_tested]))
        times = np.append(inputs.times[is_tested], np.nan)
        rows.append(
            {
                "inputs": len(path) - 1,
                "capital": np.exp(min(path[-1], LARGEST_LOG)),
                "p": min(1.0, len(references) * np.exp(-path.max())),
                "since": times[path.argmin()],
            }
        )
    drift = pd.DataFrame(rows, policy.models[: len(rows)], ["inputs", "capital", "p", "since"])
    return drift.assign(alarm=drift["p"] <= false_alarm_rate)


def bound_loss(verdicts: pd.Series, error: float, epsilon: float) -> pd.Series:
    """Return bounds of the loss, of which each fails with half of the error.

    Open and unknown inputs count as gained for the lower bound, and as lost for the upper one. So
    the bounds hold whichever labels arrive, and whenever.
    """
    counts = {name: int((verdicts == name).sum()) for name in VERDICTS}
    same = counts["agreed"] + counts["tied"]
    low, minus_high = [
        anytime_lower(counts[name], same, len(verdicts) - same - counts[name], error / 2)
        for name in ("lost", "gained")
    ]
    bounds = {"low": low, "high": -minus_high, "alarm": low > epsilon}
    return pd.Series({"audited": len(verdicts)} | counts | bounds, dtype=object)


def bound_windows(
    inputs: Inputs, verdicts: pd.Series, window: float, error: float, epsilon: float
) -> pd.DataFrame:
    """Return the bounds for each window of time, indexed by the time at which it starts.

    The errors of windows i = 0, 1, … since the first input are error / ((i + 1)(i + 2)), which sum
    to at most `error`.
    """
    windows = inputs.times // window
    first = windows[0]
    rows = {}
    for number, part in verdicts.groupby(windows[inputs.is_audited]):
        share = error / ((number - first + 1) * (number - first + 2))
        rows[number * window] = bound_loss(part, share, epsilon)
    names = ["audited", *VERDICTS, "low", "high", "alarm"]
    return pd.DataFrame(rows.values(), list(rows), names).rename_axis("since")
