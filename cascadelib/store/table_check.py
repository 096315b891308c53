"""Check a table of scores: recognize its columns, list the rules for its cells, and write the
command that certifies it.
"""

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd

from .score_table import ScoreTable
from .tables.answers import ACCEPTED, describe_gaps, find_option, find_unreadable, labels_of
from .tables.cells import ANSWERS, SKIP, UNSURE, Cells, select_samples
from .tables.rules import Rule, describe_rules, has_faults
from .tables.tidy import find_unread, open_frame, read_tidy, roles_of, source_of

# Usual names of columns, in lower case without punctuation. The first existing one is used.
NAMES = {
    "sample": "sample sampleid id queryid query qid questionid question customid docid exampleid "
    "example itemid item uid frage frageid fragenr teilnehmer teilnehmernr index idx row",
    "model": "model modelname modelid service system llm engine who provider modell modellname "
    "modèle",
    "prediction": "prediction predicted pred preds predictedlabel answer output response said says "
    "modelanswer givenanswer reply text completion antwort gegebeneantwort réponse",
    "label": "label labels truth groundtruth gold goldlabel target reference expected ytrue class "
    "correctanswer trueanswer wahrheit richtigeantwort vérité",
    "confidence": "confidence conf score probability prob maxprob certainty sure p konfidenz "
    "sicherheit confiance",
    "cost": "cost price usd dollars eur fee kosten preis prix coût latency seconds macs flops",
    "correct": "correct iscorrect right exactmatch acc hit richtig juste",
}
WIDE = ("prediction", "confidence", "cost", "correct")  # may have one column per model
UNLABELLED = "--label and --prediction, or --correct"
LOSSES = "1% 2% 5% 10% 20%".split()  # values of --epsilon that a command may have
KEPT = {  # what is read instead of rows that are not dropped, by their remedy
    SKIP: "as missing answers",
    UNSURE: "as too low for every threshold, so that the next model decides",
}


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
    rules : list of Rule
        The rules that concern some cells. If one is a fault, the table cannot be read before the
        fault is corrected.
    options : dict
        Further options of :meth:`ScoreTable.from_frame` that read the table.
    table : ScoreTable or None
        The table that the command reads.
    """

    source: str
    columns: dict[str, str]
    rules: list[Rule]
    options: dict[str, Any]
    table: ScoreTable | None

    @property
    def faults(self) -> pd.DataFrame:
        """One row per rule: fault, count, examples (with sample id and line), remedy, read.

        The last column is what is read instead. It is "" if the fault must be corrected.
        """
        table = pd.DataFrame(map(vars, self.rules), columns=[*Rule.__annotations__])
        return table.rename(columns={"name": "fault"})

    @property
    def command(self) -> str:
        """The command that certifies the file, or the call that reads the frame.

        It is empty if faults must be corrected first, or if there are no labels.
        """
        table = self.table
        if table is None or table.correct is None or has_faults(self.rules):
            return ""
        return format_command(self.source, self.columns, self.options, len(table))

    def __str__(self) -> str:
        named = ", ".join(f"{role} {column!r}" for role, column in self.columns.items())
        lines = [f"{self.source}: {named or 'no columns were recognized'}"]
        parts = {"Faults that must be corrected:": False, "Read by steps:": True}
        for title, is_read in parts.items():
            text = describe_rules(rule for rule in self.rules if bool(rule.read) == is_read)
            lines += [title, text] if text else []
        if not self.rules:
            lines.append("no faults")
        if self.table is not None:
            lines += describe_table(self.table)
        lines.append(self.command or "Correct these faults, then run the check again.")
        return "\n".join(lines)


def describe_table(table: ScoreTable) -> list[str]:
    """Return lines with the numbers of samples and missing answers, and the models."""
    count = len(table)
    models = table.models.rename_axis(None).rename(columns={"top1": "accuracy"})
    lines = (
        f"{count:,} of {count + table.dropped:,} samples, {table.dropped:,} dropped",
        describe_gaps(table, table.names),
        models.to_string(float_format="{:.4g}".format),
    )
    return list(filter(None, lines))


def check_table(
    frame: Any,
    *,
    cost: str | list[str] | Mapping[str, float] | None = None,
    models: list[str] | None = None,
    missing: str | None = None,
    answer: Any = None,
    decimal: str | None = None,
    encoding: str | None = None,
    **columns: str | None,
) -> TableReport:
    """List the rules for the cells of a table of scores, and the command that reads it.

    Parameters
    ----------
    frame : path, pandas.DataFrame, or a frame that narwhals supports
        A long or wide table, as for :meth:`ScoreTable.from_frame`.
    cost : str, list of str, or mapping of str to float, optional
        Columns of the cost of a query, or {model: cost}.
    models : list of str, optional
        The models to read, in this order.
    missing : {"refuse", "drop", "abstain", "wrong"}, optional
        As for :meth:`ScoreTable.from_frame`. Defaults to "abstain" if cells are missing, and to
        "drop" if samples have no label.
    answer : {"exact", "first word"}, regular expression or callable, optional
        As for :meth:`ScoreTable.from_frame`. Defaults to an option that reads all unreadable
        answers as the only label that they contain, if there is one.
    decimal : {".", ","}, optional
        Sign before decimals, as for :meth:`ScoreTable.from_frame`.
    encoding : str, optional
        Encoding of a CSV file. If the file is not in UTF-8, cp1252 (Windows) is tried.
    **columns : str
        Columns by role: sample, model, confidence, label, prediction, correct. In a wide table, {}
        is the name of the model, such as ``prediction="{}_answer"``. Columns of other roles are
        recognized by their names. ``confidence=None`` means that there are no confidences.

    Returns
    -------
    TableReport
        ``report.faults`` has one row per rule. ``str(report)`` is the full report.

    See Also
    --------
    ScoreTable.from_frame : Read the table, or raise an error with the same faults.

    Examples
    --------
    >>> import cascadelib as cl
    >>> import pandas as pd
    >>> answers = {"id": ["a", "b"], "model": "m", "answer": ["x", "Y."], "gold": ["x", "y"]}
    >>> report = cl.check_table(pd.DataFrame(answers), cost={"m": 1})
    >>> report.columns["prediction"], report.faults["count"].tolist()
    ('answer', [1])
    >>> print(report.command)
    ScoreTable.from_frame(frame, sample='id', prediction='answer', label='gold', cost={'m': 1})
    """
    options: dict[str, Any] = {
        "models": models,
        "missing": missing,
        "answer": answer,
        "decimal": decimal,
        "cost": dict(cost) if isinstance(cost, Mapping) else None,
    }
    is_unsure = columns.get("confidence", "") is None
    roles: dict[str, str] = {}
    rules: list[Rule] = []
    table = None
    try:
        opened, options["encoding"] = open_in_two_encodings(frame, encoding)
        roles, prices = guess_columns(list(map(str, opened[0].columns)), columns, cost)
        wanted = roles if is_unsure else {"confidence": "confidence"} | roles
        rules = find_missing_columns(roles, prices)
        if all(UNLABELLED in rule.remedy and "prediction" in roles for rule in rules):
            cells, cell_rules = read_tidy(*opened, wanted, models, decimal)
            rules += cell_rules
            table, found = choose_options(cells, prices, options)
            rules += found
            if has_faults(cell_rules + found):
                table = None
        else:
            rules += find_unread(opened[0], wanted)
    except ValueError as error:
        rules.append(Rule("tables that cannot be read", 1, (str(error),)))
    used = {name: value for name, value in options.items() if value is not None}
    if is_unsure:
        used["confidence"] = None
    return TableReport(source_of(frame), roles, rules, used, table)


def open_in_two_encodings(
    frame: Any, encoding: str | None
) -> tuple[tuple[pd.DataFrame, Any], str | None]:
    """Return the result of :func:`open_frame` and the encoding, that of Windows if none fits."""
    try:
        return open_frame(frame, encoding=encoding), encoding
    except ValueError as error:
        if encoding is not None or "encoding=" not in str(error):
            raise
    return open_frame(frame, encoding="cp1252"), "cp1252"


def choose_options(
    cells: Cells, prices: Mapping[str, float] | None, options: dict[str, Any]
) -> tuple[ScoreTable, list[Rule]]:
    """Return the table, and the rules for its cells.

    If an option of ``from_frame`` corrects a fault, this option is added to ``options``.
    """
    gaps = choose_missing(cells, options)
    read = partial(ScoreTable.of_cells, cells, prices, options["missing"] or "refuse")
    table: Any
    table, rules = read(options["answer"])
    if options["missing"] == ACCEPTED or has_faults(rules):
        return table, gaps + rules
    unreadable = find_unreadable(table, table.names)
    if unreadable and options["answer"] is None:
        texts = pd.unique(table.predictions[table.unreadable]).tolist()
        options["answer"] = find_option(texts, labels_of(table))
        table, rules = read(options["answer"])
        unreadable = find_unreadable(table, table.names)
    return table, gaps + rules + unreadable


def choose_missing(cells: Cells, options: dict[str, Any]) -> list[Rule]:
    """Choose what missing cells are read as, and return the rules for these cells.

    Samples without a label can only be dropped. Others are kept, since those that lack an answer
    may be the difficult ones.
    """
    if options["missing"] is not None:
        return []
    _, rules = select_samples(cells, "refuse")
    gaps = [rule for rule in rules if rule.remedy in (SKIP, UNSURE)]
    if not gaps:
        return []
    select_samples(cells, "drop")  # a ValueError if no sample has a row of each model
    _, others = select_samples(cells, "abstain")
    missing = "drop" if others else "abstain"
    options["missing"] = missing
    read_as = dict.fromkeys(KEPT, "without their samples") if others else KEPT
    return [
        replace(rule, read=f"{read_as[rule.remedy]}, missing={missing!r}", remedy="")
        for rule in gaps
    ]


def guess_columns(
    columns: list[str], named: Mapping[str, str | None], cost: Any
) -> tuple[dict[str, str], dict[str, float] | None]:
    """Return the named columns and those with a usual name (:data:`NAMES`), and prices by model."""
    plain = {re.sub(r"[\W_]", "", column.casefold()): column for column in reversed(columns)}
    plain |= {role: role for role in NAMES if role in columns}
    roles = {}
    for role, names in NAMES.items():
        usual = map(plain.get, names.split())
        column = named.get(role, next(filter(None, usual), None))
        if column:
            roles[role] = column
    if "model" not in roles:
        for role in WIDE:
            template = find_template(columns, NAMES[role])
            if template and role not in named:
                roles[role] = template
    if cost is None:
        return roles, None
    roles.pop("cost", None)
    return roles_of(roles, cost)


def find_template(columns: list[str], names: str) -> str | None:
    """Return the template of two or more columns, such as "{}_answer" for the name "answer"."""
    name = f"({'|'.join(names.split())})"
    mark = r"[ _.:/|-]+"
    pattern = re.compile(f"(?i)(?P<before>{name}{mark})?(?P<model>.+?)(?P<after>{mark}{name})?")
    matches = filter(None, map(pattern.fullmatch, columns))
    counts = Counter(f"{match['before'] or ''}{{}}{match['after'] or ''}" for match in matches)
    del counts["{}"]
    best, count = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return best if count > 1 else None


def find_missing_columns(roles: Mapping[str, str], prices: Any) -> list[Rule]:
    """Return a fault per required role without a column."""
    has_model = "model" in roles or any("{}" in column for column in roles.values())
    has_prices = prices is not None or columns_of_costs(roles)
    is_judged = "correct" in roles or {"label", "prediction"} <= roles.keys()
    needs = (
        ("--sample", ["sample"], "sample" in roles),
        ("--model, or, if each has a column, --prediction '{}_answer'", ["model"], has_model),
        (UNLABELLED, ANSWERS, is_judged),
        ("--cost, or prices as in --cost small=1,large=10", ["cost"], has_prices),
    )
    rules = []
    for option, accepted, is_known in needs:
        names = " ".join(NAMES[role] for role in accepted).replace(" ", ", ")
        if not is_known:
            what = f"recognized columns (their names: {names})"
            rules.append(Rule(what, 0, remedy=f"Name them with {option}"))
    return rules


def columns_of_costs(roles: Mapping[str, str]) -> list[str]:
    """Return the columns of costs."""
    return [name for role, name in roles.items() if role.partition(" ")[0] == "cost"]


def arguments_of(roles: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of ``from_frame`` for columns, without its defaults."""
    costs = columns_of_costs(roles)
    arguments: dict[str, Any] = {
        role: name
        for role, name in roles.items()
        if name not in costs and (name != role or role in ANSWERS)
    }
    if costs and costs != ["cost"]:
        arguments["cost"] = costs
    return arguments


def format_command(
    source: str, roles: Mapping[str, str], options: Mapping[str, Any], samples: int
) -> str:
    """Return the shell command that certifies a cascade of a file, or the call that reads a frame.

    Its epsilon is the smallest of :data:`LOSSES` that is at least 12 ÷ samples. If there is none,
    it is the largest. Half of the samples certify the cascade. If its loss were 12 ÷ samples, six
    of these would be lost on average. The probability that none is lost would be at most 0.25%.
    """
    arguments = arguments_of(roles) | dict(options)
    if source == "frame":
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"ScoreTable.from_frame(frame, {listed})"
    words = ["cascadelib", "certify", source]
    for key, value in arguments.items():
        if isinstance(value, Mapping):
            value = ",".join(f"{model}={price:g}" for model, price in value.items())
        words += [
            f"--{key.replace('_', '-')}",
            ",".join(value) if isinstance(value, list) else str(value),
        ]
    losses = (share for share in LOSSES if 12 / samples <= float(share[:-1]) / 100)
    return shlex.join([*words, "--epsilon", next(losses, LOSSES[-1])])
