"""A cascade and its thresholds as the text that stands after # in the page's address."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlencode

from ..checks import about, brief, known
from ..methods.thresholds import WORDS
from ..policy.form import threshold_from_json, threshold_to_json
from ..tables import arrow
from .splits import Choice, ExploredSplits

GOALS = ("match_best", "max_improvement", "near_best")
OF_GOALS = ("accuracy", "budget")  # that have a number
ONE = ("method", "cost", "score")  # of each a cascade has one


def goal_text(goal: dict) -> str:
    """The arguments of :func:`cascadelib.pick` as text: "near_best", "budget:2e6"."""
    ((name, value),) = goal.items()
    return value if name == "goal" else f"{name}:{float(value)!r}"


def goal_in(text: str) -> dict[str, Any]:
    """The inverse of :func:`goal_text`."""
    name, _, value = text.partition(":")
    if name in OF_GOALS and re.fullmatch(r"[\d.e+-]+", value):
        return {name: float(value)}
    return {"goal": known(text, GOALS, "goal")}


def as_state(
    choice: Choice, splits: ExploredSplits, thresholds: Sequence[float], goal: dict
) -> str:
    """A choice, thresholds in own units and a goal as URL-like text, exact to the last bit."""
    metric = splits.task("validation", choice).metric
    written = [threshold_to_json(metric, threshold) for threshold in thresholds]
    parts = {**vars(choice), "thresholds": written, "goal": goal_text(goal)}
    return urlencode(parts, doseq=True)


def state_in(text: str, splits: ExploredSplits) -> tuple[Choice, tuple[float, ...], dict]:
    """What :func:`as_state` wrote: (choice, thresholds in own units, goal); ValueError that begins
    with "state" and names what is not as it was written, or not available on these splits."""
    with about("state"):
        if not isinstance(text, str):
            raise ValueError(f"it must be the text of another explorer's .state, not {brief(text)}")
        parts = parse_qs(
            text.strip().removeprefix("#"),
            strict_parsing=True,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=99,
        )
        for key in parts:
            known(key, ["models", "thresholds", "goal", *ONE], "part")
        one = {key: " ".join(parts.get(key, [])) for key in ONE}
        models = parts.get("models", [])
        choice = splits.choice(models, **one)
        task = splits.task("validation", choice)
        own = [
            threshold_from_json(task.metric, text if text in WORDS else float(text))
            for text in parts.get("thresholds", [])
        ]
        costs = [task.baseline.table["cost"][known(name, task.names, "model")] for name in models]
        rising = len(set(models)) == len(models) and costs == sorted(costs)
        if len(models) not in splits.lengths or not rising or len(own) != len(models) - 1:
            raise ValueError(
                f"{arrow(models)} with {len(own)} thresholds is no cascade of {splits.lengths} "
                f"models by rising {choice.cost}, each but the last with a threshold"
            )
        return choice, tuple(own), goal_in(" ".join(parts.get("goal", ["near_best"])))
