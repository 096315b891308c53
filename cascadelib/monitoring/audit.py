"""Draw the inputs that the reference answers too, and compare its answers with the cascade's."""

import hashlib
import hmac
import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from numpy import ndarray as Array
from scipy.stats import chi2_contingency, ks_2samp

from ..checks import brief, check_number, items_of
from ..evaluation.point import Point
from ..labels import as_text, normalize_text
from ..methods.thresholds import convert_units
from ..policy.confidence_summary import summary
from ..policy.policy import Policy
from ..store.score_table import ScoreTable
from .log import Inputs, load_log, read_policy

SALT_BYTES = 16  # least length of the secret


def is_audited(ids: Iterable, share: float, salt: bytes | None = None) -> Array:
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
        If there is no salt, it is too short or is not bytes, or the share is not from 0 to 1.

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
        found = f"{len(salt)} bytes" if isinstance(salt, bytes) else f"a {type(salt).__name__}"
        raise ValueError(
            f"salt must be {SALT_BYTES} secret bytes or more, not {found}. Make a salt once with "
            "python -c 'import secrets; print(secrets.token_hex(16))', store it where all replicas "
            "read it, such as an environment variable, and pass bytes.fromhex(…)"
        )
    limit = int(share * 2**64)
    digests = [hmac.digest(salt, str(name).encode(), "sha256") for name in items_of(ids)]
    return np.array([int.from_bytes(digest[:8], "big") < limit for digest in digests], bool)


def draw_p_value(inputs: Inputs) -> float:
    """Return a p-value of the hypothesis that the audited inputs are a random draw of all inputs.

    Two tests compare audited inputs with all others: at which stages they exit, and at what times
    they were decided. The p-value is twice the smaller one. It is nan if all are audited, or none.
    """
    is_drawn = inputs.is_audited
    if is_drawn.all() or not is_drawn.any():
        return np.nan
    p_values = [float(ks_2samp(inputs.times[is_drawn], inputs.times[~is_drawn]).pvalue)]
    exits = pd.crosstab(inputs.stages, is_drawn)
    if len(exits) > 1:
        p_values.append(float(chi2_contingency(exits).pvalue))
    return min(1.0, 2 * min(p_values))


def find_verdicts(
    audits: pd.DataFrame, labels: Mapping[Any, Any], classes: Iterable | None
) -> pd.Series:
    """Return the verdict on each audited input.

    It is "agreed" if cascade and reference agree, and "unknown" if the reference has no answer. Of
    the others, it is "lost", "tied" or "gained" by the label, and "open" without one.

    Raises
    ------
    ValueError
        If a label or a reference is spelled otherwise than the other answers, or is not a class.
    """
    texts = labels_by_id(labels)
    label = audits["id"].map(texts.get).astype(object)
    answers = audits[["cascade", "reference"]].assign(label=label)
    check_spelling(answers, audits["id"], classes)
    gain = (audits["cascade"] == label).astype(int) - (audits["reference"] == label)
    verdicts = gain.map({-1: "lost", 0: "tied", 1: "gained"})
    verdicts[label.isna()] = "open"
    verdicts[audits["cascade"] == audits["reference"]] = "agreed"
    verdicts[audits["reference"].isna()] = "unknown"
    return verdicts


def labels_by_id(labels: Mapping[Any, Any]) -> dict[str, str]:
    """Return labels as {id: label}, as text, without those that are missing."""
    if not isinstance(labels, Mapping | pd.Series):
        raise ValueError(
            f"labels must be {{id: label}} or a Series by id, not a {type(labels).__name__}"
        )
    known = dict(labels.items())
    texts = as_text(np.fromiter(known.values(), object, len(known)))
    return {str(name): text for name, text in zip(known, texts.tolist()) if text}


def check_spelling(answers: pd.DataFrame, ids: pd.Series, classes: Iterable | None) -> None:
    """Raise ValueError if an audited answer or its label is not a class.

    Without `classes`, a label must be an answer of the cascade or the reference to any input, and
    no two answers or labels may differ only in spelling.
    """
    by_column = {
        name: dict(zip(column.dropna(), ids[column.notna()])) for name, column in answers.items()
    }
    valid = {*by_column["cascade"], *by_column["reference"]}
    if classes is not None:
        valid = {str(each) for each in classes}
    spellings: dict[str, str] = {}
    for column, texts in by_column.items():
        for text in filter(None, texts):
            what = column if column == "label" else f"{column}'s answer"
            place = f"the {what} {brief(text)} of input {brief(texts[text])}"
            known = spellings.setdefault(normalize_text(text), text)
            if classes is None and known != text:
                raise ValueError(
                    f"{place} differs from {brief(known)} only in spelling. Spell all answers and "
                    "labels alike, or list the valid answers in classes="
                )
            if text not in valid:
                kind = "an audited answer" if classes is None else "one of the classes"
                raise ValueError(
                    f"{place} is not {kind}, such as {brief(sorted(valid)[:3])}. Spell it alike, "
                    "or list all valid answers in classes="
                )


def open_ids(audits: pd.DataFrame, verdicts: pd.Series) -> list[str]:
    """Return the ids of inputs that need labels. For any m, the first m are a uniform sample."""
    wanted = audits["id"][verdicts == "open"]
    return sorted(wanted, key=lambda name: hashlib.sha256(name.encode()).digest())


def audited_table(
    log: Any,
    policy: Policy | str | os.PathLike,
    since: float | None = None,
    until: float | None = None,
) -> ScoreTable:
    """Return the audited inputs as a table, in the order of time.

    With it, :func:`cascadelib.ladder` and :func:`cascadelib.certify` find new thresholds.

    Parameters
    ----------
    log : DataFrame, or path of a .jsonl file, a parquet file or a folder of such files
        As for :func:`cascadelib.monitor`.
    policy : Policy, or path of its file
        A policy of two models.
    since, until : float, optional
        Rows with a time from `since` to before `until` are read, in seconds since 1970.

    Returns
    -------
    ScoreTable
        Answers of the first model and the reference, without labels. An input for which one of them
        has no answer has the answer "" there, so it needs a label or counts as lost. An input
        without an answer of the first model has the confidence −inf. Costs are the mean costs in
        the log, or 0 and 1 if these do not rise.

    Raises
    ------
    ValueError
        If the policy does not have two models, no input is audited, or a row of the log is bad.

    See Also
    --------
    renew_policy : Return the policy with thresholds that were certified on the table.

    Notes
    -----
    The guarantee of a certificate on the table is about the distribution of the inputs of this
    time. Each certificate is another test: r certificates at δ fail with probability at most r δ.

    Examples
    --------
    >>> import cascadelib as cl
    >>> import pandas as pd
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> row = dict(id="q1", time=0.0, policy=policy.checksum, stage=0, models=["small"])
    >>> row |= dict(predictions=["no"], confidences=[0.9], failures=["none"], costs=[1.0])
    >>> row |= dict(audited=True, reference="yes")
    >>> table = cl.audited_table(pd.DataFrame([row]), policy)
    >>> table.predictions.tolist(), table.confidence.tolist()
    ([['no'], ['yes']], [[0.9], [0.0]])
    """
    policy = read_policy(policy)
    if len(policy.models) != 2:
        raise ValueError(
            f"a policy of two models is needed, not {len(policy.models)}: audited inputs have the "
            "answers of the first model and the reference only. Choose and certify on a table"
        )
    read = load_log(log, policy, since, until)
    if read.audits.empty:
        raise ValueError("the log has no audited input in this time")
    confidences = convert_units(policy.metric, read.inputs.confidences[read.inputs.is_audited, 0])
    confidences = np.where(read.audits["first"].isna(), -np.inf, confidences)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of no cost is nan
        prices = np.nanmean(np.where(read.inputs.is_other, np.nan, read.inputs.costs), axis=0)
    first = np.where(np.isnan(confidences), -np.inf, confidences)
    return ScoreTable(
        None,
        np.stack([first, np.zeros(len(first))]),
        prices if prices[0] < prices[1] else np.arange(2.0),
        policy.models,
        read.audits["id"].to_numpy(str),
        predictions=read.audits[["first", "reference"]].fillna("").to_numpy(str).T,
        exact=True,
    )


def renew_policy(policy: Policy, point: Point | None, table: ScoreTable) -> Policy:
    """Return a policy with the thresholds of a point that was certified on its audited inputs.

    Parameters
    ----------
    policy : Policy
        The policy that has decided the inputs.
    point : Point
        The ``point`` of a certificate on `table`.
    table : ScoreTable
        The result of :func:`audited_table`, or a part of it.

    Returns
    -------
    Policy
        Its thresholds are in the native units of the metric. Its expected figures are those of the
        table, with the reference's answers as labels, so that drift is tested against these inputs.

    Raises
    ------
    ValueError
        If the point is not a cascade of the policy's models, because nothing was certified.

    See Also
    --------
    audited_table : Return the table.

    Examples
    --------
    >>> import cascadelib as cl
    >>> from cascadelib.monitoring import renew_policy
    >>> policy = cl.Policy(cl.Point(("small", "large"), (0.5,)))
    >>> table = cl.ScoreTable(
    ...     None, [[0.2, 0.9], [0, 0]], [1, 10], policy.models, predictions=[["no", "no"]] * 2
    ... )
    >>> point = cl.Point(policy.models, (0.7,), cost_kind="cost")  # of a certificate
    >>> renew_policy(policy, point, table)
    <Policy: small at 0.7 → large, given confidences>
    """
    if point is None or point.models != policy.models:
        raise ValueError(
            f"nothing is certified for {' → '.join(policy.models)}. Send all inputs to "
            f"{policy.models[-1]!r}, or certify with more labels, more audited inputs or a larger "
            "epsilon"
        )
    reference = table.predicted(policy.models[-1])
    measured = Policy.from_point(point, None, table.labelled(reference)).point
    expected = measured.expected
    if expected is None:
        raise ValueError("the table has too few inputs for expected figures")
    confidence = table.confidence[0]
    native = convert_units(policy.metric, confidence[confidence > -np.inf])
    thresholds = convert_units(policy.metric, np.array(point.thresholds)).tolist()
    return Policy(
        replace(
            measured,
            thresholds=tuple(thresholds),
            method=policy.point.method,
            records=policy.point.records,
            expected=replace(expected, confidences=(summary(native), *expected.confidences[1:])),
        )
    )
