"""How figures leave a kernel: as plotly's own JSON and nothing else.

Importing this module is enough. JupyterLab, VS Code and Colab draw that JSON as a live figure. The notebook keeps
only the numbers, where plotly's "notebook" renderer would add a copy of plotly.js (5 MB) to the first figure.
``notebooks/run.py`` turns the same JSON into live figures in the HTML report (:mod:`report` beside it) and into
PNGs in the committed notebooks (:mod:`committed`), so that a kernel never starts a browser. A renderer that the
user chose (``PLOTLY_RENDERER``, ``plotly.io.renderers.default``) stays, short of that copy.
"""

import os

import plotly.io as pio

__all__ = ["PLOTLY_JSON", "has_front_end", "renderer_without_script"]

PLOTLY_JSON = "application/vnd.plotly.v1+json"
"""MIME type under which a figure sits in a notebook's outputs."""


# Set for the kernel by a Jupyter server, VS Code and Colab; by papermill, nbconvert and nbval none of them.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")


def has_front_end() -> bool:
    """True where somebody can drag a slider: in a kernel of JupyterLab, VS Code, Colab or Voilà, not in a headless run.

    Headless, a plotly ``FigureWidget`` is of no use and costs 5 MB of saved widget state, with papermill's own
    command line at least.
    """
    return any(name in os.environ for name in _FRONT_ENDS) or os.environ.get("SERVER_SOFTWARE", "").startswith("voila")


def renderer_without_script(default: str | None) -> str | None:
    """Plotly's renderer string without ``notebook``, e.g. "plotly_mimetype+notebook" → "plotly_mimetype".

    Strings that do not hold both are returned as they are.
    """
    names = (default or "").split("+")
    if "plotly_mimetype" not in names:
        return default
    return "+".join(name for name in names if name != "notebook")


pio.renderers.default = renderer_without_script(pio.renderers.default)
