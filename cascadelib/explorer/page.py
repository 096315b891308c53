"""Write the explorer as one file without a kernel, and its sentence and picture without scripts."""

import base64
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from ..evaluation.run import Run
from ..figures.cost_kinds import times_less
from ..figures.tables import arrow
from ..fronts.front import Front
from ..origin import samples_in_common

# JupyterLab shows "model not found" below the figure if the widget is missing. Hide this output.
HIDE_ERROR = (
    ".jp-OutputArea-child:has(.cl-still) + .jp-OutputArea-child:has(.jp-RenderedPlotly) "
    "+ .jp-OutputArea-child:not(:has(.cascadelib)) {display: none}"
)
LEGEND = (
    "Red point: this cascade. Line: the best cascades on the selection split, which is optimistic. "
    "Grey: single models."
)
MOST_STEPS = 300  # points of the front in a stored figure
PARTS = ("d3.js", "engine.js", "page.js")  # files of the page's ES module, in this order
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body class="cascadelib-page"><main><h1>{title}</h1>
<p>A cheap model answers first. If it is not confident, the next model answers. A slider sets the \
threshold between both. {note}</p>
<div id="explorer"><noscript>{still}</noscript></div></main>
<script type="text/plain" id="packed">{packed}</script>
<script type="module">
{script}
const text = document.getElementById("packed").textContent
const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
mountFile(document.getElementById("explorer"), bytes)
</script></body></html>
"""


def read_part(name: str) -> str:
    """Return the text of a file of this package."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def read_script() -> str:
    """Return the page's ES module."""
    return "\n".join(map(read_part, PARTS))


def format_page(title: str, packed: bytes, still: str, note: str = "") -> str:
    """Return the HTML text of the page that :meth:`Explorer.save_html` writes.

    ``packed`` is the result of :meth:`Packed.to_bytes`, ``still`` is HTML for use without scripts,
    ``note`` is text about the data.
    """
    return PAGE.format(
        title=html.escape(title),
        note=html.escape(note),
        style=read_part("page.css"),
        still=still,
        packed=base64.b64encode(packed).decode(),
        script=read_script(),
    )


def describe_cascade(runs: Mapping[str, Run]) -> str:
    """Return the result of a cascade in words.

    ``runs`` has its evaluation by name of the split, the selection split first.
    """
    *_, run = runs.values()
    names = run.point.models
    rates = [
        f"{100 * rate:.0f} exit at {name}" for rate, name in zip(run.exit_rates, names) if rate
    ]
    chosen = runs["validation"]
    checked = ""
    if run is not chosen:
        saving_on_selection = times_less(chosen.saving, run.point.cost_kind)
        shared = samples_in_common(chosen.store.origin, run.store.origin)
        which_samples = f"samples, {shared:,} of them the same" if shared else "others"
        checked = f" (there {saving_on_selection}), checked on {len(run.correct):,} {which_samples}"
    correct = f"are correct (the most accurate model alone: {run.baseline.best:.2%})"
    if run.point.score == "top1" and all(each.baseline.best == 1 for each in runs.values()):
        correct = f"agree with {run.baseline.table['accuracy'].idxmax()}"
    return (
        f"{arrow(names)}. Of 100 samples, {', '.join(rates)}; {run.accuracy:.2%} {correct}, for "
        f"{times_less(run.saving, run.point.cost_kind)}. Chosen on {len(chosen.correct):,} "
        f"samples{checked}."
    )


def format_still(runs: Mapping[str, Run], state: str) -> str:
    """Return the sentence as HTML, with the state and the names of the splits."""
    data = {"state": state}
    for split, run in runs.items():
        origin = run.store.origin
        data[split] = f"{origin.dataset} {origin.split}"
    written = " ".join(f'data-{key}="{html.escape(text)}"' for key, text in data.items())
    return f'<p class="cl-still" {written}>{html.escape(describe_cascade(runs))}</p>'


def still_outputs(
    runs: Mapping[str, Run], front: Front | None, state: str, is_live: bool
) -> list[dict[str, Any]]:
    """Return the outputs of a notebook without the widget: the sentence, and a plotly figure.

    The figure shows the cascade and the single models of the last split, and the front.
    is_live: whether the widget follows.
    """
    from ..figures import style  # plotly is slow to import
    from ..figures.fronts import front_figure, singles_figure

    page = f"{format_still(runs, state)}<p>{LEGEND}</p>"
    if is_live:
        page += f"<style>{HIDE_ERROR} {style.DARK}</style>"
    *_, run = runs.values()
    singles = run.baseline.table
    cost = run.point.cost_kind
    if front is None:
        figure = singles_figure(singles, cost)
    else:
        table = style.select_evenly(front.table[["cost", "accuracy"]], MOST_STEPS)
        figure = front_figure({"best on the selection split": table}, singles, cost)
    here = {"x": [run.cost], "y": [run.accuracy], "name": "this cascade"}
    marker = {"size": 12, "color": style.HELD_OUT}
    figure.add_scatter(**here, mode="markers", marker=marker, showlegend=False)
    figure.update_layout(title=None, margin={"t": 10})
    return [
        {"text/plain": describe_cascade(runs), "text/html": page},
        {style.PLOTLY_JSON: json.loads(figure.to_json())},
    ]
