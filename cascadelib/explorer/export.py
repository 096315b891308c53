"""The explored point to take away: JSON for ``Cascade.load``, a table row, the Python call that gives it again."""

import base64
from dataclasses import replace
from html import escape

import ipywidgets as widgets
import pandas as pd

from ..deployment.cascade_file import description_of
from ..deployment.policy import text_of
from ..files import short_path
from ..methods.method import METHODS
from ..tables import readable

MEASURED = ("accuracy", "cost", "improvement")


def as_json(point, store, held_out=None):
    """The text of the file that ``Cascade.load`` reads; for a metric without a name, why there is none."""
    try:
        return text_of(description_of(point, store, held_out))
    except ValueError as error:
        return f"not to be had: {error}\n"


def as_row(point, held_out=None):
    """The point as a table of one row, as in ``front.table``, beside what a :class:`Reading` elsewhere says of it."""
    row = {key: getattr(point, key) for key in ("models", "thresholds", "exit_rates", *MEASURED)}
    if held_out is not None:
        row |= {f"{key}_held_out": getattr(held_out, key) for key in MEASURED}
    return pd.DataFrame([row])


def as_call(point, store):
    """Python that makes the point again, to the last bit."""
    lines = ["import cascadelib as cl", "", store_line(store), "point = cl.Point("]
    values = {**vars(point), "method": None}
    lines += [f"    {key}={literal(value)}," for key, value in values.items() if key not in ("method", "found_on")]
    lines += [f"    method={method_call(point)},", ")", "cl.evaluate(store, point)", ""]
    return "\n".join(lines)


def store_line(store):
    """The line that opens the store; one in memory has none."""
    if store.path is None:
        return "# store: the one that cl.explore was given"
    return f'store = cl.LogitStore("{short_path(store.path)}")  # {len(store):,} samples'


def literal(value):
    """repr, with infinities and nan as Python reads them."""
    if isinstance(value, tuple):
        return "(" + ", ".join(map(literal, value)) + ("," if len(value) == 1 else "") + ")"
    text = repr(value)
    return f'float("{text}")' if text in ("inf", "-inf", "nan") else text


def method_call(point):
    """The method as an expression: its name where it is one of METHODS, fitted temperatures of the point's models."""
    if point.method is None:
        return "None"
    bare = replace(point.method, temperatures=None)
    name = next((f'cl.METHODS["{name}"]' for name, method in METHODS.items() if method == bare), f"cl.{bare!r}")
    if not point.method.temperature:
        return name
    kept = {model: float(point.method.temperature_of(model)) for model in point.models}
    return f"cl.{replace(point.method, temperatures=kept)!r}"


def download(text, name, kind="application/json"):
    """A link that saves ``text`` under a file name, as HTML."""
    data = base64.b64encode(text.encode()).decode()
    return f'<a download="{escape(name)}" href="data:{kind};base64,{data}">save {escape(name)}</a>'


def row_html(table):
    """The table of :func:`as_row` for reading."""
    return readable(table).to_html(index=False)


class ExportBox(widgets.Tab):
    """Python call, JSON and table row of the present point. store, held_out: as :func:`cascadelib.explore` has them."""

    def __init__(self, store, held_out):
        self.store, self.held_out = store, held_out
        tall = widgets.Layout(width="100%", height="190px")
        self.call, self.json = (widgets.Textarea(layout=tall, disabled=False) for _ in range(2))
        self.row, self.link = widgets.HTML(), widgets.HTML()
        parts = [self.call, widgets.VBox([self.json, self.link]), self.row]
        super().__init__(parts, titles=["Python", "JSON", "table row"])

    def show(self, point, held_out_reading):
        """Show a point; held_out_reading: its Reading on the held-out split, or None."""
        self.call.value = as_call(point, self.store)
        self.json.value = text = as_json(point, self.store, self.held_out)
        self.link.value = download(text, "cascade.json")
        self.row.value = row_html(as_row(point, held_out_reading))
