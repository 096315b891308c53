"""The command line, ``cascadelib --help``: from a table of scores to a policy that runs."""

# Imports that take time are in functions, where main catches Ctrl-C.
import json
import os
import re
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from io import TextIOWrapper
from subprocess import SubprocessError
from typing import Any, NoReturn

import cascadelib as cl

EXAMPLE = """a table has a row per query and model:

  sample,model,prediction,confidence,cost,label
  q1,small,yes,0.93,0.2,yes
  q1,large,yes,0.99,0.9,yes
  q2,small,no,0.61,0.2,yes
  …

  cascadelib demo
  cascadelib certify answers.csv --prediction prediction --label label --epsilon 2% \\
      --out policy.json
  cascadelib explore answers.csv --prediction prediction --label label --open
"""
COLUMNS = {  # parameters of ScoreTable.from_frame
    "sample": "column of the queries (default: sample)",
    "model": "column of the models' names (default: model)",
    "confidence": "column of the confidences (default: confidence)",
    "label": "column of the true answers, with --prediction",
    "prediction": "column of the models' answers, with --label",
    "correct": "column with True or False, or a grade in [0, 1], of each answer",
    "normalize": "text: compare answers without case, outer spaces, Unicode forms and .0 of whole "
    "numbers; exact: as written (default: as written, and near misses are an error)",
    "encoding": "of a CSV file (default: utf-8)",
}
POLICY = {"policy": "file of a policy"}
TABLE = {
    "table": "CSV or parquet file, or the folder of a LogitStore",
    **{f"--{name}": text for name, text in COLUMNS.items()},
    "--cost": "column with the price of a query (default: cost), or prices as small=1,large=10; of "
    "a store, the kind of cost (default: macs, if it has them)",
    "--columns": "columns that a fitted confidence reads (default: confidence)",
}
SPLIT = {"--held-out": "another table, or a share of this one (default: 0.5)"}
CHOICE = {
    "--n-models": "lengths of cascades (default: 1 2)",
    "--method": "of any table isotonic_by_label, logistic or auto (default: its confidences "
    "unchanged); of a store, as in search() (default: max_softmax)",
    "--expected": "search expected outcomes",
    "--score": "top1, top<k> or f1 (default: top1)",
    "--out": "file for the policy (default: none is written)",
}
GOALS = {
    "--budget": "largest mean cost a sample",
    "--accuracy": "least accuracy",
    "--loss": "largest loss of accuracy to the best model",
    "--goal": "max_improvement, match_best or near_best",
}
CAUTION = {"--caution": "standard errors inside the goal (default: that of pick(); 0: none)"}
REFERENCE = {
    "--reference": "model of the table whose answers are looked up",
    "--ask": "command that reads ids and prints an answer to each, by line",
}
ANSWER = {
    "--small": "model that answers first (default: the cheapest)",
    "--epsilon": "largest share of wrong answers",
    "--recall": "least recall, with --precision",
    "--precision": "least precision, with --recall",
    "--positive": "class of --recall and --precision",
    "--guarantee": "or mean (default: probability)",
    "--delta": "probability that it fails (default: 5%%)",
    "--plan": "make 200 calls, and estimate the number of further ones",
    "--price": "cost of a call (default: not counted)",
    "--bought": "file that stores answers of the reference (default: none)",
    "--answers": "CSV file for the answers (default: none is written)",
    "--out": "file for the policy (default: none is written)",
}
GUARANTEE = {
    "--epsilon": "largest loss of accuracy: 0.01 or 1%%",
    "--delta": "probability of a larger loss (default: 5%%)",
    "--reference": "model relative to which losses are measured (default: the most accurate)",
    "--clusters": "column of what samples share, such as a user: clusters are then the independent "
    "draws (default: each sample by itself)",
    "--groups": "column of groups, each of which is certified (default: none)",
    "--accept": "violated premises that are accepted (default: none)",
}
PAGE = {
    "--out": "file for the page (default: explorer.html)",
    "--open": "open it in a browser",
}
DEMO = {"--out": "file for the page (default: a temporary one, opened)"}
MEASURED = ("accuracy", "cost", "exit_rates", "improvement")


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def share(text: str) -> float:
    """Return a fraction, from a number or a percentage."""
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def parser_of_all() -> Parser:
    """Return the parser. ``args.does`` is the function of the command."""
    parser = Parser(
        prog="cascadelib",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=cl.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    chosen = TABLE | SPLIT | CHOICE
    for does, about, options in (
        (
            search,
            "choose a cascade on one part of a table, measure it on the other",
            chosen | CAUTION,
        ),
        (
            certify,
            "the cheapest that loses at most epsilon; exit status 1: there is none",
            chosen | GUARANTEE,
        ),
        (
            check,
            "which columns a table has, which cells are invalid, and the command that certifies",
            TABLE,
        ),
        (
            answer,
            "answer a table by its small model, and call a reference for risky rows",
            TABLE | ANSWER,
        ),
        (evaluate, "a policy on a table", POLICY | TABLE),
        (
            explore,
            "write the explorer's page, which needs no server; chosen on one part, checked on the "
            "other",
            TABLE | SPLIT | PAGE,
        ),
        (demo, "the explorer of two language models' answers, as one page", DEMO),
        (show, "the content of a policy file", POLICY),
        (warm, "compile what first searches need, for all later processes", {}),
    ):
        command = commands.add_parser(does.__name__, help=about, description=about)
        required = ("--epsilon",) if does is certify else ()
        add_options(command, options | {"--json": "print JSON"}, required)
        for one, choices in ((search, GOALS), (answer, REFERENCE)):
            if does is one:
                add_options(command.add_mutually_exclusive_group(required=True), choices)
        if does is explore:
            command.set_defaults(out="explorer.html")
        command.set_defaults(does=does)
    return parser


def add_options(parser: Any, options: dict[str, str], required: tuple[str, ...] = ()) -> None:
    """Add options, with their help, to a parser or a group."""
    shares = ("--epsilon", "--delta", "--accuracy", "--loss", "--recall", "--precision")
    kinds: dict[str, dict[str, Any]] = {
        "--n-models": {"type": int, "nargs": "+", "default": [1, 2]},
        "--held-out": {"default": "0.5"},
        "--guarantee": {"default": "probability"},
        **dict.fromkeys(("--columns", "--accept"), {"nargs": "+"}),
        **dict.fromkeys(("--budget", "--caution", "--price"), {"type": float}),
        **dict.fromkeys(shares, {"type": share}),
        **dict.fromkeys(("--expected", "--open", "--json", "--plan"), {"action": "store_true"}),
    }
    kinds["--delta"] = {"type": share, "default": "5%"}
    for flag, text in options.items():
        needed = {"required": True} if flag in required else {}
        parser.add_argument(flag, help=text, **kinds.get(flag, {}), **needed)


def columns_of(args: Namespace) -> dict[str, str]:
    """Return the options that are parameters of ``from_frame``."""
    return {name: getattr(args, name) for name in COLUMNS if getattr(args, name)}


def read_scores(path: str, args: Namespace) -> Any:
    """Return the LogitStore of a folder, or the ScoreTable of a file."""
    from .files import folder_of

    named = columns_of(args)
    if not folder_of(path).is_dir():
        return cl.ScoreTable.from_frame(path, **named, **costs_and_columns(args))
    if named:
        raise ValueError(
            f"{path}: a store has no columns to name: leave out --{', --'.join(named)}"
        )
    return cl.LogitStore(path)


def costs_and_columns(args: Namespace) -> dict[str, Any]:
    """Return the options that may be more than the name of a column."""
    cost: Any = args.cost
    if cost and "=" in cost:
        prices = (price.partition("=") for price in cost.split(","))
        cost = {name: float(price) for name, _, price in prices}
    options = {"columns": args.columns, "cost": cost}
    return {name: value for name, value in options.items() if value}


def read_column(column: str | None, args: Namespace) -> Any:
    """Return the texts of a column of the held-out table, by sample id."""
    from .checks import known
    from .files import folder_of
    from .store.tables.table_files import read_table

    if column is None:
        return None
    path = args.held_out if os.path.exists(args.held_out) else args.table
    if folder_of(path).is_dir():
        raise ValueError(f"{path}: a store has no column {column!r}: give a table")
    frame = read_table(path, encoding=args.encoding)
    names = [known(name, frame.columns, "column") for name in (args.sample or "sample", column)]
    values = frame[names].astype(str).drop_duplicates().set_index(names[0])[column]
    if values.index.has_duplicates:
        sample = values.index[values.index.duplicated()][0]
        raise ValueError(f"{path}: sample {sample!r} has several values of {column!r}: give it one")
    return values.replace({"": None, "<NA>": None})


def read_splits(args: Namespace) -> tuple[Any, Any]:
    """Return the store for the choice, and the held-out one or None."""
    import numpy as np

    store = read_scores(args.table, args)
    try:
        part = float(args.held_out)
    except ValueError:
        return store, read_scores(args.held_out, args)
    if not 0 <= part < 1:
        raise ValueError(f"--held-out: a share from 0 to below 1, or a table, not {args.held_out}")
    count = round(part * len(store))
    if count == 0:
        return store, None
    if count == len(store):
        raise ValueError(f"--held-out {part:g} leaves none of {count} samples to choose on")
    held_out = np.random.default_rng(0).permutation(len(store)) < count
    return store.take(~held_out), store.take(held_out)


def search_front(args: Namespace, store: Any) -> "cl.Front":  # read here, cl.Front imports numpy
    """Return the front of the options."""
    from .methods.fitted import KINDS

    method = args.method
    if method in KINDS:
        method = cl.Method(confidence=method, columns=tuple(args.columns or ["confidence"]))
    return cl.search(
        store,
        args.n_models,
        method,
        score=args.score,
        cost=args.cost if store.path else None,  # a table's cost was named when it was read
        expected=args.expected,
    )


def measure(store: Any, cascade: Any) -> dict[str, Any]:
    """Return the accuracy, cost and exit rates of a cascade on a store."""
    result = cl.evaluate(store, cascade)
    measured = {name: getattr(result, name) for name in MEASURED}
    return {"samples": len(store)} | known_parts(measured)


def write_policy(args: Namespace, point: Any, store: Any, held_out: Any) -> dict[str, Any]:
    """Return the figures of a policy, held out first, and write it to ``--out``."""
    policy = cl.Policy.from_point(point, store, held_out)
    if args.out:
        policy.save(args.out)
    found = {} if held_out is None else {"held_out": measure(held_out, point)}
    return found | known_parts(
        {
            "where_chosen": measure(store, point),
            "expected_accuracy": point.expected_accuracy,
            "models": policy.models,
            "thresholds": parts_of(policy)["thresholds"],
            "policy": args.out,
        }
    )


def search(args: Namespace) -> dict[str, Any]:
    """Choose a cascade by a goal."""
    store, held_out = read_splits(args)
    goals = {name: getattr(args, name) for name in ("accuracy", "loss", "budget", "caution")}
    point = cl.pick(search_front(args, store), args.goal, **goals)
    return write_policy(args, point, store, held_out)


def certify(args: Namespace) -> dict[str, Any]:
    """Choose the cheapest cascade that is certified."""
    store, held_out = read_splits(args)
    if held_out is None:
        raise ValueError("a certificate needs samples that chose nothing: --held-out")
    certificate = cl.certify(
        held_out,
        search_front(args, store),
        args.epsilon,
        args.delta,
        args.reference,
        clusters=read_column(args.clusters, args),
        groups=read_column(args.groups, args),
        accept=args.accept or (),
    )
    point = certificate.point
    found = {"certificate": str(certificate), "certified": point is not None}
    if point is None:
        return {"summary": "nothing is certified"} | found
    from .evaluation.pareto import improvement_factor
    from .tables import times

    cost = cl.evaluate(held_out, point).cost
    saving = times(improvement_factor(certificate.reference_cost, cost))
    summary = f"{point.chain} {certificate.promise}, at a saving of {saving} ×"
    return {"summary": summary} | found | write_policy(args, point, store, held_out)


def answer(args: Namespace) -> dict[str, Any]:
    """Answer a table, and write its answers and the policy for new rows."""
    import shelve
    from contextlib import nullcontext
    from functools import partial

    import pandas as pd

    table = read_scores(args.table, args)
    names = ("epsilon", "recall", "precision", "positive", "guarantee", "delta", "plan", "price")
    options = {name: getattr(args, name) for name in names}
    small = table.select([args.small or table.models.index[0]])
    ids = table.origin.sample_ids
    ask: Any = partial(call_command, args.ask)
    if args.reference:
        ask = pd.Series(table.predicted(args.reference), ids).reindex
    new: dict[str, str] = {}
    with shelve.open(args.bought) if args.bought else nullcontext(new) as bought:
        result = cl.answer_table(small, ask, **options, bought=bought)
    if args.plan:
        return {"plan": str(result)} | known_parts(vars(result))
    if args.answers:
        columns = {"sample": ids, "answer": result.answers, "asked": result.asked}
        pd.DataFrame(columns).to_csv(args.answers, index=False)
    if args.out:
        result.policy.save(args.out)
    counts = {"rows": len(table), "calls": int(result.asked.sum()), "cost": result.cost}
    files = {"answers": args.answers, "policy": args.out}
    return known_parts({"summary": str(result)} | counts | files)


def call_command(command: str, ids: list[str]) -> list[str]:
    """Return the lines that a shell command prints for ids."""
    import subprocess

    read = "\n".join(ids)
    done = subprocess.run(command, shell=True, input=read, stdout=-1, text=True, check=True)
    return done.stdout.splitlines()


def check(args: Namespace) -> dict[str, Any] | str:
    """Check a table, and name the command that reads it."""
    cost = costs_and_columns(args).get("cost")
    report = cl.check_table(args.table, cost=cost, **columns_of(args))
    if not args.json:
        return str(report)
    faults = report.faults.to_dict("records")
    return {"columns": report.columns, "faults": faults, "command": report.command}


def evaluate(args: Namespace) -> dict[str, Any]:
    """Measure a policy on a table, next to its expected figures."""
    policy = cl.Policy.load(args.policy)
    here = measure(read_scores(args.table, args), policy)
    return known_parts({"here": here, "expected": expected_of(parts_of(policy))})


def show(args: Namespace) -> dict[str, Any]:
    """Print the content of a policy file."""
    policy = cl.Policy.load(args.policy)
    parts = parts_of(policy)
    if args.json:
        return parts
    premises = {
        f"premise {premise['name']}": f"{premise['status']}: {premise['evidence']}"
        for premise in parts.get("premises", [])
    }
    found = {"policy": repr(policy), "expected": expected_of(parts), "chosen": parts["chosen"]}
    return known_parts(found) | premises


def parts_of(policy: Any) -> dict[str, Any]:
    """Return the parts of a policy's file."""
    from .policy.form import parts_as_json

    return parts_as_json(policy.point)


def expected_of(parts: dict[str, Any]) -> dict[str, Any] | None:
    """Return the expected accuracy, cost and exit rates in a policy's file, or None."""
    expected = parts.get("expected")
    return expected and {name: expected[name] for name in MEASURED[:3]}


def explore(args: Namespace) -> dict[str, Any]:
    """Write the explorer of a table as one page."""
    page = cl.explore(*read_splits(args)).save_html(args.out)
    if args.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return {"page": str(page)}


def demo(args: Namespace) -> dict[str, Any]:
    """Write the explorer of the bundled table."""
    return {"page": str(cl.demo(args.out, browser=args.out is None))}


def warm(args: Namespace) -> dict[str, Any]:
    """Compile the kernels."""
    cl.warm()
    return {}


def check_out(args: Namespace) -> None:
    """Raise OSError or ValueError, before a long search, if ``--out`` can't be written or is an
    input."""
    from pathlib import Path

    from .files import check_replaceable

    if out := getattr(args, "out", None):
        inputs = [getattr(args, name, None) for name in ("table", "held_out", "policy")]
        for path in filter(None, inputs):
            if os.path.exists(out) and os.path.exists(path) and os.path.samefile(out, path):
                raise ValueError(f"--out {out} is an input: choose another name")
        check_replaceable(Path(out))


def known_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that are known: neither None nor nan."""
    return {name: value for name, value in parts.items() if value is not None and value == value}


def with_options(message: str, options: dict[str, Any]) -> str:
    """Return a message with the arguments that are ``options`` as on the command line.

    Examples
    --------
    >>> with_options("accept=('rows aligned',) certifies", {"accept": None})
    "--accept 'rows aligned' certifies"
    """

    def option(match: re.Match) -> str:
        name, value = match.groups()
        if name not in options:
            return match[0]
        return f"--{name.replace('_', '-')} {value}".rstrip()

    return re.sub(r"(?<![\w(.])([a-z_]+)=\(?('[^']*'|[^\s'(),;:]*)(?:,\))?", option, message)


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status.

    The status is 0, 1 if nothing is certified, 2 after an error, which is one line, or 130 after
    Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may not support "→"
            stream.reconfigure(errors="backslashreplace")
    options: dict[str, Any] = {}
    try:
        parser = parser_of_all()
        if not argv:
            parser.print_help()
            return 0
        args = parser.parse_args(argv)
        options = vars(args)
        check_out(args)
        found = args.does(args)
        if isinstance(found, str):
            print(found, flush=True)
            return 0
        text = json.dumps(found, ensure_ascii=False)
        found = json.loads(text, parse_constant=lambda _: None)  # nan and inf are null
        for line in lines_of(found, args.json):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, LookupError, OSError, ImportError, SubprocessError) as error:
        message = with_options(" ".join(str(error).split()), options)
        remedy = ": pip install 'cascadelib[explore]'" if isinstance(error, ImportError) else ""
        print(f"cascadelib: {message}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cascadelib: interrupted", file=sys.stderr)
        return 130  # the shell's status after Ctrl-C
    return int(found.get("certified") is False)


def lines_of(found: dict[str, Any], as_json: bool) -> list[str]:
    """Return a result as JSON, or as lines of rounded numbers without brackets and quotes."""
    if as_json:
        return [json.dumps(found, indent=2, ensure_ascii=False)]
    rounded = json.loads(json.dumps(found), parse_float=lambda text: float(f"{float(text):.4g}"))
    marks = dict.fromkeys(map(ord, '{}[]"'))
    return [
        f"{key}: {json.dumps(value, ensure_ascii=False)}".translate(marks)
        for key, value in rounded.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
