"""A small study in which a change of a figure's design changes what it shows."""

import numpy as np

from cascadelib import LogitStore

MODELS = {  # accuracy of the logits (a scale), MACs, seconds
    "tiny": (0.5, 1.0, 2.0),
    "slow": (0.8, 3.0, 60.0),  # on the front in MACs alone
    "fast": (0.75, 9.0, 4.0),  # on the front in time alone
    "small": (1.3, 12.0, 15.0),
    "partner": (1.1, 14.0, 16.0),  # dominated, with confidences that are worth more
    "large": (2.4, 100.0, 150.0),
}
CLASSES = 6


def write_split(
    dataset, split, samples, seed, shift=0.0, models=MODELS, path=None, classes=CLASSES
):
    """Return a store of random logits. Samples differ in difficulty, which confidences follow."""
    rng = np.random.default_rng(seed)
    labels = np.arange(samples) % classes
    ids = [f"{split}-{number}" for number in range(samples)]
    store = None
    if path is not None:
        store = LogitStore.create(path, labels, ids, dataset=dataset, split=split)
    logits = {}
    ease = rng.gamma(1.5, 1.0, samples)[:, None]
    for name, (scale, *_) in models.items():
        noise = rng.normal(size=(samples, classes))
        logits[name] = (scale - shift) * ease * 2 * np.eye(classes)[labels] + noise
        if name != "partner":  # confidences of another scale for each sample, equal answers
            logits[name] *= rng.lognormal(0, 1, (samples, 1))
    costs = {
        name: {"macs": macs, "seconds": seconds} for name, (_, macs, seconds) in models.items()
    }
    if store is None:
        by_kind = {
            kind: {name: cost[kind] for name, cost in costs.items()} for kind in ("macs", "seconds")
        }
        return LogitStore.from_arrays(
            labels, logits, **by_kind, sample_ids=ids, dataset=dataset, split=split
        )
    for name, values in logits.items():
        store.add(name, values, **costs[name], family=name)
    return store
