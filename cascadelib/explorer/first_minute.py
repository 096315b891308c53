"""Open the explorer of a table: the user's, or one that comes with the package."""

import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from ..datasets.language_models import llm_answers
from ..fronts.exact import search
from ..guarantees.certificate import certify
from ..store.score_table import ScoreTable
from .explorer import explore

EXAMPLE_NOTE = (
    "Example data: answers of Llama 3.1 8B and Llama 3.3 70B to 3,000 yes-no questions. Nobody "
    "labelled them, so accuracy is the agreement with the large model. The prices are assumed. "
    "Open your own table with: cascadelib demo answers.csv"
)


def demo(
    table: Any = None,
    *,
    out: str | Path | None = None,
    browser: bool = True,
    **columns: Any,
) -> Path:
    """Write the explorer of a table of answers as one page and open it.

    One third of the queries selects a cascade, one third certifies a loss of at most 2 points, and
    one third is shown.

    Parameters
    ----------
    table : DataFrame, str or Path, optional
        A table with one row per query and model, as for :meth:`cascadelib.ScoreTable.from_frame`.
        Defaults to example data: the answers of two language models.
    out : str or Path, optional
        File of the page. Defaults to a file in a new temporary folder.
    browser : bool, default=True
        Whether to open the page in a browser.
    **columns
        Columns of `table`, as for :meth:`cascadelib.ScoreTable.from_frame`. Without ``correct``,
        predictions and labels are the columns ``prediction`` and ``label`` by default.

    Returns
    -------
    Path
        The written page, which needs neither a server nor a network.

    Raises
    ------
    ValueError
        If the table has no labels, or cannot be read.

    See Also
    --------
    explore : The explorer of your own store.

    Examples
    --------
    >>> import cascadelib as cl
    >>> page = cl.demo(browser=False)
    >>> page.suffix
    '.html'
    """
    is_example = table is None
    if "correct" not in columns:
        columns = {"prediction": "prediction", "label": "label"} | columns
    answers: Any = ScoreTable.from_frame(llm_answers() if is_example else table, **columns)
    selection, certification, others = (answers.take(slice(part, None, 3)) for part in range(3))
    certificate = certify(certification, search(selection), epsilon=0.02)
    explorer = explore(selection, others, certificate=certificate)
    page = Path(out or Path(tempfile.mkdtemp()) / "cascade.html")
    explorer.save_html(page, EXAMPLE_NOTE if is_example else "")
    if browser:
        webbrowser.open(page.resolve().as_uri())
    return page
