"""The command line, ``cascadelib --help``: from a table of scores, or a folder of logits, to a policy that runs."""

import argparse
import json
import os
import runpy
import sys
import sysconfig
import tempfile
from pathlib import Path

import cascadelib as cl

from .files import ROOT

COLUMNS = ("sample", "model", "confidence", "label", "prediction", "correct", "missing")  # options of from_frame


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        """Leave with exit status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def parser_of_all() -> Parser:
    """The parser; ``args.does`` is the function of the command."""
    policy, table, choice = (Parser(add_help=False) for _ in range(3))
    policy.add_argument("policy", help="file of a policy")
    table.add_argument(
        "table", help="CSV or parquet file, as ScoreTable.from_frame takes it, or folder of a LogitStore"
    )
    for name in COLUMNS:
        table.add_argument(f"--{name}", help=argparse.SUPPRESS if name == "model" else f"{name}= of from_frame")
    table.add_argument("--cost", help="column with the price of a query; of a store, the kind of cost")
    table.add_argument("--columns", nargs="+", help="what a fitted confidence reads")
    choice.add_argument("--held-out", default="0.5", help="another table, or a share of this one (default: 0.5)")
    choice.add_argument("--n-models", type=int, nargs="+", default=[1, 2], help="lengths of cascades (default: 1 2)")
    choice.add_argument("--method", help="of a store, as search() has it; of any table isotonic_by_label, logistic")
    choice.add_argument("--score", help="top1, top<k> or f1")
    choice.add_argument("--out", help="file for the policy")
    parser = Parser(prog="cascadelib", description=__doc__)
    parser.add_argument("--version", action="version", version=cl.__version__)
    commands, own = parser.add_subparsers(required=True, metavar="COMMAND"), {}
    for name, does, parents, about in (
        ("search", _search, [table, choice], "choose a cascade on one part of a table, measure it on the other"),
        ("certify", _certify, [table, choice], "the cheapest that loses at most epsilon; exit status 1: there is none"),
        ("evaluate", _evaluate, [policy, table], "a policy on a table"),
        (
            "explore",
            _explore,
            [table],
            "open the explorer's page; further options go to Voilà (--no-browser, --port=…)",
        ),
        ("show", _show, [policy], "what a file says"),
    ):
        own[name] = commands.add_parser(name, parents=parents, help=about, description=about)
        own[name].add_argument("--json", action="store_true", help="print JSON")
        own[name].set_defaults(does=does)
    goal = own["search"].add_mutually_exclusive_group(required=True)
    goal.add_argument("--budget", type=float, help="largest mean cost a sample")
    goal.add_argument("--accuracy", type=float, help="least accuracy")
    goal.add_argument("--goal", help="max_improvement, match_best or near_best")
    own["certify"].add_argument("--epsilon", type=float, required=True, help="largest loss of accuracy")
    own["certify"].add_argument("--delta", type=float, default=0.05, help="probability that it loses more")
    own["certify"].add_argument("--reference", help="model to lose against (default: the most accurate)")
    own["explore"].add_argument("--held-out", help="another table")
    return parser


def _scores(path, args):
    """The LogitStore of a folder, or the ScoreTable of a file with the columns that were named."""
    named = {name: getattr(args, name) for name in COLUMNS if getattr(args, name)}
    if not Path(path).is_dir():
        named |= {name: getattr(args, name) for name in ("cost", "columns") if getattr(args, name)}
        return cl.ScoreTable.from_frame(path, **named)
    if named:
        raise ValueError(
            f"{path}: a store has no columns to name: leave out {', '.join(f'--{name}' for name in named)}"
        )
    return cl.LogitStore(path)


def _splits(args):
    """(store to choose on, held-out one or None)."""
    import numpy as np

    store = _scores(args.table, args)
    try:
        share = float(args.held_out)
    except ValueError:
        return store, _scores(args.held_out, args)
    held_out = np.random.default_rng(0).permutation(len(store)) < round(share * len(store))
    return (store.take(~held_out), store.take(held_out)) if held_out.any() else (store, None)


def _front(args, store):
    from .methods.fitted import KINDS

    fitted = {"confidence": args.method, "columns": tuple(args.columns or ["confidence"])}
    method = cl.Method(**fitted) if args.method in KINDS else args.method
    return cl.search(store, args.n_models, method, score=args.score, cost=args.cost if store.has_outputs else None)


def _measured(store, point):
    result = cl.evaluate(store, point)
    names = ("accuracy", "cost", "exit_rates", "improvement")
    return {"samples": len(store)} | {name: getattr(result, name) for name in names}


def _written(args, point, store, held_out):
    """Write the policy where that was asked for, and say what it comes to: held out first."""
    policy = cl.Policy.from_point(point, store, held_out)
    said = {} if held_out is None else {"held_out": _measured(held_out, point)}
    said |= {"where_chosen": _measured(store, point), "models": policy.models}
    said |= {"thresholds": policy.description["thresholds"]}
    if args.out:
        policy.save(args.out)
        said["policy"] = args.out
    return said


def _search(args):
    store, held_out = _splits(args)
    point = cl.pick(_front(args, store), args.goal, accuracy=args.accuracy, budget=args.budget)
    return _written(args, point, store, held_out)


def _certify(args):
    store, held_out = _splits(args)
    if held_out is None:
        raise ValueError("a certificate needs samples that chose nothing: --held-out")
    certificate = cl.certify(_front(args, store), held_out, args.epsilon, args.delta, args.reference)
    said = {"certificate": str(certificate), "certified": certificate.point is not None}
    return said | (_written(args, certificate.point, store, held_out) if certificate.point else {})


def _evaluate(args):
    from .deployment.cascade_file import point_of

    description = cl.Policy.load(args.policy).description
    measured = _measured(_scores(args.table, args), point_of(description))
    return {"here": measured, "expected": _expected(description)}


def _show(args):
    policy = cl.Policy.load(args.policy)
    said = {"policy": repr(policy), "expected": _expected(policy.description)}
    return policy.description if args.json else said | {"chosen": policy.description["chosen"]}


def _expected(description):
    return {name: (description["expected"] or {}).get(name) for name in ("accuracy", "cost")}


def _tables(args):
    return [_scores(path, args) for path in (args.table, args.held_out) if path]


def explorer_of(folder: str, argv: list[str]) -> "cl.explorer.Explorer":
    """What the page of ``cascadelib explore`` shows, of tables whose paths are those from ``folder``."""
    os.chdir(folder)
    return cl.explore(*_tables(parser_of_all().parse_known_args(argv)[0]))


def _explore(args):
    import nbformat

    _tables(args)  # what is wrong with them is told here, not on the page
    cell = f"from cascadelib.__main__ import explorer_of\nexplorer_of({str(Path.cwd())!r}, {args.argv!r})"
    places = ROOT / "app", Path(sysconfig.get_path("data"), "share", "cascadelib")
    page = next(str(place / "serve.py") for place in places if (place / "serve.py").is_file())
    with tempfile.TemporaryDirectory() as folder:
        notebook = Path(folder, "explorer.ipynb")
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)]), notebook)
        sys.argv = [page, f"--Voila.notebook_path={notebook}", *args.rest]
        runpy.run_path(page, run_name="__main__")


def _told(value):
    """A part of a result for people."""
    from .tables import number

    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(own)}" for key, own in value.items())
    if isinstance(value, list):
        return " → ".join(map(_told, value))
    return number(value) if isinstance(value, float) else str(value)


def main(argv: list[str] | None = None) -> int:
    """Do what a command line says: 0; 1 where nothing is certified; 2 after an error, which is one line."""
    parser, argv = parser_of_all(), sys.argv[1:] if argv is None else argv
    args, rest = parser.parse_known_args(argv)
    args.argv, args.rest = argv, rest
    try:
        if rest and args.does is not _explore:
            raise ValueError(f"unknown arguments: {' '.join(rest)}")
        said = args.does(args) or {}
    except (ValueError, TypeError, LookupError, OSError, ImportError) as error:
        print(f"cascadelib: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    said = json.loads(json.dumps(said), parse_constant=lambda _: None)  # nan and inf are null
    if args.json:
        print(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        print(*(f"{key}: {_told(value)}" for key, value in said.items()), sep="\n")
    return int(said.get("certified") is False)


if __name__ == "__main__":
    sys.exit(main())
