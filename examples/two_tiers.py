"""Two tiers of an API: the cheap tier's confidence selects the tier that answers.

Answers are graded, and every query has a price.
"""

import sys

import numpy as np
import pandas as pd

import cascadelib as cl

# One row per query, which both tiers answered.
log = pd.read_csv(sys.argv[1] if len(sys.argv) > 1 else "examples/routing.csv")
unused = np.ones(len(log))  # the last tier's confidence decides nothing
scores = cl.ScoreTable(
    correct=log[["small_grade", "large_grade"]].to_numpy().T,  # in [0, 1]
    confidence=np.stack([log["small_confidence"], unused]),
    cost=log[["small_cents", "large_cents"]].to_numpy().T,  # a price for every query
    names=["small", "large"],
)
chosen_on = scores.take(slice(0, None, 2))
held_out = scores.take(slice(1, None, 2))
front = cl.search(chosen_on)
point = cl.pick(front, budget=scores.costs()[1] / 2)  # half of what the large tier costs
result = cl.evaluate(held_out, point)
alone = scores.models.loc["large", "top1"]
print(
    f"answer with the small tier where its confidence is at least {point.thresholds[0]:.3f}: "
    f"grade {result.accuracy:.3f} at {result.cost:.3f} cents; large alone {alone:.3f} "
    f"at {scores.costs()[1]:.3f}"
)
