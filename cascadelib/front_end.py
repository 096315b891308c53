"""Does somebody watch? A progress bar is drawn in a terminal or a front end, not in logs and reports."""

import os
import sys
from collections.abc import Iterable

from tqdm.auto import tqdm


def is_watched() -> bool:
    """Whether somebody sees a bar: at a terminal, or in a notebook's front end (not papermill, nbval or a log)."""
    return has_front_end() if "ipykernel" in sys.modules else sys.stderr.isatty()


def watched(iterable: Iterable, what: str) -> Iterable:
    """``iterable`` under a bar named ``what``, which vanishes at the end."""
    return tqdm(iterable, desc=what, leave=False, disable=not is_watched())


# Set for the kernel by a Jupyter server, VS Code and Colab; by papermill, nbconvert and nbval none of them.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")


def has_front_end() -> bool:
    """True where somebody can drag a slider: in a kernel of JupyterLab, VS Code, Colab or Voilà, not in a headless run,
    where a plotly ``FigureWidget`` is of no use and costs 5 MB of saved widget state."""
    return any(name in os.environ for name in _FRONT_ENDS) or os.environ.get(
        "SERVER_SOFTWARE", ""
    ).startswith("voila")
