"""Answers of two language models, the table that the package brings."""

from pathlib import Path

import pandas as pd


def llm_answers() -> pd.DataFrame:
    """Answers of Llama 3.1 8B and Llama 3.3 70B to 3,000 yes-no queries about papers.

    Returns
    -------
    DataFrame
        A row per query and model, as :meth:`cascadelib.ScoreTable.from_frame` takes it: sample,
        model, prediction ("yes", "no"), confidence (of the small model, the probability of its
        answer; 1 of the large one, where nothing is decided), cost (assumed: dollars for a thousand
        queries) and label, which is the large model's answer: correct is what agrees with it.

    References
    ----------
    Liskowski and Schmaus, "Streaming Model Cascades for Semantic SQL", 2026; MIT licence, © 2026
    Snowflake Inc. (data/semantic-sql/README.md).
    """
    return pd.read_parquet(Path(__file__).with_name("llm_answers.parquet"))
