"""Read a folder of scores from another program.

It contains labels.csv, costs.csv and, one file per model, logits (npz) or probabilities (CSV).
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "examples/scores")
labels = pd.read_csv(folder / "labels.csv", index_col="sample")["label"]
macs = pd.read_csv(folder / "costs.csv", index_col="model")["macs"]
store = cl.LogitStore.from_arrays(labels, {}, sample_ids=labels.index)
for name, cost in macs.items():
    if (folder / f"{name}.npz").exists():
        store.add(name, np.load(folder / f"{name}.npz")["logits"], macs=cost)
    else:  # probabilities, brought into the order of the labels; their logarithms serve as logits
        table = pd.read_csv(folder / f"{name}.csv", index_col="sample").loc[labels.index]
        store.add(name, np.log(table.to_numpy().clip(1e-9)), macs=cost)
chosen_on = store.take(slice(0, None, 2))
held_out = store.take(slice(1, None, 2))
front = cl.search(chosen_on, (1, 2), expected=True)
point = cl.pick(front, loss=0.01)
result = cl.evaluate(held_out, point)
print(
    point.models,
    point.thresholds,
    f"{result.accuracy:.2%} on held-out data, for {result.cost:.3g} MACs",
)
