"""Do two stores hold the same logits? A line a model, before any cascade number is believed."""

import numpy as np
import pandas as pd


def agreement(store, reference):
    """Two stores of the same samples, model by model.

    Returns a DataFrame, a row a model that both hold: largest_gap (of any logit, absolute),
    relative_to_spread (that ÷ the standard deviation of the model's reference logits), changed_predictions (count),
    top1 and reference_top1 (fractions). Raises ValueError where sample ids or labels differ.
    """
    if store.fingerprint != reference.fingerprint:
        raise ValueError("the stores hold other samples, or the same in another order: take() the common ones first")
    rows = {}
    for name in [n for n in reference.models.index if n in store.models.index]:
        ours, theirs = (np.asarray(s.logits(name), np.float64) for s in (store, reference))
        largest = np.abs(ours - theirs).max()
        rows[name] = {
            "largest_gap": largest,
            "relative_to_spread": largest / theirs.std() if theirs.std() else largest,
            "changed_predictions": int((ours.argmax(axis=1) != theirs.argmax(axis=1)).sum()),
            "top1": store.models.loc[name, "top1"],
            "reference_top1": reference.models.loc[name, "top1"],
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("model")
