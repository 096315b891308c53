"""Only correct or not: a confidence that scikit-learn fits to features of the query.

The argument is a folder of wide CSV files as RouteLLM publishes them. They have a row per question
with its ``prompt``, and a column per model (correct or not). Or it is one such table as parquet or
CSV, in which ``characters`` may replace the prompt.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_predict

import cascadelib as cl

# Dollars for a million tokens, as RouteLLM has them.
PRICES = {"mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24, "gpt-4-1106-preview": 24.7}
SMALL, LARGE = PRICES
classifier = HistGradientBoostingClassifier(max_depth=3, max_iter=50, random_state=0)


def features_of(queries: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of queries before any model is called. Add columns here."""
    length = queries["prompt"].str.len() if "prompt" in queries else queries["characters"]
    return length.to_frame("characters")


def confidence_of(queries: pd.DataFrame) -> np.ndarray:
    """Return the fitted probability that the small model is correct, for new queries."""
    return classifier.predict_proba(features_of(queries))[:, 1]


def table_of(queries: pd.DataFrame, confidence: np.ndarray) -> cl.ScoreTable:
    """Return the score table of queries. The confidence of the last model decides nothing."""
    both = [confidence, np.full(len(queries), np.nan)]
    return cl.ScoreTable(queries[[*PRICES]].T, both, [*PRICES.values()], [*PRICES], queries.index)


path = Path(sys.argv[1])
files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
read = pd.read_parquet if path.suffix == ".parquet" else pd.read_csv
frame = pd.concat(map(read, files), ignore_index=True).sample(frac=1, random_state=0)
chosen_on, held_out = frame[::2], frame[1::2]

# Each query that selects the cascade gets the confidence of a fit without this query.
known = features_of(chosen_on), chosen_on[SMALL].astype(bool)
out_of_fold = cross_val_predict(classifier, *known, cv=5, method="predict_proba")[:, 1]
point = cl.pick(cl.search(table_of(chosen_on, out_of_fold), 2), budget=10, caution=0)
classifier.fit(*known)

result = cl.evaluate(table_of(held_out, confidence_of(held_out)), point)
print(f"{len(held_out)} held-out questions: {result.accuracy:.1%} correct for {result.cost:.2f}")
share = (result.cost - PRICES[SMALL]) / (PRICES[LARGE] - PRICES[SMALL])
by_chance = (1 - share) * held_out[SMALL].mean() + share * held_out[LARGE].mean()
print(f"random routing to one of the two at that price: {by_chance:.1%}")
exits, _ = cl.Policy.from_point(point).step(0, ["an answer"] * 3, confidence_of(held_out[:3]))
print(f"the first three are answered by {[SMALL if each else LARGE for each in exits]}")
