"""The options of the command line, with their help."""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from .checks import share

EXAMPLE = """a table has a row per query and model:

  sample,model,prediction,confidence,cost,label
  q1,small,yes,0.93,0.2,yes
  q1,large,yes,0.99,0.9,yes
  q2,small,no,0.61,0.2,yes
  …

  cascadelib demo answers.csv
  cascadelib certify answers.csv --epsilon 2% --out policy.json
  cascadelib evaluate policy.json more-answers.csv
"""
COLUMNS = {  # parameters of ScoreTable.from_frame
    "sample": "column of the queries (default: sample)",
    "model": "column of the models' names (default: model)",
    "confidence": "column of the confidences, or none (default: confidence)",
    "label": "column of the true answers (default: label)",
    "prediction": "column of the models' answers (default: prediction)",
    "correct": "column with true or false, or a grade in [0, 1], of each answer (default: none)",
    "models": "models to read, in this order (default: all)",
    "missing": "missing rows, answers, labels and confidences: refuse, drop or abstain (default: "
    "refuse)",
    "exact": "count all answers as wrong that are not written as their label",
}
POLICY = {"policy": "file of a policy"}
READING = {
    **{f"--{name}": text for name, text in COLUMNS.items()},
    "--cost": "column with the price of a query (default: cost), several as usd,seconds, or prices "
    "as small=1,large=10; of a store, the kind of cost (default: macs, if it has them)",
}
TABLE = {
    "table": "CSV or parquet file, or the folder of a LogitStore",
    **READING,
}
SPLIT = {"--held-out": "another table, or a share of this one (default: 0.5)"}
CHOICE = {
    "--n-models": "lengths of cascades (default: 1 2)",
    "--method": "for a table: isotonic_by_label (default: unchanged confidences); for a store: a "
    "method of search() (default: max_softmax)",
    "--expected": "search expected outcomes",
    "--score": "top1, top<k> or f1 (default: top1)",
    "--out": "file for the policy (default: none is written)",
}
GOALS = {  # exactly one is needed
    "--budget": "largest mean cost a sample",
    "--accuracy": "least accuracy",
    "--loss": "largest loss of accuracy to the best model",
    "--goal": "max_improvement, match_best or near_best",
}
CAUTION = {
    "--caution": "safety margin of the goal in standard errors (default: that of pick(); 0: none)"
}
GUARANTEE = {
    "--epsilon": "largest loss of accuracy: 0.01 or 1%%",
    "--budget": "largest mean cost a sample",
    "--delta": "probability that the guarantee fails (default: 5%%)",
    "--reference": "model relative to which losses are measured (default: the most accurate)",
    "--groups": "column of groups, each of which is certified (default: none)",
    "--anyway": "write the policy of the reference if nothing cheaper is certified",
    "--check": "file of a policy that is certified on the full table (default: choose a cascade)",
}
PAGE = {"--out": "file for the page (default: explorer.html)"}
DEMO = {
    "file": "table of answers (default: example data of two language models)",
    **READING,
    "--out": "file for the page (default: a temporary one, opened)",
}
EXTRACTION = {
    "images": "folder with a folder of images per class",
    "store": "folder of the LogitStore",
    "--models": "names of models, or folders of transformers",
    "--memory": "GB for the models of a process (default: 90%% of the GPU, or half of the host)",
    "--batch-size": "images per batch (default: 256)",
    "--device": "such as cuda:1 (default: a GPU, if there is one)",
    "--checkpoints": "file or folder of local weights for timm's models",
    "--classes": "of the local weights (default: 1000)",
}
FLAGS = ("--anyway", "--exact", "--expected", "--json")
COMMANDS = {
    "extract": (
        "store the logits of models on images; any number of processes may run the same command",
        EXTRACTION,
    ),
    "search": (
        "choose a cascade on one part of a table, measure it on the other",
        TABLE | SPLIT | CHOICE | CAUTION,
    ),
    "certify": (
        "certify the cheapest cascade that loses at most epsilon; exit status 1: none is",
        TABLE | SPLIT | CHOICE | GUARANTEE,
    ),
    "evaluate": ("measure a policy on a table (its expected figures: show)", POLICY | TABLE),
    "explore": (
        "write the explorer's page, which needs no server; chosen on one part, checked on the "
        "other",
        TABLE | SPLIT | PAGE,
    ),
    "demo": ("the explorer of a table of answers, or of example data, as one page", DEMO),
    "show": ("the content of a policy file", POLICY),
    "warm": ("compile what first searches need, for all later processes", {}),
}


class Parser(ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def prices(text: str) -> str | list[str] | dict[str, float]:
    """Return one or more columns of prices, or {model: price} from "small=1,large=10"."""
    if "=" not in text:
        return text.split(",") if "," in text else text
    pairs = (price.partition("=") for price in text.split(","))
    return {name: float(price) for name, _, price in pairs}


def parser_of_all(version: str) -> Parser:
    """Return the parser. ``args.command`` is the name of the command."""
    parser = Parser(
        prog="cascadelib",
        description="From a table of scores to a policy that runs.",
        epilog=EXAMPLE,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (about, options) in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about)
        add_options(command, options | {"--json": "print JSON"})
        if name == "search":
            add_options(command.add_mutually_exclusive_group(required=True), GOALS)
        if name == "explore":
            command.set_defaults(out="explorer.html")
    return parser


def add_options(parser: Any, options: dict[str, str]) -> None:
    """Add options, with their help, to a parser or a group."""
    shares = ("--epsilon", "--accuracy", "--loss")
    kinds: dict[str, dict[str, Any]] = {
        "--n-models": {"type": int, "nargs": "+", "default": [1, 2]},
        "--held-out": {"default": "0.5"},
        "--delta": {"type": share, "default": "5%"},
        "--cost": {"type": prices},
        "--check": {"metavar": "POLICY"},
        "file": {"nargs": "?"},
        "--models": {"nargs": "+", "required": "images" in options},
        "--batch-size": {"type": int, "default": 256},
        "--classes": {"type": int, "default": 1000},
        **dict.fromkeys(("--budget", "--caution", "--memory"), {"type": float}),
        **dict.fromkeys(shares, {"type": share}),
        **dict.fromkeys(FLAGS, {"action": "store_true"}),
    }
    for flag, text in options.items():
        parser.add_argument(flag, help=text, **kinds.get(flag, {}))
