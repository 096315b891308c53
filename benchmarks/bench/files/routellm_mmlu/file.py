"""Two language models on MMLU, from the folder ``routellm-mmlu`` of ``--data``, without
confidences.

``mmlu.parquet``: a row per question, with the column characters (of the prompt) and one column per
model (correct or not).
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from bench.task import File, found

from cascadelib import ScoreTable

TITLE = "RouteLLM's MMLU"
ABOUT = (
    "MMLU: Mixtral 8x7B before GPT-4, at list prices of 0.24 and 24.7 dollars for a million tokens "
    "(RouteLLM: Ong et al., 2024, Apache-2.0; not bundled). No confidences: the one used here says "
    "that short questions are easy."
)
MODELS = {"mistralai/Mixtral-8x7B-Instruct-v0.1": 0.24, "gpt-4-1106-preview": 24.7}


def files(folder: Path | None) -> Iterator[File]:
    path = found(folder, "routellm-mmlu", "mmlu.parquet")
    if path is not None:
        frame = pd.read_parquet(path)
        correct = frame[list(MODELS)].to_numpy(bool).T
        shortness = 1 / (1 + frame["characters"].to_numpy(float))
        table = ScoreTable(
            correct,
            np.stack([shortness, shortness]),
            list(MODELS.values()),
            list(MODELS),
            predictions=np.full(correct.shape, "answer"),
        )
        small, reference = MODELS
        yield File("mmlu", ABOUT, table, small, reference)
