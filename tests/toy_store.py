"""A small split with the outputs of three models, and a small table of answers."""

import numpy as np
import pandas as pd

K = 40
C = 7
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, C, K)
LOGITS = {name: RNG.normal(size=(K, C)).astype(np.float32) for name in "abc"}
IDS = [f"image/{i:03}.png" for i in range(K)]
LONG = pd.DataFrame(
    {
        "id": ["x", "y", "z"] * 2,
        "who": ["small"] * 3 + ["large"] * 3,
        "sure": [0.9, 0.2, np.nan, 0.7, 0.6, 0.5],
        "says": ["yes", "no", None, "yes", "yes", "no"],
        "truth": ["yes", "yes", "no"] * 2,
        "usd": [0.0] * 3 + [2.0, 3.0, 4.0],
        "words": [3, 4, 5] * 2,
    }
)
CORRECT = np.array([[1, 0, 1], [1, 1, 1]], bool)
CONFIDENCE = np.array([[0.5, 0.1, 0.9], [0.2, 0.3, np.inf]])
ANSWERS = {"predictions": [["a", "b", None], ["a", "a", "b"]], "labels": ["a", "a", "b"]}
