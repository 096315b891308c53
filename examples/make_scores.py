"""Write the inputs of the examples: ``scores/`` from two bundled models, ``routing.csv`` at random.

The routing log is synthetic: two language models answer 600 queries. Each query and model has a
price in cents and an answer graded 0, ¼ … 1. The small model has a confidence.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.methods.confidence_metrics import softmax

HERE = Path(__file__).resolve().parent


def scores_from_elsewhere(samples: int = 600) -> None:
    """Write labels, costs, logits of one model, and probabilities of the other in another order."""
    store = cl.LogitStore("data/fashion-mnist/val").take(slice(0, samples))
    ids = pd.Index(store.sample_ids, name="sample")
    pd.Series(store.labels, ids, name="label").to_csv(HERE / "scores" / "labels.csv")
    macs = store.models.loc[["mlp@28", "resnet18_w16@56"], "macs"].astype(int)
    macs.set_axis(pd.Index(["small", "large"], name="model")).to_csv(HERE / "scores" / "costs.csv")
    logits = store.logits("mlp@28").astype(np.float16)
    np.savez_compressed(HERE / "scores" / "small.npz", logits=logits)
    p = pd.DataFrame(softmax(store.logits("resnet18_w16@56")), ids)
    p.sample(frac=1, random_state=0).round(5).to_csv(HERE / "scores" / "large.csv")


def routing_log(queries: int = 600, seed: int = 0) -> None:
    """Write routing.csv, one row per query."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(0.7, 1, queries)
    words = rng.lognormal(5, 0.8, queries)

    def grades(skill: float) -> np.ndarray:
        quality = (ease + skill + rng.normal(0, 0.5, queries)) / 2
        return np.clip(np.round(4 * quality) / 4, 0, 1)

    small = grades(0.4)
    large = grades(1.2)
    doubt = np.exp(-(ease + rng.normal(0, 0.7, queries)))
    columns = {
        "query": np.arange(queries),
        "small_confidence": (1 / (1 + doubt)).round(3),
        "small_grade": small,
        "large_grade": large,
        "small_cents": (words * 0.0004).round(4),
        "large_cents": (words * 0.006).round(4),
    }
    pd.DataFrame(columns).to_csv(HERE / "routing.csv", index=False)


if __name__ == "__main__":
    scores_from_elsewhere()
    routing_log()
