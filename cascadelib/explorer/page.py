"""Write the explorer as one file without a kernel, and its sentence without scripts."""

import base64
import html
from collections.abc import Mapping
from importlib.resources import files

from ..cost_kinds import times_less
from ..evaluation.run import Run
from ..origin import samples_in_common
from ..tables import arrow

PARTS = ("d3.js", "engine.js", "page.js")  # one ES module, in this order
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body class="cascadelib-page"><main><h1>{title}</h1>
<p>A cheap model answers first. If it is not confident, the next model answers. A slider sets the \
threshold between both.</p>
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


def script() -> str:
    """Return the page's ES module."""
    return "\n".join(map(read_part, PARTS))


def page_html(title: str, packed: bytes, still: str) -> str:
    """Return the file. packed: :meth:`Packed.to_bytes`. still: HTML for use without scripts."""
    return PAGE.format(
        title=html.escape(title),
        style=read_part("page.css"),
        still=still,
        packed=base64.b64encode(packed).decode(),
        script=script(),
    )


def sentence(runs: Mapping[str, Run]) -> str:
    """Describe a cascade in one sentence. runs: {split: evaluation}, the selection split first."""
    *_, run = runs.values()
    names = run.point.models
    rates = [
        f"{100 * rate:.0f} exit at {name}" for rate, name in zip(run.exit_rates, names) if rate
    ]
    chosen = runs["validation"]
    checked = ""
    if run is not chosen:
        there = times_less(chosen.saving, run.point.cost_kind)
        shared = samples_in_common(chosen.store.origin, run.store.origin)
        others = f"samples, {shared:,} of them the same" if shared else "others"
        checked = f" (there {there}), checked on {len(run.correct):,} {others}"
    return (
        f"{arrow(names)}. Of 100 samples, {', '.join(rates)}; {run.accuracy:.2%} are correct (the "
        f"most accurate model alone: {run.baseline.best:.2%}), for "
        f"{times_less(run.saving, run.point.cost_kind)}. Chosen on {len(chosen.correct):,} "
        f"samples{checked}."
    )


def still_html(runs: Mapping[str, Run], state: str) -> str:
    """Return the sentence as HTML with the state and the names of the splits."""
    data = {"state": state}
    for split, run in runs.items():
        origin = run.store.origin
        data[split] = f"{origin.dataset} {origin.split}"
    written = " ".join(f'data-{key}="{html.escape(text)}"' for key, text in data.items())
    return f"<p {written}>{html.escape(sentence(runs))}</p>"
