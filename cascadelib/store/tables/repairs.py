"""Find a line of pandas that repairs a column. Each line has been run on the column's cells."""

from collections.abc import Callable, Iterable
from itertools import product
from operator import attrgetter

import numpy as np
import pandas as pd

# A step is a method of a Series, its arguments and its options.
Step = tuple[str, tuple, dict[str, bool]]
Steps = tuple[Step, ...]

EMPTY = "n/a #n/a na nan null none".split()  # words for empty cells, without case
MARKS = ("$", "€", "£", "¢", "%")
THOUSANDS = r",(?=\d{3}(?!\d))"
POINTS = r"\.(?=\d{3}(?!\d))"


def replace(pattern: str, text: str) -> Step:
    """Return the step that replaces a regular expression in each cell."""
    return ("str.replace", (pattern, text), {"regex": True})


COMMA = replace(",", ".")
SPELLINGS_OF_NUMBERS: tuple[Steps, ...] = (
    (),
    (replace(THOUSANDS, ""),),
    (COMMA,),
    (replace(POINTS, ""), COMMA),
    (replace(r"\s", ""), COMMA),
)
WORD = r"(-?\w(?:[\w.,/-]*\w)?)"  # a word or number
PARTS_OF_TEXT: tuple[Steps, ...] = (
    (),
    (("str.strip", (" \n.,;:!?\"'`*_()[]{}",), {}),),
    (("str.extract", (rf"^\W*?{WORD}",), {"expand": False}),),
    (("str.extract", (rf"{WORD}\W*$",), {"expand": False}),),
)
CASES: tuple[Steps, ...] = (
    (),
    *(((f"str.{case}", (), {}),) for case in ("lower", "upper", "title")),
)
PLAIN_NUMBERS: tuple[Steps, ...] = ((), (replace(rf"{THOUSANDS}|\.0+$|^0+(?=\d)", ""),))


def run(steps: Steps, column: pd.Series) -> pd.Series:
    """Return a column after steps."""
    for name, arguments, options in steps:
        column = attrgetter(name)(column)(*arguments, **options)
    return column


def written(steps: Steps, column: str) -> str:
    """Return steps as a line of pandas, for a column of a frame or for an array.

    Examples
    --------
    >>> written((("str.strip", (".",), {}), ("str.lower", (), {})), "frame['answer']")
    "frame['answer'] = frame['answer'].str.strip('.').str.lower()"
    >>> written((("str.lower", (), {}),), "predictions[0]")
    'predictions[0] = pd.Series(predictions[0]).str.lower()'
    """
    calls = column if column.startswith("frame[") else f"pd.Series({column})"
    for name, arguments, options in steps:
        named = [f"{key}={value}" for key, value in options.items()]
        calls += f".{name}({', '.join([*map(repr, arguments), *named])})"
    return f"{column} = {calls}"


def lines_for_numbers(column: pd.Series, name: str) -> tuple[str, ...]:
    """Return the line that makes numbers of a column, if a single line does.

    There are two lines if the column has two readings, such as 1,234. A mark such as % must be in
    all cells, since 87% is then read as 87.
    """
    column = column.astype(object).where(column.notna(), None)
    texts = column.where(column.notna(), "").astype(str).str.strip()
    words = sorted({text for text in texts if text.casefold() in EMPTY})
    is_filled = ~texts.isin([*words, ""])
    emptied: Steps = (("replace", (words, None), {}),) if words else ()
    lines: dict[tuple, str] = {}
    for mark, spelling in product(("", *MARKS), SPELLINGS_OF_NUMBERS):
        if mark and not texts[is_filled].str.contains(mark, regex=False).all():
            continue
        marked: Steps = (("str.strip", (f"{mark} ",), {}),) if mark else ()
        steps = (*emptied, *marked, *spelling)
        try:
            found = pd.to_numeric(run(steps, column), errors="coerce")[is_filled]
        except AttributeError:  # a column without text
            continue
        if np.isfinite(found).all() and len(found):
            example = f"  # {texts[is_filled].iloc[0]!r} is {found.iloc[0]:.12g}"
            lines.setdefault(tuple(found), written(steps, name) + example)
    return tuple(lines.values())


def find_line(
    pairs: Iterable[tuple[str, str]],
    is_unclear: Callable[[str, str], bool],
    labels: Iterable[str],
    column: str,
) -> tuple[str, ...]:
    """Return the line that makes labels of most unclear answers, if there is one.

    A line keeps right answers right. An unclear answer stays unclear or becomes its label, or, if
    labels are few, another label.

    Parameters
    ----------
    pairs : iterable of (str, str)
        Distinct answers with their labels.
    is_unclear : callable
        Whether an answer may be its label in other words.
    labels : iterable of str
        All labels if they are few, otherwise none.
    column : str
        The column of answers in pandas.
    """
    pairs = list(pairs)
    known = {*labels}
    texts = list(dict.fromkeys(text for text, _ in pairs))
    before = [is_unclear(*pair) for pair in pairs]
    best: tuple[int, tuple[str, ...]] = (0, ())
    for part, case, number in product(PARTS_OF_TEXT, CASES, PLAIN_NUMBERS):
        steps = (*part, *case, *number)
        new = dict(zip(texts, run(steps, pd.Series(texts, dtype=object)).fillna("").tolist()))
        repaired = 0
        for (text, label), was_unclear in zip(pairs, before):
            changed = new[text]
            is_read = changed == label or (was_unclear and changed in known)
            repaired += was_unclear and is_read
            if not is_read and (text == label or (was_unclear and not is_unclear(changed, label))):
                break
        else:
            best = max(best, (repaired, (written(steps, column),)), key=lambda one: one[0])
    return best[1]
