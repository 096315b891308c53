"""Monitor a running cascade from a frame of its log: exits, cost, failures, and the loss."""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from numbers import Real
from time import time as clock
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import ks_2samp

from .checks import brief, check_number, checked_share, items_of
from .evaluation.intervals import anytime_lower, share_interval
from .guarantees.cautions import LEVEL
from .labels import as_text, normalize_text
from .methods.confidence_range import impossible
from .methods.thresholds import LARGEST, convert_units, does_exit
from .policy.decisions import FAILURES, Decisions
from .policy.policy import Policy

SALT_BYTES = 16  # least length of the secret
ROUNDING = 1e-6  # of confidences in a log, absolute or relative
EACH = "a list with one item for each stage up to the exit:"
COLUMNS = {
    "id": "text, another one for each input. A row that is written again must be the same",
    "time": "the time of the decision in seconds since 1970, a finite number",
    "policy": "text, the checksum of the policy that decided",
    "stage": "the stage at which the input exited, a whole number, 0 = first",
    "models": f"{EACH} the name of the model that answered",
    "predictions": f"{EACH} the cascade's answer as text, None for a failure",
    "confidences": f"{EACH} the number whose comparison with the threshold gives the stage, in the "
    "units of selection and not rounded, None if there is none",
    "failures": f"{EACH} {', '.join(FAILURES)}",
    "costs": f"{EACH} the cost of the call, 0 or more, None if it is not known",
    "audited": "True or False, as is_audited returns it",
    "reference": "the reference's answer to an audited input as text, else None",
}
"""Columns of a log, one row per input. docs/monitoring.md reads them from files."""
BY_STAGE = ("models", "predictions", "confidences", "failures", "costs")
VERDICTS = ("unknown", "agreed", "open", "gained", "lost", "tied")  # the first that is true
ASSUMES = (
    "The bounds of the loss assume that the log has all inputs, that these are independent draws "
    "of one distribution, that the audited ones were drawn uniformly, that the reference did not "
    "know the cascade's answers, and that the labels are correct."
)
NOT_UNIFORM = (
    "Caution: times, stages or confidences of the audited inputs differ from those of the others, "
    "so the audit is not a uniform draw, and the loss has no bounds."
)
LATEST_CALLS = 1024  # inputs of a model among which failures raise an alarm
BETS = np.array([0.02, 0.1, 0.5])  # shares of the capital that are bet on a failure
MOST_FAILURES = 0.01  # acceptable share of failures
INPUTS_PER_FALSE_ALARM = 1e7
LARGEST_EVIDENCE = 1e100  # finite after another factor


@dataclass(frozen=True, eq=False, repr=False)
class Report:
    """What a log shows about a policy. ``print(report)`` shows what it assumes, too.

    Parameters
    ----------
    rows : Series
        Numbers of ``inputs``, of ``repeated`` rows, of rows of ``other_policies``, and of
        ``audited`` inputs.
    stages : DataFrame
        One row per model: ``inputs`` that reached it, number by kind of failure, answers by an
        ``other_model``, ``failing`` (alarm about the latest 1,024 inputs), ``exit_rate`` with its
        95% interval, the ``expected`` one, and the cost ``spent``.
    cost : Series
        Mean cost of an input with its 95% interval, without the audit. ``priced``: number of inputs
        whose answers all have a cost. A failed call without a cost counts as 0.
    loss : Series
        Bounds ``low`` and ``high`` of the loss of accuracy relative to the reference, the number of
        audited inputs by verdict, and ``alarm``. The bounds are nan if the audit is not a uniform
        draw.
    to_label : list of str
        Ids of inputs on which cascade and reference differ and that have no label. For any m, the
        first m are a uniform sample.
    caution : str
        Why the audit is not a uniform draw, or empty.

    See Also
    --------
    monitor : Compute the report.
    """

    rows: pd.Series
    stages: pd.DataFrame
    cost: pd.Series
    loss: pd.Series
    to_label: list[str]
    caution: str

    def __repr__(self) -> str:
        alarms = [*self.stages.index[self.stages["failing"]]]
        alarms += ["loss"] * bool(self.loss["alarm"]) + ["audit"] * bool(self.caution)
        numbers = "{inputs} inputs, {audited} audited".format_map(self.rows)
        return f"<Report: {numbers}, alarms: {', '.join(alarms) or 'none'}>"

    def __str__(self) -> str:
        return "\n".join([repr(self), ASSUMES, self.caution]).strip()


def is_audited(ids: Iterable, share: float, salt: bytes) -> Array:
    """Return which inputs are audited, without any state.

    An input is audited if the HMAC-SHA256 of its id is below `share` of all values. So all replicas
    draw the same inputs, at any time, and nobody without the salt can predict which.

    Parameters
    ----------
    ids : iterable of str or int, or a single id
        Ids of N inputs. A number is the same as its text.
    share : float
        Share of the inputs that are audited, from 0 to 1.
    salt : bytes
        A secret of 16 bytes or more, the same in all replicas and after each restart. There is no
        default, since whoever knows the salt can choose ids that are never audited.

    Returns
    -------
    bool array of shape (N,)
        Whether each input is audited.

    Raises
    ------
    ValueError
        If the salt is too short or is not bytes, or the share is not from 0 to 1.

    See Also
    --------
    cascadelib.monitor : Estimate the loss from the audited inputs.

    Examples
    --------
    >>> import cascadelib as cl
    >>> salt = bytes.fromhex("b6a1d3c07f0e4c5f8a2b9d4e61f3c758")  # from secrets.token_hex(16)
    >>> cl.is_audited(["q1", "q2", "q3", "q4"], 0.5, salt).tolist()
    [False, False, False, True]
    """
    check_number(share, "share", "a number from 0 to 1, such as 0.02 for 2%", 0, 1)
    if not isinstance(salt, bytes) or len(salt) < SALT_BYTES:
        raise ValueError(
            f"salt must be {SALT_BYTES} secret bytes or more. Make a salt once with "
            "python -c 'import secrets; print(secrets.token_hex(16))', store it where all replicas "
            "read it, such as an environment variable, and pass bytes.fromhex(…)"
        )
    limit = int(share * 2**64)
    digests = [hmac.digest(salt, str(name).encode(), "sha256") for name in items_of(ids)]
    return np.array([int.from_bytes(digest[:8], "big") < limit for digest in digests], bool)


def log_rows(
    decisions: Decisions, policy: Policy, audited: Any = False, reference: Any = None
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

    Returns
    -------
    DataFrame
        One row per input, with the columns of ``COLUMNS``. The time is now.

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
    failures = decisions.failures
    nothing = np.array(None)
    by_stage = {
        "models": np.broadcast_to(np.array(policy.models, object), failures.shape),
        "predictions": np.where(failures == 0, as_text(decisions.answers), nothing),
        "failures": np.array(FAILURES, object)[failures],
    }
    for name in ("confidences", "costs"):
        numbers = getattr(decisions, name)
        by_stage[name] = np.where(numbers > -np.inf, numbers.astype(object), nothing)
    stages = decisions.exit_stage
    texts = as_text(np.full(len(stages), reference, object))
    columns = {
        "id": as_text(decisions.ids),
        "time": clock(),
        "policy": policy.checksum,
        "stage": stages,
        "audited": audited,
        "reference": pd.Series(texts, dtype=object).replace({"": None}),
    }
    for name, values in by_stage.items():
        columns[name] = [row[: stage + 1].tolist() for row, stage in zip(values, stages)]
    return pd.DataFrame(columns)


def monitor(
    log: pd.DataFrame,
    policy: Policy,
    labels: Mapping[Any, Any] | None = None,
    *,
    epsilon: float | str | None = None,
    error: float | str = 0.05,
) -> Report:
    """Estimate exits, cost, failures and loss of a running policy from its log.

    Nothing is stored between calls: the same rows, in any order and however often repeated, give
    the same report.

    Parameters
    ----------
    log : DataFrame
        One row per input, with the columns of ``COLUMNS``. Other columns are ignored.
    policy : Policy
        The policy whose rows are counted.
    labels : mapping of str to label, or Series, optional
        Labels by id, of inputs of ``to_label``. A missing one counts as the worst case.
    epsilon : float or str, optional
        Certified loss, such as 0.02 or "2%". A lower bound above it is an alarm.
    error : float or str, default=0.05
        Probability that a bound of the loss ever fails, half of it on each side.

    Returns
    -------
    Report
        What the log shows about the policy.

    Raises
    ------
    ValueError
        If a column is missing or a value is not as in ``COLUMNS``, an id repeats with other
        contents, no row is of the policy, or a label is spelled otherwise than the answers. Nothing
        is counted then.

    See Also
    --------
    cascadelib.is_audited : Draw the inputs that the reference answers too.

    Notes
    -----
    If the inputs are independent draws of one distribution, the loss is in [low, high] at all times
    simultaneously with probability at least 1 − `error`, whichever labels arrive, and whenever. See
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
    >>> int(report.loss["agreed"]), report.to_label
    (99, ['q7'])
    """
    if not isinstance(log, pd.DataFrame):
        raise ValueError("log must be a DataFrame, such as pd.read_json(path, lines=True)")
    most = 1.0 if epsilon is None else checked_share(epsilon, "epsilon")
    error = checked_share(error, "error")
    inputs, counts = inputs_of(log, policy)
    calls = calls_of(inputs, policy)
    audits = audited_answers(calls, {} if labels is None else labels)
    verdicts = find_verdicts(audits)
    is_uniform = is_uniform_draw(calls)
    return Report(
        counts,
        count_stages(calls, policy),
        estimate_cost(calls),
        bound_loss(verdicts, error, most, is_uniform),
        sorted(
            audits["id"][verdicts == "open"],
            key=lambda name: sha256(name.encode()).digest(),
        ),
        "" if is_uniform else NOT_UNIFORM,
    )


def inputs_of(log: pd.DataFrame, policy: Policy) -> tuple[pd.DataFrame, pd.Series]:
    """Return a row per input of a policy, in the order of time, and numbers of rows.

    The index is the position in the log.
    """
    if missing := [name for name in COLUMNS if name not in log]:
        raise ValueError(f"the log has no column {missing[0]!r}: {COLUMNS[missing[0]]}")
    log = log[[*COLUMNS]].reset_index(drop=True)
    check_values(log, {"policy": are(log["policy"], str)})
    rows = log[log["policy"] == policy.checksum]
    if rows.empty:
        raise ValueError(
            f"the log has no row of policy {policy.checksum}, and {len(log)} of other policies"
        )
    is_audited = rows["audited"].isin([True])
    is_valid = {
        "id": are(rows["id"], str),
        "time": np.isfinite(as_numbers(rows["time"])),
        "stage": rows["stage"].isin(range(len(policy.models))),
        "audited": rows["audited"].isin([True, False]),
        "reference": rows["reference"].isna() | is_audited & are(rows["reference"], str),
    }
    for name in BY_STAGE:
        lengths = [len(each) if np.ndim(each) == 1 else 0 for each in rows[name]]
        is_valid[name] = as_numbers(rows["stage"]) + 1 == lengths
    check_values(rows, is_valid)
    rows = rows.assign(audited=is_audited).sort_values(["time", "id"])
    unique = rows[~rows.astype(str).duplicated()]
    check_values(unique, {"id": ~unique["id"].duplicated()})
    counts = {
        "inputs": len(unique),
        "repeated": len(rows) - len(unique),
        "other_policies": len(log) - len(rows),
        "audited": unique["audited"].sum(),
    }
    return unique, pd.Series(counts)


def calls_of(inputs: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Return a checked row per call of a model, by the position of its input in the log.

    ``call`` is the stage of the model, and ``stage`` the one at which the input exits.
    """
    calls = inputs.explode([*BY_STAGE])
    calls["call"] = calls.groupby(level=0).cumcount()
    texts = calls[["confidences", "costs"]]
    numbers = texts.apply(as_numbers)
    is_number = numbers.notna() == texts.notna()
    calls[["confidences", "costs"]] = numbers
    has_answer = calls["failures"] == FAILURES[0]
    may_have_number = has_answer & ~impossible(numbers["confidences"], policy.point.metric)
    is_valid = {
        "failures": calls["failures"].isin(FAILURES),
        "models": ~has_answer | are(calls["models"], str),
        "predictions": has_answer == are(calls["predictions"], str),
        "costs": is_number["costs"] & numbers["costs"].fillna(0).between(0, LARGEST),
        "confidences": is_number["confidences"] & (may_have_number | texts["confidences"].isna()),
    }
    check_values(inputs, is_valid)
    for stage, threshold in enumerate(policy.point.inside):
        part = calls[has_answer & (calls["call"] == stage)]
        values = pd.Series(convert_units(policy.point.metric, part["confidences"]), part.index)
        exits = does_exit(values.fillna(-np.inf), threshold)
        # A confidence that is nearly the threshold may have been rounded.
        is_near = np.isclose(values, threshold, rtol=ROUNDING, atol=ROUNDING)
        is_other = part["models"] != policy.models[stage]
        may_exit = is_near | is_other | (exits == (part["stage"] == stage))
        check_values(inputs, {"confidences": may_exit})
    return calls


def are(values: pd.Series, kind: type) -> pd.Series:
    """Return which values are of a type."""
    return values.map(lambda each: isinstance(each, kind)).astype(bool)


def as_numbers(values: pd.Series) -> pd.Series:
    """Return numbers as float, and anything else as nan."""
    return values.where(are(values, Real)).astype(float)


def check_values(rows: pd.DataFrame, is_valid: Mapping[str, pd.Series]) -> None:
    """Raise ValueError for the first invalid value of a column, by its position in the log."""
    for name, valid in is_valid.items():
        for row in valid.index[~valid][:1]:
            raise ValueError(
                f"row {row} of the log (0 = first): {name} is {brief(rows[name][row])}. "
                f"Accepted: {COLUMNS[name]}"
            )


def audited_answers(calls: pd.DataFrame, labels: Mapping[Any, Any]) -> pd.DataFrame:
    """Return id, label, and the answers of cascade and reference for each audited input.

    Raises ValueError if two answers differ only in spelling, or a label is not an answer.
    """
    known = dict(labels)
    text_of = dict(zip(map(str, known), as_text([*known.values()]).tolist()))
    by_input = calls[calls["audited"]].groupby(level=0)
    audits = by_input[["id", "predictions", "reference"]].last()  # answers that are not None
    audits["label"] = audits["id"].map(text_of).replace("", np.nan)
    spellings: dict[str, str] = {}
    for column in ("predictions", "reference", "label"):
        for row, text in audits[column].dropna().items():
            word = normalize_text(text)
            if column != "label":
                spellings.setdefault(word, text)
            if spellings.get(word) != text:
                raise ValueError(
                    f"{column} {text!r} of input {audits['id'][row]!r} is not spelled as an "
                    f"audited answer, such as {brief(sorted(spellings.values())[:3])}. An input "
                    "without a label counts as the worst case"
                )
    return audits


def find_verdicts(audits: pd.DataFrame) -> pd.Series:
    """Return the verdict on each audited input.

    It is "agreed" if cascade and reference agree, and "unknown" if the reference has no answer. Of
    the others, it is "lost", "tied" or "gained" by the label, and "open" without one.
    """
    conditions = [
        audits.reference.isna(),
        audits.predictions == audits.reference,
        audits.label.isna(),
        audits.predictions == audits.label,
        audits.reference == audits.label,
    ]
    return pd.Series(np.select(conditions, VERDICTS[:-1], VERDICTS[-1]), audits.index)


def is_uniform_draw(calls: pd.DataFrame) -> bool:
    """Return whether audited inputs are like the others.

    Kolmogorov–Smirnov tests compare times, stages and confidences of the first model.
    """
    first = calls[calls["call"] == 0]
    values = first[["time", "stage", "confidences"]].astype(float).fillna(-np.inf)
    drawn, others = values[first["audited"]], values[~first["audited"]]
    return drawn.empty or others.empty or ks_2samp(drawn, others).pvalue.min() >= LEVEL


def count_stages(calls: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """Return one row per model: failures, exits and cost."""
    rows = []
    expected = policy.point.expected
    for stage, name in enumerate(policy.models):
        part = calls[calls["call"] == stage]
        counts = part["failures"].value_counts().reindex(FAILURES, fill_value=0)
        has_failed = (part["failures"] != FAILURES[0]).to_numpy()
        exits = calls["stage"][calls["call"] == 0] == stage
        low, high = share_interval(exits, kind="exact")
        evidence = failure_evidence(has_failed[-LATEST_CALLS:]) / len(policy.models)
        rows.append(
            {
                "model": name,
                "inputs": len(part),
                **counts,
                "other_model": np.count_nonzero(~has_failed & (part["models"] != name)),
                "failing": evidence >= INPUTS_PER_FALSE_ALARM,
                "exit_rate": exits.mean(),
                "exit_rate_low": low,
                "exit_rate_high": high,
                "expected": expected.exit_rates[stage].value if expected else np.nan,
                "spent": part["costs"].sum(),
            }
        )
    return pd.DataFrame(rows).set_index("model")


def failure_evidence(has_failed: Array) -> float:
    """Return the evidence that failures are more frequent than acceptable.

    It is the mean over BETS of Shiryaev–Roberts statistics (Shin, Ramdas, Rinaldo, 2023,
    *E-detectors*). At each input, a statistic is (its previous value + 1) × the factor of the bet.
    """
    values = np.zeros(len(BETS))
    for failed in has_failed:
        factor = 1 + BETS * (1 / MOST_FAILURES - 1) if failed else 1 - BETS
        values = np.minimum((values + 1) * factor, LARGEST_EVIDENCE)
    return values.mean()


def estimate_cost(calls: pd.DataFrame) -> pd.Series:
    """Return the mean cost of the inputs whose answers all have one, with its 95% interval."""
    is_unknown = calls["costs"].isna() & (calls["failures"] == FAILURES[0])
    costs = calls["costs"].groupby(level=0).sum()
    paid = costs[~is_unknown.groupby(level=0).any()]
    half = 1.96 * paid.sem(ddof=0)
    mean = paid.mean()
    return pd.Series({"mean": mean, "low": mean - half, "high": mean + half, "priced": len(paid)})


def bound_loss(verdicts: pd.Series, error: float, epsilon: float, is_uniform: bool) -> pd.Series:
    """Return bounds of the loss, of which each fails with half of the error.

    Open and unknown inputs count as gained for the lower bound, and as lost for the upper one. So
    the bounds hold whichever labels arrive, and whenever. An audit that is not uniform has none.
    """
    counts = verdicts.value_counts().reindex(VERDICTS, fill_value=0)
    same = counts["agreed"] + counts["tied"]
    low, minus_high = [
        anytime_lower(counts[name], same, len(verdicts) - same - counts[name], error / 2)
        if is_uniform
        else np.nan
        for name in ("lost", "gained")
    ]
    bounds = {"low": low, "high": -minus_high, "alarm": low > epsilon}
    return pd.Series({"audited": len(verdicts), **counts, **bounds}, dtype=object)
