"""Check a table of scores: recognize its columns, list its faults, and write the command for it."""

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from .aligned_rows import check_alignment
from .score_table import ScoreTable
from .tables.cells import SKIP, UNSURE
from .tables.faults import SHOWN, Fault, describe_faults
from .tables.frames import open_frame, parse_scores
from .tables.spelling import REMEDY as SPELLING
from .tables.spelling import find_foreign_answers
from .tables.table_files import LARGEST_TABLE

# Usual names of columns, in lower case without punctuation. The first existing one is used.
NAMES = {
    "sample": "sample sampleid id queryid query qid questionid question customid docid exampleid "
    "example itemid item uid index idx row",
    "model": "model modelname modelid service system llm engine who provider",
    "prediction": "prediction predicted pred preds predictedlabel answer output response said says",
    "label": "label labels truth groundtruth gold goldlabel target reference expected ytrue class",
    "confidence": "confidence conf score probability prob maxprob certainty sure p",
    "cost": "cost price usd dollars eur fee latency seconds macs flops",
    "correct": "correct iscorrect right exactmatch acc hit",
}
ANSWERS = ("label", "prediction", "correct")  # from_frame has no default for these
WIDE = ("prediction", "confidence", "cost", "correct")  # may have one column per model
REVERSED = -4.0  # difference of mean ranks of confidence, correct − wrong, in standard errors
SAMPLES = "columns of samples that were recognized"
MODELS = "columns of models that were recognized"
LOSSES = ("1%", "2%", "5%", "10%", "20%")  # values of --epsilon that a command may have


@dataclass(frozen=True, eq=False)
class TableReport:
    """The result of :func:`check_table`. ``str(report)`` is the full report.

    Attributes
    ----------
    source : str
        The file, or "frame".
    columns : dict of str to str
        Column by role. For one column per model it is a template, such as "{}_answer", where {}
        is the name of the model.
    faults : DataFrame
        One row per kind of fault: fault, count, examples (with sample id and line), remedy, and
        ``blocks``, which is True if the table cannot be read before the fault is corrected.
    command : str
        The command that reads the file, or the call that reads the frame. It is empty if faults
        must be corrected first.
    table : ScoreTable or None
        The table that the command reads.
    """

    source: str
    columns: dict[str, str]
    faults: pd.DataFrame
    command: str
    table: ScoreTable | None

    def __str__(self) -> str:
        named = ", ".join(f"{role} {column!r}" for role, column in self.columns.items())
        lines = [f"{self.source}: {named or 'no columns were recognized'}"]
        for blocks, title in ((True, "Faults that must be corrected:"), (False, "Remarks:")):
            chosen = self.faults[self.faults["blocks"] == blocks].drop(columns="blocks")
            text = describe_faults(Fault(*row) for row in chosen.itertuples(index=False))
            lines += [title, *text.splitlines()] if text else []
        lines += [] if len(self.faults) else ["no faults"]
        if self.table is not None:
            total = len(self.table) + self.table.dropped
            lines.append(
                f"{len(self.table):,} of {total:,} samples, {self.table.dropped:,} dropped"
            )
            lines += [
                f"{name}: accuracy {model.top1:.3f}, cost {model.cost:.4g}"
                for name, model in self.table.models.iterrows()
            ]
        lines.append(self.command or "Correct these faults, then run the check again.")
        return "\n".join(lines)


def check_table(
    frame: Any,
    *,
    cost: str | Mapping[str, float] | None = None,
    missing: str | None = None,
    normalize: str | None = None,
    encoding: str | None = None,
    largest: int = LARGEST_TABLE,
    **columns: str,
) -> TableReport:
    """Find all faults of a table of scores, and the command that reads it.

    Parameters
    ----------
    frame : path, pandas.DataFrame, or a frame that narwhals supports
        A long or wide table, as for :meth:`ScoreTable.from_frame`.
    cost : str or mapping of str to float, optional
        Column of the cost of a query, or {model: cost}.
    missing : {"refuse", "drop", "abstain"}, optional
        As for :meth:`ScoreTable.from_frame`. Defaults to "drop" if cells are missing.
    normalize : {None, "text", "exact"}, optional
        As for :meth:`ScoreTable.from_frame`. Defaults to "text" if predictions differ from labels
        in spelling only.
    encoding : str, optional
        Encoding of a CSV file. If the file is not in UTF-8, other ones are tried.
    largest : int, default=2**30
        Maximum size in bytes, before and after decompression.
    **columns : str
        Columns by role: sample, model, confidence, label, prediction, correct. In a wide table, {}
        is the name of the model, such as ``prediction="{}_answer"``. Columns of other roles are
        recognized by their names.

    Returns
    -------
    TableReport
        ``report.faults`` has one row per kind of fault. ``str(report)`` is the full report.

    See Also
    --------
    ScoreTable.from_frame : Read the table, or raise an error with the same faults.

    Examples
    --------
    >>> import cascadelib as cl
    >>> import pandas as pd
    >>> answers = {"id": ["a", "b"], "model": "m", "answer": ["x", "Y"], "gold": ["x", "y"]}
    >>> report = cl.check_table(pd.DataFrame(answers), cost={"m": 1})
    >>> report.columns["prediction"], report.faults["count"].tolist()
    ('answer', [1])
    >>> print(report.command)
    ScoreTable.from_frame(frame, ..., normalize='text', cost={'m': 1})
    """
    source = os.fspath(frame) if isinstance(frame, str | os.PathLike) else "frame"
    options: dict[str, Any] = {"missing": missing, "normalize": normalize, "encoding": encoding}
    if isinstance(cost, Mapping):
        options["cost"] = cost
    roles = {}
    blocking = []
    notes: list[Fault] = []
    table = None
    try:
        opened, options["encoding"], notes = _open(frame, largest, encoding)
        roles = guess_columns(list(map(str, opened[0].columns)), columns)
        if isinstance(cost, str):
            roles["cost"] = cost
        blocking = list(_missing_columns(roles, cost))
        if {SAMPLES, MODELS}.isdisjoint(fault.what for fault in blocking):
            parts, faults, found = _read(opened, roles, cost, options)
            blocking += faults
            notes += found
            if not faults:
                table = ScoreTable.of_checked(parts)
                notes += find_remarks(table)
    except ValueError as error:
        blocking.append(Fault("tables that cannot be read", 1, (str(error),)))
    command = ""
    has_cost = "cost" in roles or "cost" in options
    if table is not None and has_cost and table.correct is not None:
        arguments = {role: name for role, name in roles.items() if name != role or role in ANSWERS}
        arguments |= {option: value for option, value in options.items() if value is not None}
        if source == "frame":
            listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            command = f"ScoreTable.from_frame(frame, {listed})"
        else:
            command = _format_command(source, arguments, len(table))
    rows = [vars(fault) | {"blocks": True} for fault in blocking]
    rows += [vars(fault) | {"blocks": False} for fault in notes]
    listed_faults = pd.DataFrame(rows, columns=["what", "count", "examples", "remedy", "blocks"])
    return TableReport(
        source, roles, listed_faults.rename(columns={"what": "fault"}), command, table
    )


def _open(frame: Any, largest: int, encoding: str | None) -> tuple[tuple, str | None, list]:
    """Return the result of :func:`open_frame`, the encoding to pass, and faults."""
    try:
        return open_frame(frame, largest, encoding), encoding, []
    except ValueError as error:
        if encoding is not None or "encoding=" not in str(error):
            raise
        fault = Fault("files that are not in UTF-8", 1, (), f"{error}")
    try:
        return open_frame(frame, largest, "cp1252"), "cp1252", [fault]
    except ValueError:
        return open_frame(frame, largest, "latin-1"), "latin-1", [fault]


def _read(
    opened: tuple, roles: Mapping[str, str], cost: Any, options: dict[str, Any]
) -> tuple[dict[str, Any], list[Fault], list[Fault]]:
    """Return the parts of a ScoreTable, the faults that must be corrected, and other faults.

    If an option of ``from_frame`` corrects a fault, this option is added to ``options``.
    """
    frame, locate = opened
    prices = cost if isinstance(cost, Mapping) else roles.get("cost")
    scores = partial(parse_scores, frame, roles, prices, models=None, locate=locate)
    _, found = scores(options["missing"] or "refuse", normalize=options["normalize"])
    remedies = {fault.remedy for fault in found}
    if not remedies.isdisjoint((SKIP, UNSURE)):
        options["missing"] = options["missing"] or "drop"
    if SPELLING in remedies:
        options["normalize"] = "text"
    parts, remaining = scores(options["missing"] or "refuse", normalize=options["normalize"])
    other = [fault for fault in found if fault not in remaining]
    answered = scores("abstain", normalize="exact")[0]["answered"]
    counts = answered.sum(axis=1).tolist()
    if min(counts) < max(counts):
        examples = (
            f"{name!r} {count:,} of {answered.shape[1]:,}"
            for name, count in zip(parts["names"], counts)
        )
        fewer = sum(count < max(counts) for count in counts)
        other.append(Fault("models that answered fewer samples", fewer, tuple(examples)))
    return parts, remaining, other


def guess_columns(columns: list[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return {role: column}: the named ones, and those with a usual name (:data:`NAMES`)."""
    plain = {re.sub(r"[\W_]", "", column.casefold()): column for column in reversed(columns)}
    roles = {}
    for role, names in NAMES.items():
        found = [plain[name] for name in names.split() if name in plain]
        if role in named:
            roles[role] = named[role]
        elif role in columns or found:
            roles[role] = role if role in columns else found[0]
    if "model" not in roles:
        roles |= {
            role: template
            for role in WIDE
            if role not in named and (template := _template(columns, NAMES[role].split()))
        }
    return roles


def _template(columns: list[str], names: list[str]) -> str | None:
    """Return the template of two or more columns, such as "{}_answer" for the name "answer"."""
    templates = []
    for column in columns:
        parts = re.split(r"([ _.:/|-]+)", column)
        for at, name in ((0, parts[0]), (len(parts) - 1, parts[-1])):
            if len(parts) > 2 and name.casefold() in names:
                rest = parts[2:] if at == 0 else parts[:-2]
                templates.append(column.replace("".join(rest), "{}", 1))
    best = max(templates, key=templates.count, default="")
    return best if templates.count(best) > 1 else None


def _missing_columns(roles: Mapping[str, str], cost: Any) -> Iterator[Fault]:
    """Yield a fault per required role without a column."""
    if "sample" not in roles:
        yield Fault(SAMPLES, 0, (), "Name it with --sample")
    if "model" not in roles and not any("{}" in column for column in roles.values()):
        remedy = "Name it with --model. For one column per model, use --prediction '{}_answer'"
        yield Fault(MODELS, 0, (), remedy)
    if "correct" not in roles and not {"label", "prediction"} <= roles.keys():
        remedy = "Name them with --label and --prediction, or with --correct"
        yield Fault("columns of correct answers that were recognized", 0, (), remedy)
    if "cost" not in roles and not isinstance(cost, Mapping):
        remedy = "Name it with --cost, or give prices of queries as --cost small=1,large=10"
        yield Fault("columns of costs that were recognized", 0, (), remedy)


def find_remarks(table: ScoreTable) -> Iterator[Fault]:
    """Yield the faults of a readable table: shifted rows, useless confidences, foreign answers.

    A confidence is also useless if it is lower for correct answers than for wrong ones. Answers are
    foreign if they are not labels and there are few classes.
    """
    alignment = check_alignment(table)
    if alignment.status == "violated":
        what = "models whose rows are not aligned with others"
        yield Fault(what, 1, (alignment.evidence,), "Check the join by sample id")
    tops = []
    for row, name in enumerate(table.names):
        confidence = table.confidence[row]
        finite = confidence[np.isfinite(confidence)]
        tops.append(finite.max(initial=0))
        if len(finite) > 1 and (finite == finite[0]).all():
            what = f"confidences of model {name!r} that are all {finite[0]:g} and useless"
            yield Fault(what, len(finite), ())
        if table.correct is not None and table.correct.dtype == bool:
            ranks = pd.Series(confidence).rank().to_numpy()
            parts = [ranks[table.correct[row] == one] for one in (True, False)]
            spread = sum(part.var() / max(len(part), 1) for part in parts if len(part)) ** 0.5
            if min(map(len, parts)) > 1 and parts[0].mean() - parts[1].mean() < REVERSED * spread:
                what = f"confidences of model {name!r} that are lower if the answer is correct"
                yield Fault(what, len(ranks), (), "Negate them if they are losses or entropies")
        if table.labels is not None and table.predictions is not None:
            predictions = table.predictions[row]
            foreign = predictions[find_foreign_answers(predictions, table.labels)]
            if len(foreign):
                classes = np.unique(table.labels)
                counts = pd.Series(foreign).value_counts()[:SHOWN]
                examples = tuple(f"{text!r} {count:,} times" for text, count in counts.items())
                what = f"predictions of model {name!r} that are none of {len(classes)} labels"
                yield Fault(what, len(foreign), examples, "They count as wrong")
    percent = tuple(name for name, top in zip(table.names, tops) if 1 < top <= 100)
    if percent and any(0 < top <= 1 for top in tops):
        yield Fault("models with confidences above 1, unlike others", len(percent), percent)


def _format_command(path: str, arguments: Mapping[str, Any], samples: int) -> str:
    """Return the shell command that certifies a cascade of a file.

    Its epsilon is the smallest of :data:`LOSSES` that is at least 12 ÷ samples. If there is none,
    it is the largest. Half of the samples certify the cascade. If its loss were 12 ÷ samples, six
    of these would be lost on average. The probability that none is lost would be at most 0.25%.
    """
    words = ["cascadelib", "certify", path]
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            value = ",".join(f"{model}={price:g}" for model, price in value.items())
        words += [f"--{key}", value]
    losses = (share for share in LOSSES if 12 / samples <= float(share[:-1]) / 100)
    return shlex.join([*words, "--epsilon", next(losses, LOSSES[-1])])
