"""A bar for long loops, drawn only where somebody watches: in a terminal or a front end, not in logs and reports."""

import sys

from tqdm.auto import tqdm

from .display import has_front_end


def watched(iterable, what):
    """``iterable`` under a bar named ``what``, which vanishes at the end."""
    in_terminal = sys.stderr.isatty() and "ipykernel" not in sys.modules
    return tqdm(iterable, desc=what, leave=False, disable=not (in_terminal or has_front_end()))
