"""Read the log of a policy: check its rows, sort them by time, and count each input once."""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy import ndarray as Array

from ..checks import brief, check_number
from ..evaluation.point import Point
from ..methods.confidence_range import impossible
from ..methods.thresholds import convert_units, does_exit
from ..policy.decisions import FAILURES
from ..policy.policy import Policy
from .schema import OF_EACH, Locate, describe_value, read_parts

ROUNDING = 1e-6  # of confidences in a log, absolute or relative
Columns = dict[str, Array]  # values of each column with lists, [rows, models]
BY_STAGE = ("models", "predictions", "confidences", "failures", "costs")


class Inputs(NamedTuple):
    """N inputs of a cascade of n models, as arrays of numbers.

    ``rows`` are positions in the log. ``contents`` are 64-bit hashes of all values of a row except
    its id. ``failures`` [N, n] are positions in FAILURES, and −1 if a stage was not reached.
    ``is_other`` [N, n] tells whether another model than the policy's has answered.
    """

    rows: Array
    contents: Array
    times: Array
    stages: Array
    is_audited: Array
    failures: Array
    confidences: Array
    costs: Array
    is_other: Array

    @property
    def is_answered(self) -> Array:
        """Return at which stages the policy's model has answered, bool [N, n]."""
        return (self.failures == 0) & ~self.is_other

    def take(self, rows: Array) -> "Inputs":
        """Return some of the inputs."""
        return Inputs(*[values[rows] for values in self])


class Log(NamedTuple):
    """The inputs of one policy, each once, in the order of time.

    ``audits`` has a row per audited input, in the same order: ``id``, and the answers of the
    ``first`` model, the ``cascade`` and the ``reference``, None for no answer. ``repeated`` and
    ``others`` are the numbers of rows that repeat another row, and of rows of other policies.
    """

    inputs: Inputs
    audits: pd.DataFrame
    repeated: int
    others: int


class LogPart(NamedTuple):
    """Some rows of a log. Row i of ``table`` is the row ``places[i]`` of a part of the log.

    ``start`` is the position of that part, and ``locate`` describes its rows for messages.
    """

    table: pa.Table
    places: Array
    start: int
    locate: Locate

    def refuse(self, is_bad: Array, name: str, accepted: str | None = None) -> None:
        """Raise ValueError for the first bad row, where `is_bad` is [rows] or [rows, stages]."""
        for row in is_bad.nonzero()[0][:1].tolist():
            place = self.locate(int(self.places[row]))
            value = self.table[name][row].as_py()
            raise ValueError(describe_value(name, value, place, accepted))

    def take(self, is_chosen: Array) -> "LogPart":
        """Return some of the rows."""
        table = self.table.filter(pa.array(is_chosen))
        return self._replace(table=table, places=self.places[is_chosen])


def read_policy(policy: Any) -> Policy:
    """Return a policy, which may be named by the path of its file."""
    if isinstance(policy, str | os.PathLike):
        return Policy.load(os.fspath(policy))
    if not isinstance(policy, Policy):
        raise ValueError(
            f"policy must be a Policy or the path of its file, not a {type(policy).__name__}. "
            "The policy of a cascade is cascade.policy"
        )
    return policy


def load_log(
    log: Any, policy: Policy, since: float | None = None, until: float | None = None
) -> Log:
    """Read the rows of a policy from `since` to before `until`.

    Raises
    ------
    ValueError
        If `since` or `until` is not a number, a row does not fit the schema, an id repeats with
        other contents, or no row is of the policy.
    """
    seconds = "a time in seconds since 1970"
    first = -np.inf if since is None else check_number(since, "since", seconds)
    end = np.inf if until is None else check_number(until, "until", seconds)
    others: Counter = Counter()
    inputs = []
    audits = []
    ids = [pa.chunked_array([], pa.string())]
    for whole in numbered_parts(log):
        times = check_keys(whole)
        is_inside = (first <= times) & (times < end)
        is_mine = pc.equal(whole.table["policy"], policy.checksum).to_numpy()
        is_other = pa.array(is_inside & ~is_mine)
        others.update(whole.table["policy"].filter(is_other).to_pylist())
        part = whole.take(is_inside & is_mine)
        columns = spread_columns(part, len(policy.models))
        check_rows(part, columns, policy.in_use)
        inputs.append(inputs_of(part, columns, policy.in_use))
        audits.append(read_audits(part, columns, inputs[-1]))
        ids += part.table["id"].chunks
    if not any(len(part.rows) for part in inputs):
        raise ValueError(
            f"the log has no row of policy {policy.checksum} in this time, and {others.total()} "
            f"of other policies: {brief(sorted(others)[:3])}. Pass the policy whose checksum is in "
            "the log, or change since and until"
        )
    joined = Inputs(*map(np.concatenate, zip(*inputs)))
    unique = first_rows(joined, pa.chunked_array([c for c in ids if len(c)]))
    kept = joined.take(unique)
    in_order = pd.concat(audits).loc[kept.rows[kept.is_audited]]
    return Log(kept, in_order, len(joined.rows) - len(unique), others.total())


def numbered_parts(log: Any) -> Iterator[LogPart]:
    """Yield the parts of a log."""
    start = 0
    for table, locate in read_parts(log):
        yield LogPart(table, np.arange(len(table)), start, locate)
        start += len(table)


def check_keys(part: LogPart) -> Array:
    """Check what rows of all policies need, and return their times, float64 [rows]."""
    for name in ("id", "time", "policy"):
        part.refuse(part.table[name].is_null().to_numpy(), name)
    times = part.table["time"].to_numpy()
    part.refuse(~np.isfinite(times), "time")
    return times


def spread_columns(part: LogPart, models: int) -> Columns:
    """Return the values of each column with lists.

    A value is None or nan if it is null, or the stage was not reached.
    """
    stages = part.table["stage"].to_numpy()
    accepted = f"a whole number from 0 to {models - 1}"
    part.refuse(~np.isin(stages, range(models)), "stage", accepted)
    reached = np.arange(models) <= stages[:, None]
    columns = {}
    for name in BY_STAGE:
        column = part.table[name].combine_chunks()
        lengths = pc.list_value_length(column).fill_null(0).to_numpy()
        part.refuse(lengths != stages + 1, name)
        values = column.flatten().to_numpy(zero_copy_only=False)
        columns[name] = np.full(reached.shape, None if values.dtype == object else np.nan)
        columns[name][reached] = values
    return columns


def check_rows(part: LogPart, columns: Columns, point: Point) -> None:
    """Raise ValueError for the first row whose values are wrong or contradict each other."""
    stages = part.table["stage"].to_numpy()
    reached = np.arange(len(point.models)) <= stages[:, None]
    failures = columns["failures"]
    confidences = columns["confidences"]
    costs = columns["costs"]
    part.refuse(reached & ~np.isin(failures, FAILURES), "failures")
    has_answer = failures == FAILURES[0]
    has_failed = reached & ~has_answer
    part.refuse(has_answer & pd.isna(columns["models"]), "models")
    part.refuse(reached & (has_answer == pd.isna(columns["predictions"])), "predictions")
    is_missing = np.isnan(confidences)
    needs_confidence = np.append(np.array(point.inside) > -np.inf, False)
    part.refuse(has_answer & needs_confidence & is_missing, "confidences")
    part.refuse(has_failed & ~is_missing, "confidences")
    if point.metric is not None:
        is_impossible = impossible(confidences, point.metric)
        part.refuse(is_impossible, "confidences", f"{OF_EACH} values of {point.metric}")
    part.refuse(
        find_wrong_exits(part, columns, point),
        "confidences",
        f"{OF_EACH} values for which "
        f"the thresholds {point.thresholds} give the row's stage, not rounded",
    )
    part.refuse((costs < 0) | np.isinf(costs), "costs")
    part.refuse(part.table["audited"].is_null().to_numpy(), "audited")
    is_audited = part.table["audited"].to_numpy()
    has_reference = part.table["reference"].is_valid().to_numpy()
    part.refuse(has_reference & ~is_audited, "reference")


def find_wrong_exits(part: LogPart, columns: Columns, point: Point) -> Array:
    """Return which answers of the policy's models have another exit than its thresholds give.

    The result is bool [rows, models]. A confidence that is nearly the threshold may have been
    rounded.
    """
    stages = part.table["stage"].to_numpy()
    is_wrong = np.zeros(columns["failures"].shape, bool)
    for stage, threshold in enumerate(point.inside):
        values = convert_units(point.metric, columns["confidences"][:, stage])
        values = np.where(np.isnan(values), -np.inf, values)
        has_other_exit = does_exit(values, threshold) != (stages == stage)
        is_own = columns["models"][:, stage] == point.models[stage]
        has_answer = columns["failures"][:, stage] == FAILURES[0]
        is_near = np.isclose(values, threshold, rtol=ROUNDING, atol=ROUNDING)
        is_wrong[:, stage] = has_answer & is_own & has_other_exit & ~is_near
    return is_wrong


def inputs_of(part: LogPart, columns: Columns, point: Point) -> Inputs:
    """Return checked rows as numbers."""
    stages = part.table["stage"].to_numpy()
    codes = {name: code for code, name in enumerate(FAILURES)} | {None: -1}
    failures = np.vectorize(codes.__getitem__, otypes=[np.int8])(columns["failures"])
    return Inputs(
        rows=part.start + part.places,
        contents=digest_rows(part, columns),
        times=part.table["time"].to_numpy(),
        stages=stages.astype(np.int8),
        is_audited=part.table["audited"].to_numpy(),
        failures=failures,
        confidences=columns["confidences"],
        costs=columns["costs"],
        is_other=(failures == 0) & (columns["models"] != np.array(point.models, object)),
    )


def digest_rows(part: LogPart, columns: Columns) -> Array:
    """Return a 64-bit hash of the contents of each row, except its id."""
    contents = part.table.select(["time", "stage", "audited", "reference"]).to_pandas()
    for name, values in columns.items():
        for stage, each in enumerate(values.T):
            contents[name, stage] = each
    return pd.util.hash_pandas_object(contents, index=False).to_numpy()


def read_audits(part: LogPart, columns: Columns, inputs: Inputs) -> pd.DataFrame:
    """Return the answers to the audited inputs, indexed by their rows in the log."""
    answers = columns["predictions"][inputs.is_audited]
    is_first = inputs.is_answered[inputs.is_audited, 0]
    table = part.table.filter(part.table["audited"])
    cascade = answers[:, 0]
    for later in answers.T[1:]:
        cascade = np.where(pd.isna(later), cascade, later)
    values = {
        "id": table["id"].to_pylist(),
        "first": np.where(is_first, answers[:, 0], None),
        "cascade": cascade,
        "reference": table["reference"].to_pylist(),
    }
    return pd.DataFrame(values, inputs.rows[inputs.is_audited], dtype=object)


def first_rows(inputs: Inputs, ids: pa.ChunkedArray) -> Array:
    """Return the first row of each id in the order of time, or of ids at equal times.

    Raises ValueError if another row with the same id has other contents.
    """
    keys = pa.table({"time": inputs.times, "id": ids})
    order = pc.sort_indices(keys, [("time", "ascending"), ("id", "ascending")]).to_numpy()
    encoded = ids.take(order).combine_chunks().dictionary_encode()
    codes = encoded.indices.to_numpy()  # in the order of the first rows
    is_repeated = pd.Series(codes).duplicated().to_numpy()
    unique = order[~is_repeated]
    differs = inputs.contents[order] != inputs.contents[unique][codes]
    for row in differs.nonzero()[0][:1].tolist():
        raise ValueError(
            f"id {encoded[row].as_py()!r} repeats with other contents, in rows "
            f"{inputs.rows[unique[codes[row]]]} and {inputs.rows[order[row]]} of the log (0 = "
            "first). Give each input another id. A row that is written again must be the same"
        )
    return unique
