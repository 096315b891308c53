"""The command line, ``cascadelib --help``: from a table of scores to a policy that runs."""

# Slow imports are inside functions, so that main catches Ctrl-C during an import.
import json
import os
import re
import sys
from argparse import Namespace
from io import TextIOWrapper
from typing import Any

import cascadelib as cl

from .options import COLUMNS, parser_of_all

MEASURED = ("accuracy", "cost", "exit_rates", "improvement")


def column_options(args: Namespace) -> dict[str, Any]:
    """Return the options that are parameters of ``from_frame``, without those that are not set."""
    names = (*COLUMNS, "cost")
    return {name: getattr(args, name) for name in names if getattr(args, name)}


def read_scores(path: str, args: Namespace) -> Any:
    """Return the LogitStore of a folder, or the ScoreTable of a file."""
    from .files import find_folder

    options = column_options(args)
    if not find_folder(path).is_dir():
        return cl.ScoreTable.from_frame(path, **options)
    named = [name for name in options if name in COLUMNS]
    if named:
        raise ValueError(
            f"{path}: a store has no columns to name: leave out --{', --'.join(named)}"
        )
    return cl.LogitStore(path)


def read_column(path: str, column: str | None, args: Namespace) -> Any:
    """Return the texts of a column of a table, by sample id."""
    from .checks import validate_choice
    from .store.tables.table_files import read_table

    if column is None:
        return None
    frame = read_table(path, encoding=args.encoding)
    sample = args.sample or "sample"
    for name in (sample, column):
        validate_choice(name, frame.columns, "column")
    values = frame[[sample, column]].astype(str).drop_duplicates().set_index(sample)[column]
    if values.index.has_duplicates:
        raise ValueError(f"{path}: a sample has several values of {column!r}: give it one")
    return values.replace({"": None, "<NA>": None})


def read_splits(args: Namespace) -> tuple[Any, Any]:
    """Return the store on which cascades are chosen, and the held-out store or None."""
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
        raise ValueError(
            f"--held-out {part:g} leaves none of {count} samples to choose on. Use a smaller share"
        )
    held_out = np.random.default_rng(0).permutation(len(store)) < count
    return store.take(~held_out), store.take(held_out)


def search_front(args: Namespace, store: Any) -> "cl.Front":  # text: numpy is slow
    """Search the front that the options describe."""
    return cl.search(
        store,
        args.n_models,
        args.method,
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
    """Write a policy to ``--out``, and return its figures, the held-out ones first."""
    policy = cl.Policy.from_point(point, store, held_out)
    if args.out:
        policy.save(args.out)
    found = {} if held_out is None else {"held_out": measure(held_out, point)}
    return found | known_parts(
        {
            "where_chosen": measure(store, point),
            "expected_accuracy": point.expected_accuracy,
            "models": policy.models,
            "thresholds": file_parts(policy)["thresholds"],
            "policy": args.out,
        }
    )


def choose(args: Namespace) -> dict[str, Any]:
    """Choose a cascade by a goal."""
    store, held_out = read_splits(args)
    goals = {name: getattr(args, name) for name in ("accuracy", "loss", "budget", "caution")}
    point = cl.pick(search_front(args, store), args.goal, **goals)
    return write_policy(args, point, store, held_out)


def run_certify(args: Namespace) -> dict[str, Any]:
    """Choose the cheapest cascade that is certified, or certify the policy of a file."""
    if args.check:
        return check_policy(args)
    store, held_out = read_splits(args)
    if held_out is None:
        raise ValueError(
            "a certificate needs held-out samples: --held-out must be a table, or a share above 0"
        )
    table = args.held_out if os.path.exists(args.held_out) else args.table
    front = search_front(args, store)
    certificate = cl.certify(held_out, front, reference=args.reference, **guarantee(args, table))
    point = certificate.point
    found = {"certificate": str(certificate), "certified": point is not None}
    if point is None:
        return {"summary": "nothing is certified, and no policy is written"} | found
    summary = {"summary": f"{point.chain} {certificate.promise}"}
    return summary | found | write_policy(args, point, store, held_out)


def check_policy(args: Namespace) -> dict[str, Any]:
    """Certify the policy of a file on a table."""
    if args.out:
        raise ValueError("--check writes no policy: leave out --out")
    policy = cl.Policy.load(args.check)
    store = read_scores(args.table, args)
    reference = args.reference or policy.models[-1]
    certificate = cl.certify(store, policy, reference=reference, **guarantee(args, args.table))
    is_certified = certificate.point is not None
    summary = f"{args.check} is {'' if is_certified else 'not '}certified on {args.table}"
    found = {"summary": summary, "certificate": str(certificate), "certified": is_certified}
    return found | {"here": measure(store, policy)}


def guarantee(args: Namespace, table: str) -> dict[str, Any]:
    """Return the arguments of certify. --clusters and --groups are columns of ``table``."""
    return {
        "epsilon": args.epsilon,
        "budget": args.budget,
        "delta": args.delta,
        "accept": args.accept or (),
        "clusters": read_column(table, args.clusters, args),
        "groups": read_column(table, args.groups, args),
    }


def run_check(args: Namespace) -> dict[str, Any] | str:
    """Check a table, and name the command that reads it."""
    report = cl.check_table(args.table, **column_options(args))
    if not args.json:
        return str(report)
    faults = report.faults.to_dict("records")
    return {"columns": report.columns, "faults": faults, "command": report.command}


def run_evaluate(args: Namespace) -> dict[str, Any]:
    """Measure a policy on a table, next to its expected figures."""
    policy = cl.Policy.load(args.policy)
    here = measure(read_scores(args.table, args), policy)
    return known_parts({"here": here, "expected": expected_parts(file_parts(policy))})


def run_show(args: Namespace) -> dict[str, Any]:
    """Return the content of a policy file."""
    policy = cl.Policy.load(args.policy)
    parts = file_parts(policy)
    if args.json:
        return parts
    premises = {
        f"premise {premise['name']}": f"{premise['status']}: {premise['evidence']}"
        for premise in parts.get("premises", [])
    }
    found = {"policy": repr(policy), "expected": expected_parts(parts), "chosen": parts["chosen"]}
    return known_parts(found | {"guarantee": parts.get("guarantee")}) | premises


def file_parts(policy: Any) -> dict[str, Any]:
    """Return the parts of a policy's file."""
    from .policy.form import parts_as_json

    return parts_as_json(policy.point)


def expected_parts(parts: dict[str, Any]) -> dict[str, Any] | None:
    """Return the expected accuracy, cost and exit rates in a policy's file, or None."""
    expected = parts.get("expected")
    return expected and {name: expected[name] for name in MEASURED[:3]}


def run_explore(args: Namespace) -> dict[str, Any]:
    """Write the explorer of a table as one page."""
    return {"page": str(cl.explore(*read_splits(args)).save_html(args.out))}


def run_extract(args: Namespace) -> dict[str, Any] | str:
    """Store the logits of models on a folder of images, or print the plan of the extraction."""
    from .extraction.extraction import plan_extraction

    images = cl.datasets.image_folder(args.images)
    names = ("memory", "batch_size", "device", "part")
    options = {name: getattr(args, name) for name in names}
    if args.plan:
        plan = plan_extraction(args.models, images, args.store, **options)
        return {"plan": plan} if args.json else plan
    store = cl.extract(args.models, images, args.store, **options, progress=not args.json)
    return {"store": args.store, "models": len(store.models), "samples": len(store)}


def check_out(args: Namespace) -> None:
    """Raise OSError or ValueError, before a long search, if an output is an input or unwritable."""
    from pathlib import Path

    from .files import check_replaceable

    out = getattr(args, "out", None)
    if out is None:
        return
    inputs = [getattr(args, name, None) for name in ("table", "held_out", "policy")]
    if Path(out).resolve() in [Path(path).resolve() for path in filter(None, inputs)]:
        raise ValueError(f"--out {out} is an input: choose another name")
    check_replaceable(Path(out))


def known_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that are known: neither None nor nan."""
    return {name: value for name, value in parts.items() if value is not None and value == value}


def with_options(message: str, options: dict[str, Any]) -> str:
    """Return a message in which arguments among ``options`` are written as on a command line.

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


RUN = {
    "extract": run_extract,
    "search": choose,
    "certify": run_certify,
    "check": run_check,
    "evaluate": run_evaluate,
    "explore": run_explore,
    "demo": lambda args: {"page": str(cl.demo(args.out, browser=args.out is None))},
    "show": run_show,
    "warm": lambda args: cl.warm() or {},
}


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status.

    The status is 1 if nothing is certified, 2 after an error, 130 after Ctrl-C, and otherwise 0. An
    error is printed as one line.
    """
    argv = sys.argv[1:] if argv is None else argv
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may not support "→"
            stream.reconfigure(errors="backslashreplace")
    options = {}
    try:
        parser = parser_of_all(cl.__version__)
        if not argv:
            parser.print_help()
            return 0
        args = parser.parse_args(argv)
        options = vars(args)
        check_out(args)
        found = RUN[args.command](args)
        if isinstance(found, str):
            print(found, flush=True)
            return 0
        for line in lines_of(found, args.json):
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has stopped, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, LookupError, OSError, ImportError) as error:
        message = with_options(" ".join(str(error).split()), options)
        remedy = (
            ": pip install 'cascadelib[explore]'" if isinstance(error, ModuleNotFoundError) else ""
        )
        print(f"cascadelib: {message}{remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cascadelib: interrupted", file=sys.stderr)
        return 130  # the shell's status after Ctrl-C
    return int(found.get("certified") is False)


def lines_of(found: dict[str, Any], as_json: bool) -> list[str]:
    """Return a result as JSON, or as lines of rounded numbers without brackets and quotes.

    nan and inf are null.
    """

    def number(text: str) -> float:
        return float(text if as_json else f"{float(text):.4g}")

    plain = json.loads(json.dumps(found), parse_constant=lambda _: None, parse_float=number)
    if as_json:
        return [json.dumps(plain, indent=2, ensure_ascii=False)]
    marks = dict.fromkeys(map(ord, '{}[]"'))
    return [
        f"{key}: {json.dumps(value, ensure_ascii=False)}".translate(marks)
        for key, value in plain.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
