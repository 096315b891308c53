"""Detect whether progress bars and widgets are visible."""

import os
import sys
from collections.abc import Iterable

from tqdm.auto import tqdm

# A Jupyter server, VS Code and Colab set these for a kernel. Papermill, nbconvert and nbval do not.
_FRONT_ENDS = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG")


def is_watched() -> bool:
    """Return whether a progress bar is visible: in a terminal or in a notebook's front end.

    Papermill, nbval and logs show no progress bar. Continuous integration shows none either, even
    in a terminal.
    """
    if os.environ.get("CI", "").lower() not in ("", "0", "false"):
        return False
    if "ipykernel" in sys.modules:
        return displays_widgets()
    return sys.stderr is not None and sys.stderr.isatty()


def watched(iterable: Iterable, what: str) -> Iterable:
    """Iterate with a progress bar named `what`, which is removed at the end."""
    return tqdm(iterable, desc=what, leave=False, disable=not is_watched())


def without_tex(page: str) -> str:
    """Return HTML whose dollars are text: MathJax does not typeset across elements."""
    return page.replace("$", "<span>$</span>")


def displays_widgets() -> bool:
    """Return whether the kernel belongs to JupyterLab, VS Code or Colab.

    In a headless run a widget is useless, and its saved state takes megabytes.
    """
    return any(name in os.environ for name in _FRONT_ENDS)
