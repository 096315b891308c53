"""The command line, ``cascadelib --help``: from a table of scores to a policy that runs."""

# Imports that take time are in functions, where main catches Ctrl-C.
import json
import os
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from io import TextIOWrapper
from subprocess import SubprocessError
from typing import Any, NoReturn

import cascadelib as cl

NAMED = {  # as from_frame names them
    "sample": "column of the queries (default: sample)",
    "model": "column of the models' names (default: model)",
    "confidence": "column of the confidences (default: confidence)",
    "label": "column of the true answers, with --prediction",
    "prediction": "column of the models' answers, with --label",
    "correct": "column that says whether an answer is correct, or its grade in [0, 1]",
    "normalize": "text: compare answers without case, outer spaces, Unicode forms and .0 of whole "
    "numbers; exact: as written (default: as written, and near misses are an error)",
    "encoding": "of a CSV file (default: utf-8)",
    "missing": "missing rows and confidences: refuse, drop or abstain (default: refuse)",
}
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
MEASURED = ("accuracy", "cost", "exit_rates", "improvement")


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def share(text: str) -> float:
    """A fraction, or a number of percent with its sign."""
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def parser_of_all() -> Parser:
    """The parser; ``args.does`` is the function of the command."""
    policy = Parser(add_help=False)
    table = Parser(add_help=False)
    choice = Parser(add_help=False)
    split = Parser(add_help=False)
    policy.add_argument("policy", help="file of a policy")
    table.add_argument("table", help="CSV or parquet file, or the folder of a LogitStore")
    for name, about in NAMED.items():
        table.add_argument(f"--{name}", help=about)
    table.add_argument(
        "--cost",
        help="column with the price of a query (default: cost), or prices as small=1,large=10; of "
        "a store, the kind of cost (default: macs, where there are any)",
    )
    table.add_argument(
        "--columns", nargs="+", help="what a fitted confidence reads (default: confidence)"
    )
    split.add_argument(
        "--held-out", default="0.5", help="another table, or a share of this one (default: 0.5)"
    )
    choice.add_argument(
        "--n-models", type=int, nargs="+", default=[1, 2], help="lengths of cascades (default: 1 2)"
    )
    choice.add_argument(
        "--method",
        help="of any table isotonic_by_label, logistic or auto (default: its confidences as they "
        "are); of a store, as search() has it (default: max_softmax)",
    )
    choice.add_argument("--expected", action="store_true", help="search expected outcomes")
    choice.add_argument("--score", help="top1, top<k> or f1 (default: top1)")
    choice.add_argument("--out", help="file for the policy (default: none is written)")
    parser = Parser(
        prog="cascadelib",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=cl.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, does: Callable, parents: list[Parser], about: str) -> ArgumentParser:
        own = commands.add_parser(name, parents=parents, help=about, description=about)
        own.add_argument("--json", action="store_true", help="print JSON")
        own.set_defaults(does=does)
        return own

    search = command(
        "search",
        _search,
        [table, split, choice],
        "choose a cascade on one part of a table, measure it on the other",
    )
    certify = command(
        "certify",
        _certify,
        [table, split, choice],
        "the cheapest that loses at most epsilon; exit status 1: there is none",
    )
    command(
        "check",
        _check,
        [table],
        "which columns a table has, what is wrong with its cells, and the command that certifies",
    )
    add_answer_options(
        command(
            "answer",
            _answer,
            [table],
            "answer a table by its small model, and call a reference for risky rows",
        )
    )
    command("evaluate", _evaluate, [policy, table], "a policy on a table")
    explore = command(
        "explore",
        _explore,
        [table, split],
        "write the explorer's page, which needs no server; chosen on one part, checked on the "
        "other",
    )
    demo = command("demo", _demo, [], "the explorer of two language models' answers, as one page")
    demo.add_argument("--out", help="file for the page (default: a temporary one, opened)")
    command("show", _show, [policy], "what a file says")
    command(
        "warm", lambda _: cl.warm(), [], "compile what first searches need, for all later processes"
    )
    goal = search.add_mutually_exclusive_group(required=True)
    goal.add_argument("--budget", type=float, help="largest mean cost a sample")
    goal.add_argument("--accuracy", type=share, help="least accuracy")
    goal.add_argument("--loss", type=share, help="largest loss of accuracy to the best model")
    goal.add_argument("--goal", help="max_improvement, match_best or near_best")
    search.add_argument(
        "--caution",
        type=float,
        help="standard errors inside the goal (default: as pick() has it; 0: none)",
    )
    certify.add_argument(
        "--epsilon", type=share, required=True, help="largest loss of accuracy: 0.01 or 1%%"
    )
    certify.add_argument(
        "--delta", type=share, default=0.05, help="probability that it loses more (default: 5%%)"
    )
    certify.add_argument(
        "--accept",
        nargs="+",
        help="violated premises to certify with all the same (default: none)",
    )
    certify.add_argument(
        "--check",
        metavar="POLICY",
        help="certify the policy of this file on the table (default: choose one)",
    )
    certify.add_argument("--reference", help="model to lose against (default: the most accurate)")
    explore.add_argument(
        "--out", default="explorer.html", help="file for the page (default: explorer.html)"
    )
    explore.add_argument("--open", action="store_true", help="open it in a browser")
    return parser


def add_answer_options(answer: ArgumentParser) -> None:
    """Add the options of ``cascadelib answer``."""
    called = answer.add_mutually_exclusive_group(required=True)
    called.add_argument("--reference", help="model of the table whose answers are looked up")
    called.add_argument(
        "--ask", help="command that reads ids and prints an answer to each, by line"
    )
    answer.add_argument("--small", help="model that answers first (default: the cheapest)")
    answer.add_argument("--epsilon", type=share, help="largest share of wrong answers")
    answer.add_argument("--recall", type=share, help="least recall, with --precision")
    answer.add_argument("--precision", type=share, help="least precision, with --recall")
    answer.add_argument("--positive", help="class of --recall and --precision")
    answer.add_argument("--guarantee", default="probability", help="or mean (default: probability)")
    answer.add_argument(
        "--delta", type=share, default=0.05, help="probability that it fails (default: 5%%)"
    )
    answer.add_argument("--plan", action="store_true", help="make 200 calls, and say how many more")
    answer.add_argument("--price", type=float, help="cost of a call (default: not counted)")
    answer.add_argument("--bought", help="file that keeps answers of the reference (default: none)")
    answer.add_argument("--answers", help="CSV file for the answers (default: none is written)")
    answer.add_argument("--out", help="file for the policy (default: none is written)")


def _scores(path: str, args: Namespace) -> Any:
    """The LogitStore of a folder, or the ScoreTable of a file with the columns that were named."""
    from .files import folder_of

    named = {name: getattr(args, name) for name in NAMED if getattr(args, name)}
    if not folder_of(path).is_dir():
        return cl.ScoreTable.from_frame(path, **named, **_costs_and_columns(args))
    if named:
        raise ValueError(
            f"{path}: a store has no columns to name: leave out --{', --'.join(named)}"
        )
    return cl.LogitStore(path)


def _costs_and_columns(args: Namespace) -> dict[str, Any]:
    """The options that are more than the name of a column."""
    more: dict[str, Any] = {"columns": args.columns} if args.columns else {}
    if args.cost and "=" in args.cost:
        prices = (price.partition("=") for price in args.cost.split(","))
        return more | {"cost": {name: float(price) for name, _, price in prices}}
    return more | ({"cost": args.cost} if args.cost else {})


def _splits(args: Namespace) -> tuple[Any, Any]:
    """(store to choose on, held-out one or None)."""
    import numpy as np

    store = _scores(args.table, args)
    try:
        share = float(args.held_out)
    except ValueError:
        return store, _scores(args.held_out, args)
    if not 0 <= share < 1:
        raise ValueError(f"--held-out: a share from 0 to below 1, or a table, not {args.held_out}")
    count = round(share * len(store))
    if count == 0:
        return store, None
    if count == len(store):
        raise ValueError(f"--held-out {share:g} leaves none of {count} samples to choose on")
    held_out = np.random.default_rng(0).permutation(len(store)) < count
    return store.take(~held_out), store.take(held_out)


def _front(args: Namespace, store: Any) -> "cl.Front":  # read here, cl.Front imports numpy
    """The front that the options ask for."""
    from .methods.fitted import KINDS

    fitted = {"confidence": args.method, "columns": tuple(args.columns or ["confidence"])}
    method = cl.Method(**fitted) if args.method in KINDS else args.method
    return cl.search(
        store,
        args.n_models,
        method,
        score=args.score,
        cost=args.cost if store.path else None,  # of a table the column, named when it was read
        expected=args.expected,
    )


def _measured(store: Any, point: Any) -> dict[str, Any]:
    """What a point comes to on a store."""
    result = cl.evaluate(store, point)
    measured = {name: getattr(result, name) for name in MEASURED}
    return {"samples": len(store)} | known_parts(measured)


def _written(args: Namespace, point: Any, store: Any, held_out: Any) -> dict[str, Any]:
    """What a policy comes to, held out first; it is written where that was asked for."""
    policy = cl.Policy.from_point(point, store, held_out)
    if args.out:
        policy.save(args.out)
    said = {} if held_out is None else {"held_out": _measured(held_out, point)}
    return said | known_parts(
        {
            "where_chosen": _measured(store, point),
            "expected_accuracy": point.expected_accuracy,
            "models": policy.models,
            "thresholds": _parts(policy)["thresholds"],
            "policy": args.out,
        }
    )


def _search(args: Namespace) -> dict[str, Any]:
    """Choose a cascade by a goal."""
    store, held_out = _splits(args)
    asked = {name: getattr(args, name) for name in ("accuracy", "loss", "budget", "caution")}
    point = cl.pick(_front(args, store), args.goal, **asked)
    return _written(args, point, store, held_out)


def _certify(args: Namespace) -> dict[str, Any]:
    """Choose the cheapest cascade that is certified, or certify the policy of a file."""
    if args.check:
        return _certify_file(args)
    store, held_out = _splits(args)
    if held_out is None:
        raise ValueError("a certificate needs samples that chose nothing: --held-out")
    certificate = cl.certify(
        held_out,
        _front(args, store),
        args.epsilon,
        args.delta,
        args.reference,
        accept=args.accept or (),
    )
    point = certificate.point
    said = {"certificate": str(certificate), "certified": point is not None}
    if point is None:
        return {"summary": "nothing is certified"} | said
    from .evaluation.pareto import improvement_factor
    from .tables import times

    cost = cl.evaluate(held_out, point).cost
    saving = times(improvement_factor(certificate.reference_cost, cost))
    summary = f"{point.chain} {certificate.promise}, at a saving of {saving} ×"
    return {"summary": summary} | said | _written(args, point, store, held_out)


def _certify_file(args: Namespace) -> dict[str, Any]:
    """Certify the policy of a file on a table that it has not seen."""
    if args.out:
        raise ValueError("--check writes no policy: leave out --out")
    policy = cl.Policy.load(args.check)
    store = _scores(args.table, args)
    reference = args.reference or policy.models[-1]
    certificate = cl.certify(
        store, policy, args.epsilon, args.delta, reference, accept=args.accept or ()
    )
    is_certified = certificate.point is not None
    summary = f"{args.check} is {'' if is_certified else 'not '}certified on {args.table}"
    said = {"summary": summary, "certificate": str(certificate), "certified": is_certified}
    return said | {"here": _measured(store, policy)}


def _answer(args: Namespace) -> dict[str, Any]:
    """Answer a table, and write its answers and the policy for new rows."""
    import shelve
    from contextlib import nullcontext
    from functools import partial

    import pandas as pd

    table = _scores(args.table, args)
    names = ("epsilon", "recall", "precision", "positive", "guarantee", "delta", "plan", "price")
    options = {name: getattr(args, name) for name in names}
    small = table.select([args.small or table.models.index[0]])
    ids = table.origin.sample_ids
    ask: Callable = partial(_printed_answers, args.ask)
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


def _printed_answers(command: str, ids: list[str]) -> list[str]:
    """Return what a shell command prints for ids, one a line."""
    import subprocess

    read = "\n".join(ids)
    done = subprocess.run(command, shell=True, input=read, stdout=-1, text=True, check=True)
    return done.stdout.splitlines()


def _check(args: Namespace) -> dict[str, Any] | str:
    """What is wrong with a table, and the command that reads it."""
    named = {name: getattr(args, name) for name in NAMED if getattr(args, name)}
    cost = _costs_and_columns(args).get("cost")
    report = cl.check_table(args.table, cost=cost, **named)
    if not args.json:
        return str(report)
    faults = report.faults.to_dict("records")
    return {"columns": report.columns, "faults": faults, "command": report.command}


def _evaluate(args: Namespace) -> dict[str, Any]:
    """What a policy comes to on a table, beside what was expected of it."""
    policy = cl.Policy.load(args.policy)
    here = _measured(_scores(args.table, args), policy)
    return known_parts({"here": here, "expected": _expected(policy)})


def _show(args: Namespace) -> dict[str, Any]:
    """What a policy says."""
    policy = cl.Policy.load(args.policy)
    parts = _parts(policy)
    if args.json:
        return parts
    premises = {
        f"premise {premise['name']}": f"{premise['status']}: {premise['evidence']}"
        for premise in parts.get("premises", [])
    }
    said = {"policy": repr(policy), "expected": _expected(policy), "chosen": parts["chosen"]}
    return known_parts(said) | premises


def _parts(policy: Any) -> dict[str, Any]:
    """The parts of a policy's file."""
    from .policy.form import parts_as_json

    return parts_as_json(policy.point)


def _expected(policy: Any) -> dict[str, Any] | None:
    """What a policy is expected to come to, where its file says so."""
    expected = _parts(policy).get("expected")
    return expected and {name: expected[name] for name in MEASURED[:3]}


def _explore(args: Namespace) -> dict[str, Any]:
    """Write the explorer of a table as one page."""
    page = cl.explore(*_splits(args)).save_html(args.out)
    if args.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())
    return {"page": str(page)}


def _demo(args: Namespace) -> dict[str, Any]:
    """Write the explorer of the bundled table."""
    return {"page": str(cl.demo(args.out, browser=args.out is None))}


def check_out(args: Namespace) -> None:
    """Raise OSError or ValueError, before a long search, if ``--out`` can't be written or is an
    input."""
    from pathlib import Path

    from .files import check_replaceable

    if out := getattr(args, "out", None):
        inputs = [getattr(args, name, None) for name in ("table", "held_out", "policy")]
        for given in filter(None, inputs):
            if os.path.exists(out) and os.path.exists(given) and os.path.samefile(out, given):
                raise ValueError(f"--out {out} is an input: choose another name")
        check_replaceable(Path(out))


def known_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that are known: neither None nor nan."""
    return {name: value for name, value in parts.items() if value is not None and value == value}


def main(argv: list[str] | None = None) -> int:
    """Do what a command line says: 0; 1 where nothing is certified; 2 after an error, which is one
    line; 130 after Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal without "→" is no error
            stream.reconfigure(errors="backslashreplace")
    try:
        parser = parser_of_all()
        if not argv:
            parser.print_help()
            return 0
        args = parser.parse_args(argv)
        check_out(args)
        found = args.does(args) or {}
        if isinstance(found, str):
            print(found, flush=True)
            return 0
        said = json.dumps(found, ensure_ascii=False)
        said = json.loads(said, parse_constant=lambda _: None)  # nan and inf are null
        for line in _lines(said, args.json):
            print(line)
        sys.stdout.flush()
    except (
        BrokenPipeError
    ):  # nobody reads on, as "| head" does; nor what Python says of it at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, LookupError, OSError, ImportError, SubprocessError) as error:
        remedy = ": pip install 'cascadelib[explore]'" if isinstance(error, ImportError) else ""
        print(f"cascadelib: {' '.join(str(error).split())}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cascadelib: interrupted", file=sys.stderr)
        return 130  # as a shell has it of a command that Ctrl-C ended
    return int(said.get("certified") is False)


def _lines(said: dict[str, Any], as_json: bool) -> list[str]:
    """What a command found as JSON, or line by line, numbers rounded, without its marks."""
    if as_json:
        return [json.dumps(said, indent=2, ensure_ascii=False)]
    rounded = json.loads(json.dumps(said), parse_float=lambda text: float(f"{float(text):.4g}"))
    marks = dict.fromkeys(map(ord, '{}[]"'))
    return [
        f"{key}: {json.dumps(value, ensure_ascii=False)}".translate(marks)
        for key, value in rounded.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
