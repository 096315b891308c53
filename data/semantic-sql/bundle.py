"""Write the table that the package brings: ``python data/semantic-sql/bundle.py``.

3,000 of the queries of arxiv.parquet, drawn at random, a row per query and model.
"""

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
TABLE = HERE.parent.parent / "cascadelib" / "datasets" / "llm_answers.parquet"
QUERIES = 3_000
DOLLARS = {"llama-3.1-8b": 0.2, "llama-3.3-70b": 0.9}  # assumed, for a thousand queries


def bundled() -> pd.DataFrame:
    """The table: drawn, and laid out."""
    drawn = pd.read_parquet(HERE / "arxiv.parquet").sample(QUERIES, random_state=0)
    yes = drawn["proxy_pred_true_prob"].to_numpy()
    large = np.where(drawn["oracle_pred"], "yes", "no")
    answers = {"llama-3.1-8b": np.where(yes >= 0.5, "yes", "no"), "llama-3.3-70b": large}
    confidence = {"llama-3.1-8b": np.maximum(yes, 1 - yes), "llama-3.3-70b": np.ones(QUERIES)}
    parts = [
        pd.DataFrame(
            {
                "sample": [f"query {row}" for row in drawn.index],
                "model": model,
                "prediction": prediction,
                "confidence": confidence[model],
                "cost": DOLLARS[model],
                "label": large,
            }
        )
        for model, prediction in answers.items()
    ]
    return pd.concat(parts, ignore_index=True)


if __name__ == "__main__":
    bundled().to_parquet(TABLE, index=False, compression="zstd")
