"""The explorer as one file that needs no kernel, and a picture of it that needs no script."""

import base64
import html
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from ..evaluation.run import Run
from ..fronts.front import Front
from ..tables import arrow, in_words, number

PARTS = ("d3.js", "engine.js", "page.js")  # one ES module, in this order
WIDTH = 720  # of the picture, in its own units
HEIGHT = 300
LEFT = 64
EDGE = 16
UNDER = 44
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{style}</style></head>
<body class="cascadelib-page"><main id="explorer"><noscript>{still}</noscript></main>
<script type="text/plain" id="packed">{packed}</script>
<script type="module">
{script}
const text = document.getElementById("packed").textContent
const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0))
mountFile(document.getElementById("explorer"), bytes)
</script></body></html>
"""


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
        checked = f" (there {chosen.saving:.3g} times less), checked on {len(run.correct):,} others"
    return (
        f"Of 100 samples, {', '.join(rates)}; {run.accuracy:.2%} are correct (the most accurate model "
        f"alone: {run.baseline.best:.2%}), for {run.saving:.3g} times less in "
        f"{in_words(run.point.cost_kind)}. Chosen on {len(chosen.correct):,} samples{checked}."
    )


def still_svg(runs: Mapping[str, Run], front: Front | None, state: str) -> str:
    """A picture of the front, the single models and the cascade on each split, as SVG."""
    chosen = runs["validation"]
    single = chosen.baseline
    cost = [single.cost[single.front]]
    accuracy = [single.accuracy[single.front]]
    if front is not None:
        cost.insert(0, front.table["cost"].to_numpy())
        accuracy.insert(0, front.table["accuracy"].to_numpy())
    shown = np.concatenate([*accuracy, [run.accuracy for run in runs.values()]])
    top = float(shown.max())
    low = max(float(shown.min()), top - 2 * (top - single.best) - 0.12)
    costs = np.log10(
        np.maximum(np.concatenate([*cost, [run.cost for run in runs.values()]]), 1e-12)
    )
    cheapest = float(costs.min())
    dearest = max(float(costs.max()), cheapest + 1e-9)

    def place(cost: Any, accuracy: Any) -> list[tuple[float, float]]:
        """Where points stand in the picture; those below it at its lower edge."""
        at = (np.log10(np.maximum(cost, 1e-12)) - cheapest) / (dearest - cheapest)
        height = (np.maximum(accuracy, low) - low) / max(top - low, 1e-9)
        x = LEFT + at * (WIDTH - LEFT - EDGE)
        y = EDGE + (1 - height) * (HEIGHT - EDGE - UNDER)
        return list(zip(np.round(np.atleast_1d(x), 1), np.round(np.atleast_1d(y), 1)))

    marks = []
    if front is not None:
        path = " ".join(f"{x},{y}" for x, y in place(cost[0], accuracy[0]))
        marks.append(f'<polyline points="{path}" fill="none" stroke="#0072B2" stroke-width="2"/>')
    for x, y in place(cost[-1], accuracy[-1]):
        marks.append(f'<circle cx="{x}" cy="{y}" r="3" fill="#777777"/>')
    for run, colour in zip(runs.values(), ("#0072B2", "#D55E00")):
        ((x, y),) = place(run.cost, run.accuracy)
        marks.append(f'<circle cx="{x}" cy="{y}" r="6" fill="{colour}"/>')
    words = [
        (LEFT, HEIGHT - 24, "start", number(10**cheapest)),
        (WIDTH - EDGE, HEIGHT - 24, "end", number(10**dearest)),
        (WIDTH / 2, HEIGHT - 8, "middle", in_words(chosen.point.cost_kind)),
        (LEFT - 6, EDGE + 10, "end", f"{top:.1%}"),
        (LEFT - 6, HEIGHT - UNDER, "end", f"{low:.1%}"),
    ]
    for x, y, anchor, text in words:
        marks.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(text)}</text>')
    axes = f"M{LEFT},{EDGE}V{HEIGHT - UNDER}H{WIDTH - EDGE}"
    said = f"{arrow(chosen.point.models)}. {sentence(runs)}"
    label = html.escape(said, quote=True)
    about = [f'data-state="{html.escape(state, quote=True)}"']
    for split, run in runs.items():
        origin = run.store.origin
        about.append(
            f'data-{split}="{html.escape(f"{origin.dataset} {origin.split}", quote=True)}"'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'role="img" aria-label="{label}" font-family="sans-serif" font-size="12" fill="#777777" '
        f'{" ".join(about)}><path d="{axes}" fill="none" stroke="#999999"/>{"".join(marks)}</svg>'
    )


def still_html(runs: Mapping[str, Run], front: Front | None, state: str) -> str:
    """The sentence and the picture."""
    models = html.escape(arrow(runs["validation"].point.models))
    said = html.escape(sentence(runs))
    return f"<p><b>{models}.</b> {said}</p>{still_svg(runs, front, state)}"
