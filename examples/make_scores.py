"""Makes what the examples read: ``scores/`` from two models of the bundled zoo, ``routing.csv`` by
seeded chance.

The routing log is made up: two language models answer 600 queries, a price in cents for each query
and model, answers graded 0, ¼ … 1, and the small model's own confidence.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.methods.confidence_metrics import softmax

HERE = Path(__file__).resolve().parent


def scores_from_elsewhere(samples=600):
    """labels.csv, costs.csv, logits of one model as npz, probabilities of the other as CSV in
    another order.
    """
    store = cl.LogitStore("data/fashion-mnist/val").take(slice(0, samples))
    ids = pd.Index(store.sample_ids, name="sample")
    pd.Series(store.labels, ids, name="label").to_csv(HERE / "scores" / "labels.csv")
    macs = store.models.loc[["mlp@28", "resnet18_w16@56"], "macs"].astype(int)
    macs.set_axis(pd.Index(["small", "large"], name="model")).to_csv(HERE / "scores" / "costs.csv")
    np.savez_compressed(
        HERE / "scores" / "small.npz", logits=store.logits("mlp@28").astype(np.float16)
    )
    p = pd.DataFrame(softmax(store.logits("resnet18_w16@56")), ids)
    p.sample(frac=1, random_state=0).round(5).to_csv(HERE / "scores" / "large.csv")


def routing_log(queries=600, seed=0):
    """routing.csv: a row a query."""
    rng = np.random.default_rng(seed)
    ease, words = rng.normal(0.7, 1, queries), rng.lognormal(5, 0.8, queries)
    grade = {
        name: np.clip(np.round(4 * (ease + skill + rng.normal(0, 0.5, queries)) / 2) / 4, 0, 1)
        for name, skill in (("small", 0.4), ("large", 1.2))
    }
    table = pd.DataFrame(
        {
            "query": np.arange(queries),
            "small_confidence": (1 / (1 + np.exp(-(ease + rng.normal(0, 0.7, queries))))).round(3),
            "small_grade": grade["small"],
            "large_grade": grade["large"],
            "small_cents": (words * 0.0004).round(4),
            "large_cents": (words * 0.006).round(4),
        }
    )
    table.to_csv(HERE / "routing.csv", index=False)


if __name__ == "__main__":
    scores_from_elsewhere()
    routing_log()
