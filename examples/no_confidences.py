"""Only correct or not: a cascade by the features known before any model is called.

The argument is a folder of wide CSV files as RouteLLM publishes them. They have a row per question
with its ``prompt``, and a column per model (correct or not). Or it is one such table as parquet or
CSV, in which ``characters`` may replace the prompt.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl

# Dollars for a million tokens, as RouteLLM has them.
PRICES = {"mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24, "gpt-4-1106-preview": 24.7}
path = Path(sys.argv[1])
if path.suffix == ".parquet":
    frame = pd.read_parquet(path)
else:
    files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    frame = pd.concat(map(pd.read_csv, files), ignore_index=True)
if "characters" not in frame:
    frame["characters"] = frame["prompt"].str.len()
frame["sample"] = np.arange(len(frame))
table = cl.ScoreTable.from_frame(
    frame, correct="{}", confidence=None, cost=PRICES, models=PRICES, columns=["characters"]
)
order = np.random.default_rng(0).permutation(len(table))
chosen_on = table.take(order[::2])
held_out = table.take(order[1::2])
method = cl.Method(confidence="logistic", columns=("characters",))
point = cl.pick(cl.search(chosen_on, 2, method), budget=10, caution=0)
result = cl.evaluate(held_out, point)
small, large = held_out.models["top1"]
share = (result.cost - PRICES[point.models[0]]) / (
    PRICES[point.models[1]] - PRICES[point.models[0]]
)
print(f"{len(held_out)} held-out questions: {result.accuracy:.1%} correct for {result.cost:.2f}")
print(f"random routing to one of the two at that price: {small + share * (large - small):.1%}")
