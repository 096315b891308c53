"""Load the answers of two language models that come with the package."""

from pathlib import Path

import pandas as pd


def llm_answers() -> pd.DataFrame:
    """Load answers of Llama 3.1 8B and Llama 3.3 70B to 3,000 yes-no queries about papers.

    Returns
    -------
    DataFrame
        One row per query and model with the columns sample, model, prediction ("yes" or "no"),
        confidence, cost and label. The confidence of the small model is the probability of its
        answer, that of the large model is 1. The costs are assumed, in dollars per thousand
        queries. The label is the large model's answer, so accuracy is agreement with it.

    See Also
    --------
    ScoreTable.from_frame : Convert the rows to a table that is searched.

    Notes
    -----
    MIT licence, © 2026 Snowflake Inc. See data/semantic-sql/README.md.

    References
    ----------
    .. [1] Liskowski and Schmaus, "Streaming Model Cascades for Semantic SQL", 2026.

    Examples
    --------
    >>> import cascadelib as cl
    >>> frame = cl.datasets.llm_answers()
    >>> frame.groupby("model")["sample"].size().to_dict()
    {'llama-3.1-8b': 3000, 'llama-3.3-70b': 3000}
    """
    return pd.read_parquet(Path(__file__).with_name("llm_answers.parquet"))
