"""Two tiers of an API: graded answers, a price for every query, and the cheap tier's confidence
decide who answers.
"""

import sys

import numpy as np
import pandas as pd

import cascadelib as cl

log = pd.read_csv(
    sys.argv[1] if len(sys.argv) > 1 else "examples/routing.csv"
)  # a row a query answered by both
scores = cl.ScoreTable(
    correct=log[["small_grade", "large_grade"]].to_numpy().T,  # in [0, 1]
    confidence=np.stack(
        [log["small_confidence"], np.ones(len(log))]
    ),  # the last tier's is not used
    cost=log[["small_cents", "large_cents"]].to_numpy().T,  # an own price for every query
    names=["small", "large"],
)
chosen_on, held_out = scores.take(slice(0, None, 2)), scores.take(slice(1, None, 2))
front = cl.search(chosen_on)
point = cl.pick(front, budget=scores.costs()[1] / 2)  # half of what the large tier costs
result = cl.evaluate(held_out, point)
print(f"answer with the small tier where its confidence is at least {point.thresholds[0]:.3f}: "
      f"grade {result.accuracy:.3f} at {result.cost:.3f} cents; large alone {scores.models.top1['large']:.3f} "
      f"at {scores.costs()[1]:.3f}")  # fmt: skip
