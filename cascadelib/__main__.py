"""The command line, ``cascadelib --help``: from a table of scores to a policy that runs."""

# Slow imports are inside functions, so that main catches Ctrl-C during an import.
import json
import math
import os
import re
import sys
from argparse import Namespace
from io import TextIOWrapper
from typing import Any

import cascadelib as cl

from .checks import validate_choice
from .options import COLUMNS, COMMANDS, parser_of_all

CERTIFY = {flag.strip("-").replace("-", "_"): None for flag in COMMANDS["certify"][1]}
PRINTED = {
    "expected_accuracy": "accuracy expected on new samples (lower, since the cascade was chosen "
    "for its accuracy)"
}
POLICIES = ("policy", "check")
INPUTS = (*POLICIES, "table", "held_out", "file")
MEASURED = ("accuracy", "cost", "exit_rates", "saving", "improvement")


def column_options(args: Namespace) -> dict[str, Any]:
    """Return the options that are parameters of ``from_frame``, without those that are not set.

    Answers and labels are columns of these names by default.
    """
    names = (*COLUMNS, "cost")
    options = {name: getattr(args, name) for name in names if getattr(args, name)}
    if options.get("confidence") in ("none", "None"):
        options["confidence"] = None
    if "correct" not in options:
        options = {"prediction": "prediction", "label": "label"} | options
    return options


def read_scores(path: str, args: Namespace) -> Any:
    """Return the LogitStore of a folder, or the ScoreTable of a file."""
    from .files import find_folder

    if not find_folder(path).is_dir():
        return cl.ScoreTable.from_frame(path, **column_options(args))
    named = [name for name in COLUMNS if getattr(args, name)]
    if named:
        raise ValueError(
            f"{path}: a store has no columns to name: leave out --{', --'.join(named)}"
        )
    return cl.LogitStore(path)


def read_column(path: str, column: str | None, args: Namespace) -> Any:
    """Return the texts of a column of a table, by sample id."""
    from .store.tables.frames import open_frame

    if column is None:
        return None
    frame = open_frame(path)
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
    figures = {"samples": len(store)} | {name: getattr(result, name) for name in MEASURED}
    return known_parts(figures)


def write_policy(
    args: Namespace, point: Any, store: Any, held_out: Any, loss: str = ""
) -> dict[str, Any]:
    """Write a policy to ``--out``, and return its figures, the held-out ones first."""
    policy = cl.Policy.from_point(point, store, held_out)
    if args.out:
        policy.save(args.out)
    chosen = measure(store, point)
    found = {} if held_out is None else {"held_out": measure(held_out, point)}
    return found | known_parts(
        {
            "cascade": format_cascade(policy, found.get("held_out", chosen)) + loss,
            "where_chosen": chosen,
            "expected_accuracy": point.expected_accuracy,
            "models": policy.models,
            "thresholds": file_parts(policy)["thresholds"],
            "policy": args.out,
        }
    )


def format_cascade(policy: Any, figures: dict[str, Any]) -> str:
    """Return a short table of a cascade: models, thresholds and exits, then accuracy and cost.

    `figures` are those of :func:`measure`, or the expected ones of a policy's file.
    """
    import pandas as pd

    from .figures.tables import fraction, number, times

    limits = [*file_parts(policy)["thresholds"], ""]
    table = pd.DataFrame({"model": policy.models, "threshold": limits})
    table["threshold"] = [one if isinstance(one, str) else number(one) for one in limits]
    table["exits"] = [fraction(share) for share in figures["exit_rates"] or [math.nan] * len(table)]
    text = f"accuracy {fraction(figures['accuracy'])}, cost {number(figures['cost'])}"
    text += f", saving {times(figures['saving'])}×" if "saving" in figures else ""
    return f"{table.to_string(index=False)}\n{text}"


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
    found = certificate_parts(certificate)
    if certificate.guarantee is None and not args.anyway:
        return {"summary": "nothing cheaper is certified, and no policy is written"} | found
    summary = {"summary": f"{point.chain} {certificate.promise}"}
    row = certificate.table[certificate.table["certified"]].iloc[certificate.certified.index(point)]
    loss = f", loss {row['accuracy_loss']:.2%}"
    loss += f" (at most {args.epsilon:.2%})" if args.epsilon is not None else ""
    return summary | found | write_policy(args, point, store, held_out, loss)


def check_policy(args: Namespace) -> dict[str, Any]:
    """Certify the policy of a file on a table."""
    if args.out:
        raise ValueError("--check writes no policy: leave out --out")
    policy = cl.Policy.load(args.check)
    store = read_scores(args.table, args)
    reference = args.reference or policy.models[-1]
    certificate = cl.certify(store, policy, reference=reference, **guarantee(args, args.table))
    verdict = "certified" if certificate.guarantee else "not certified"
    found = {"summary": f"{args.check} is {verdict} on {args.table}"}
    return found | certificate_parts(certificate) | {"here": measure(store, policy)}


def certificate_parts(certificate: Any) -> dict[str, Any]:
    """Return the text of a certificate, and whether it guarantees anything."""
    return {"certificate": str(certificate), "certified": certificate.guarantee is not None}


def guarantee(args: Namespace, table: str) -> dict[str, Any]:
    """Return the arguments of certify. --groups is a column of ``table``."""
    return {
        "epsilon": args.epsilon,
        "budget": args.budget,
        "delta": args.delta,
        "groups": read_column(table, args.groups, args),
    }


def run_evaluate(args: Namespace) -> dict[str, Any]:
    """Measure a policy on a table. The JSON has its expected figures, too."""
    policy = cl.Policy.load(args.policy)
    here = measure(read_scores(args.table, args), policy)
    expected = known_parts(figures_of_policy(policy))
    return {"cascade": format_cascade(policy, here), "here": here, "expected": expected}


def run_show(args: Namespace) -> dict[str, Any]:
    """Return the content of a policy file."""
    policy = cl.Policy.load(args.policy)
    if args.json:
        return file_parts(policy)
    certified = policy.point.guarantee
    found = {"policy": repr(policy), "cascade": format_cascade(policy, figures_of_policy(policy))}
    return known_parts(found | {"guarantee": certified and str(certified)})


def value_of(figure: Any) -> Any:
    """Return a figure without its interval."""
    if isinstance(figure, tuple | list):
        return [value_of(each) for each in figure]
    return getattr(figure, "value", figure)


def file_parts(policy: Any) -> dict[str, Any]:
    """Return the parts of a policy's file."""
    from .policy.form import parts_as_json

    return parts_as_json(policy.point)


def figures_of_policy(policy: Any) -> dict[str, Any]:
    """Return accuracy, cost and exit rates as expected, or as selected if none are expected."""
    source = policy.point.expected or policy.point
    return {name: value_of(getattr(source, name)) for name in MEASURED[:3]}


def run_explore(args: Namespace) -> dict[str, Any]:
    """Write the explorer of a table as one page."""
    return {"page": str(cl.explore(*read_splits(args)).save_html(args.out))}


def run_extract(args: Namespace) -> dict[str, Any]:
    """Store the logits of models on a folder of images."""
    from .zoo.loaders import find_sources

    models = find_sources(args.models, checkpoint=args.checkpoints, classes=args.classes)
    images = cl.datasets.image_folder(args.images)
    names = ("memory", "batch_size", "device")
    options = {name: getattr(args, name) for name in names}
    store = cl.extract(models, images, args.store, **options, progress=not args.json)
    return {"store": args.store, "models": len(store.models), "samples": len(store)}


def run_demo(args: Namespace) -> dict[str, Any]:
    """Write the explorer of a table, or of example data, and open it."""
    options = column_options(args) if args.file else {}
    page = cl.demo(args.file, out=args.out, browser=args.out is None, **options)
    return {"page": str(page)}


def check_out(args: Namespace) -> None:
    """Raise OSError or ValueError, before a long search, if an output is an input or unwritable."""
    from pathlib import Path

    from .files import check_replaceable

    out = getattr(args, "out", None)
    if out is None:
        return
    inputs = [getattr(args, name, None) for name in INPUTS]
    if Path(out).resolve() in [Path(path).resolve() for path in filter(None, inputs)]:
        raise ValueError(f"--out {out} is an input: choose another name")
    check_replaceable(Path(out))


def check_inputs(args: Namespace) -> None:
    """Raise a ValueError that names an input of another kind than its command needs."""
    for name in INPUTS:
        path = getattr(args, name, None) or ""
        is_json = path.lower().endswith(".json")
        is_table = os.path.isdir(path) or path.lower().endswith((".csv", ".gz", ".parquet"))
        if name in POLICIES and is_table:
            raise ValueError(f"{path} is a table or store, where {args.command} needs a policy")
        if name not in POLICIES and is_json:
            raise ValueError(f"{path} is a policy or log, where {args.command} needs a table")


def known_parts(parts: dict[str, Any]) -> dict[str, Any]:
    """Return the parts that are known: neither None nor nan."""
    return {name: value for name, value in parts.items() if value is not None and value == value}


def with_options(message: str, options: dict[str, Any]) -> str:
    """Return a message in which arguments among ``options`` are written as on a command line.

    Examples
    --------
    >>> with_options("give epsilon=, the maximum loss", {"epsilon": None})
    'give --epsilon, the maximum loss'
    """

    def option(match: re.Match) -> str:
        name, value = match.groups()
        if name not in options:
            return match[0]
        value = "" if value == "True" else value
        return f"--{name.replace('_', '-')} {value}".rstrip()

    return re.sub(
        r"(?<![\w.])(?<!\w\()([a-z_]+)=\(?('[^']*'|[^\s'(),;:]*)(?:,\))?", option, message
    )


RUN = {
    "extract": run_extract,
    "search": choose,
    "certify": run_certify,
    "evaluate": run_evaluate,
    "explore": run_explore,
    "demo": run_demo,
    "show": run_show,
    "warm": lambda args: cl.warm() or {},
}


def main(argv: list[str] | None = None) -> int:
    """Run a command line and return its exit status.

    The status is 1 if nothing is certified, 2 after an error, 130 after Ctrl-C, and otherwise 0. An
    error is printed as one line, or as one line per fault of a table and per line of pandas.
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
        if not argv[0].startswith("-"):
            validate_choice(argv[0], COMMANDS, "command")
        args = parser.parse_args(argv)
        options = vars(args)
        check_inputs(args)
        check_out(args)
        found = RUN[args.command](args)
        for line in lines_of(found, args.json):
            print(line if args.json else with_options(line, CERTIFY | options))
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has stopped, as with "| head"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, LookupError, OSError, ImportError) as error:
        message = with_options(str(error), options)
        if isinstance(error, FileNotFoundError) and error.filename:
            message = f"there is no file {error.filename}"
        print(f"cascadelib: {message}{installation(error, options)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        more = {"extract": ". The same command continues"}.get(argv[0], "")
        print(f"cascadelib: interrupted{more}", file=sys.stderr)
        return 130  # the shell's status after Ctrl-C
    return int(found.get("certified") is False)


def installation(error: Exception, options: dict[str, Any]) -> str:
    """Return the command that installs a missing package, or an empty text for other errors."""
    if not isinstance(error, ModuleNotFoundError):
        return ""
    extra = "vision" if options.get("command") == "extract" else "explore"
    return f": pip install 'cascadelib[{extra}]'"


def lines_of(found: dict[str, Any], as_json: bool) -> list[str]:
    """Return a result as JSON, or as lines of rounded numbers and tables.

    nan and inf are null. Nested values are only in JSON, and texts of several lines have no key.
    """
    if as_json:
        plain = json.loads(json.dumps(found), parse_constant=lambda _: None)
        return [json.dumps(plain, indent=2, ensure_ascii=False)]
    lines = []
    for key, value in found.items():
        if isinstance(value, float):
            value = f"{value:.4g}"
        if not isinstance(value, bool | dict | list | tuple):
            text = f"{PRINTED.get(key, key)}: {value}"
            lines.append(text if "\n" not in text else str(value))
    return lines


if __name__ == "__main__":
    sys.exit(main())
