"""The explored point to take away: JSON for ``Cascade.load``, a table row, and the Python call that
gives it again."""

import base64
import re
from urllib.parse import parse_qs, urlencode

import ipywidgets as widgets
import pandas as pd

from ..checks import about, brief, known
from ..deployment.cascade_file import point_for_file
from ..deployment.form import text_of, threshold_from_json, threshold_to_json
from ..evaluation.point import Point
from ..files import short_path
from ..methods.thresholds import WORDS, own_units
from ..store.protocol import Store
from ..tables import arrow, readable
from .splits import ExploredSplits
from .state import Choice, Reading

MEASURED = ("accuracy", "cost", "improvement")


def as_json(point: Point, store: Store, held_out: Store | None = None) -> str:
    """The text of the file that ``Cascade.load`` reads; for a metric without a name, why there is
    none."""
    try:
        return text_of(point_for_file(point, store, held_out))
    except ValueError as error:
        return f"cannot be written: {error}\n"


def as_call(point: Point, store: Store) -> str:
    """Python that makes the point, found on ``store``, again to the last bit."""
    opened = "# store: the one that cl.explore was given"
    if store.path is not None:
        opened = f"store = cl.LogitStore({short_path(store.path)!r})  # {len(store):,} samples"
    text = text_of(point_for_file(point))
    described = re.sub(r'"(keys|contents)": "[^"]*"', r'"\1": null', text)  # the store has them
    lines = [
        "from dataclasses import replace",
        "",
        "import cascadelib as cl",
        "",
        opened,
        f"point = cl.deployment.parse_cascade(r'''{described}''', edited=True)",
        "point = replace(point, found_on=store.origin)",
        "cl.evaluate(store, point)",
        "",
    ]
    return "\n".join(lines)


def as_state(choice: Choice, point: Point) -> str:
    """A choice and the thresholds of its ``point`` as URL-like text, exact to the last bit."""
    thresholds = [threshold_to_json(point.metric, threshold) for threshold in point.thresholds]
    return urlencode({**vars(choice), "thresholds": thresholds}, doseq=True)


def state_in(text: str, splits: ExploredSplits) -> tuple[Choice, list[float]]:
    """What :func:`as_state` wrote: (choice, thresholds inside); ValueError that begins with "state"
    and names what is not as it was written, or not available on these splits."""
    there = {"method": splits.methods, "cost": splits.costs, "score": splits.scores}
    with about("state"):
        if not isinstance(text, str):
            raise ValueError(f"it must be the text of another explorer's .state, not {brief(text)}")
        parts = parse_qs(
            text.strip(),
            strict_parsing=True,
            keep_blank_values=True,
            errors="strict",
            max_num_fields=99,
        )
        for key in parts:
            known(key, ["models", "thresholds", *there], "part")
        names = {key: known(" ".join(parts.get(key, [])), there[key], key) for key in there}
        choice = Choice(tuple(parts.get("models", [])), **names)
        metric = splits.task("validation", choice).metric
        check_choice_of_models(choice, parts.get("thresholds", []), splits)
        own = [
            threshold_from_json(metric, text if text in WORDS else float(text))
            for text in parts.get("thresholds", [])
        ]
        return choice, own_units(metric, own).tolist()


def check_choice_of_models(choice: Choice, thresholds: list[str], splits: ExploredSplits) -> None:
    """Raise ValueError unless the models of a choice and so many thresholds make up a cascade."""
    models = choice.models
    task = splits.task("validation", choice)
    costs = [task.singles["cost"][known(name, task.names, "model")] for name in models]
    rising = len(set(models)) == len(models) and costs == sorted(costs)
    if len(models) not in splits.lengths or not rising or len(thresholds) != len(models) - 1:
        raise ValueError(
            f"{arrow(models)} with {len(thresholds)} thresholds is no cascade of {splits.lengths} "
            f"models by rising {choice.cost}, each but the last with a threshold"
        )


class ExportBox(widgets.Tab):
    """Python call, JSON, table row and state of the present point. store, held_out: as
    :func:`cascadelib.explore` takes them."""

    def __init__(self, store: Store, held_out: Store | None) -> None:
        self.store = store
        self.held_out = held_out
        tall = widgets.Layout(width="100%", height="190px")
        self.call = widgets.Textarea(layout=tall, disabled=False)
        self.json = widgets.Textarea(layout=tall, disabled=False)
        self.row = widgets.HTML()
        self.link = widgets.HTML()
        self.state = widgets.Textarea(layout=tall, description="state=")
        parts = [self.call, widgets.VBox([self.json, self.link]), self.row, self.state]
        super().__init__(parts, titles=["Python", "JSON", "table row", "state"])

    def show(self, point: Point, held_out_reading: Reading | None, state: str) -> None:
        """Show a point and its state; held_out_reading: its Reading on the held-out split."""
        self.state.value = state
        self.call.value = as_call(point, self.store)
        text = as_json(point, self.store, self.held_out)
        self.json.value = text
        data = base64.b64encode(text.encode()).decode()
        file = f'download="cascade.json" href="data:application/json;base64,{data}"'
        self.link.value = f"<a {file}>save cascade.json</a>"
        keys = ("models", "thresholds", "exit_rates", *MEASURED)
        row = {key: getattr(point, key) for key in keys}
        if held_out_reading is not None:
            row |= {f"{key}_held_out": getattr(held_out_reading, key) for key in MEASURED}
        self.row.value = readable(pd.DataFrame([row])).to_html(index=False)
