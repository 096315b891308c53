"""The explorer as one file that needs no kernel, and a picture of it that needs no script."""

import base64
import html
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
import pandas as pd

from ..cost_kinds import times_less
from ..evaluation.run import Run
from ..fronts.front import Front
from ..labels import samples_in_common
from ..tables import arrow, in_words, number

PARTS = ("d3.js", "engine.js", "page.js")  # one ES module, in this order
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body class="cascadelib-page"><main><h1>{title}</h1>
<p>A cheap model answers first; where it is not confident, the next one does. A slider decides who \
stops where.</p>
<div id="explorer"><noscript>{still}</noscript></div></main>
<script type="text/plain" id="packed">{packed}</script>
<script type="module">
{script}
const text = document.getElementById("packed").textContent
const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
mountFile(document.getElementById("explorer"), bytes)
</script></body></html>
"""
ACROSS = (64, 704)  # where the axes of the picture begin and end, in its own units
UP = (256, 16)
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 720 300" width="720" role="img"
 style="max-width: 100%; height: auto" aria-label="{said}" data-state="{state}" {data}
 font-family="sans-serif" font-size="12" fill="#777777" stroke-linecap="round">
<path d="M64,16V256H704" fill="none" stroke="#999999"/>
<polyline points="{front}" fill="none" stroke="#0072B2" stroke-width="2"/>
<path d="{dots[singles]}" stroke="#777777" stroke-width="6"/>
<path d="{dots[validation]}" stroke="#0072B2" stroke-width="12"/>
<path d="{dots[held-out]}" stroke="#D55E00" stroke-width="12"/>
<text x="64" y="276">{ends[0]}</text><text x="704" y="276" text-anchor="end">{ends[1]}</text>
<text x="384" y="292" text-anchor="middle">{cost}</text>
<text x="58" y="26" text-anchor="end">{top:.1%}</text>\
<text x="58" y="256" text-anchor="end">{low:.1%}</text>
</svg>"""
DOTS = ("singles", "validation", "held-out")
DEPTH = 0.15  # of accuracy below the best that the picture shows


def read_part(name: str) -> str:
    """The text of a file that lies beside this one."""
    place = files(__package__).joinpath(name)
    return place.read_text(encoding="utf-8")


def script() -> str:
    """The page's ES module: what draws, evaluates and listens."""
    return "\n".join(map(read_part, PARTS))


def page_html(title: str, packed: bytes, still: str) -> str:
    """The file. packed: of :meth:`Packed.to_bytes`; still: HTML where scripts do not run."""
    return PAGE.format(
        title=html.escape(title),
        style=read_part("page.css"),
        still=still,
        packed=base64.b64encode(packed).decode(),
        script=script(),
    )


def sentence(runs: Mapping[str, Run]) -> str:
    """What a cascade comes to, in words. runs: {split: what evaluate returns}, validation first."""
    *_, run = runs.values()
    names = run.point.models
    rates = [
        f"{100 * rate:.0f} stop at {name}" for rate, name in zip(run.exit_rates, names) if rate
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


def still_svg(runs: Mapping[str, Run], front: Front | None, state: str) -> str:
    """A picture of the front, the single models and the cascade on each split, as SVG."""
    chosen = runs["validation"]
    single = chosen.baseline
    singles = {"cost": single.cost[single.front], "accuracy": single.accuracy[single.front]}
    kinds = {"singles": pd.DataFrame(singles)}
    for split, run in runs.items():
        kinds[split] = pd.DataFrame({"cost": [run.cost], "accuracy": [run.accuracy]})
    if front is not None:
        kinds["front"] = front.table
    table = pd.concat(kinds)
    logs = np.log10(table["cost"].clip(lower=1e-12))
    top = table["accuracy"].max()
    shown = table["accuracy"].clip(lower=top - DEPTH)
    across = np.interp(logs, [logs.min(), logs.max()], ACROSS)
    up = np.interp(shown, [shown.min(), top], UP)
    places = pd.Series([f"{x:.1f},{y:.1f}" for x, y in zip(across, up)], table.index)
    # a line without length, with round ends, is a dot
    dots = {kind: "".join(f"M{place}h0" for place in places.get(kind, [])) for kind in DOTS}
    origins = {split: run.store.origin for split, run in runs.items()}
    data = [
        f'data-{split}="{html.escape(f"{origin.dataset} {origin.split}")}"'
        for split, origin in origins.items()
    ]
    return PICTURE.format(
        said=html.escape(sentence(runs)),
        state=html.escape(state),
        data=" ".join(data),
        front=" ".join(places.get("front", [])),
        dots=dots,
        ends=[number(10**end) for end in (logs.min(), logs.max())],
        cost=html.escape(in_words(chosen.point.cost_kind)),
        top=top,
        low=shown.min(),
    )
