"""Open the explorer of a table that comes with the package."""

import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from ..datasets.language_models import llm_answers
from ..fronts.exact import search
from ..guarantees.certificate import certify
from ..store.score_table import ScoreTable
from .explorer import explore


def demo(path: str | Path | None = None, *, browser: bool = True) -> Path:
    """Write the explorer of two language models' answers as one page and open it.

    One third of the bundled queries selects a cascade, one third certifies a loss of at most 2%,
    and one third is shown.

    Parameters
    ----------
    path : str or Path, optional
        File of the page. Defaults to a file in a new temporary folder.
    browser : bool, default=True
        Whether to open the page in a browser.

    Returns
    -------
    Path
        The written page, which needs neither a server nor a network.

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
    answers: Any = ScoreTable.from_frame(llm_answers(), label="label", prediction="prediction")
    selection, certification, others = (answers.take(slice(part, None, 3)) for part in range(3))
    certificate = certify(certification, search(selection), epsilon=0.02)
    explorer = explore(selection, others, certificate=certificate, unit="$ per 1,000 queries")
    page = explorer.save_html(path or Path(tempfile.mkdtemp()) / "cascade.html")
    if browser:
        webbrowser.open(page.resolve().as_uri())
    return page
