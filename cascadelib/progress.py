"""A bar for long loops, drawn only where somebody watches: in a terminal or a front end, not in logs and reports."""

import sys

from tqdm.auto import tqdm

from .display import has_front_end


def is_watched() -> bool:
    """Whether somebody sees a bar: at a terminal, or in a notebook's front end (not papermill, nbval or a log)."""
    return has_front_end() if "ipykernel" in sys.modules else sys.stderr.isatty()


def watched(iterable, what):
    """``iterable`` under a bar named ``what``, which vanishes at the end."""
    return tqdm(iterable, desc=what, leave=False, disable=not is_watched())
