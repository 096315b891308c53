"""Evidence for the paper's claims from figures that timm published of the paper's models."""

from math import comb

import numpy as np
import pandas as pd

from cascadelib import Baseline, published
from tools import study
from tools.claims_elsewhere import spread_of
from tools.claims_of_pairs import counted_claims, size_gains, time_of_singles
from tools.evidence import RESAMPLES, Evidence, EvidenceByClaim, ValueByClaim
from tools.ranges import RESNET

TABLE_1 = (  # accuracy and cost on the validation set, models
    (0.7588, 136.2e6, "tf_mobilenetv3_small_075", "mobilenetv3_large_100_miil"),
    (0.8339, 732.4e6, "mobilenetv3_large_100_miil", "tf_efficientnet_b3_ns"),
    (0.8732, 14.39e9, "tf_efficientnet_b4_ns", "beit_large_patch16_224"),
)
THRESHOLDS = (0.4551, 0.7112, 0.5658)  # of Table 1
IMAGES = 50_000  # of ImageNet's validation set
IMAGES_V2 = 10_000


def published_evidence() -> EvidenceByClaim:
    """Return {id of a claim: Evidence} of the claims that :func:`published.models` can test.

    These are fronts, the baseline at the paper's accuracies and costs, and ImageNetV2.
    Compared accuracies have binomial draws, independent from model to model. Their intervals are
    wider than those on shared images.
    """
    table = published.models()
    in_macs = study.singles(table)
    in_seconds = study.singles(table, "seconds")
    macs = in_macs[in_macs["on_front"]]
    found = counted_claims(in_macs, in_seconds)
    found |= {"pairs": Evidence(comb(len(macs), 2)), "triples": Evidence(comb(len(macs), 3))}
    found |= time_of_singles(in_macs, in_seconds)
    found |= {name: Evidence(value) for name, value in front_values(macs).items()}
    return found | with_binomial_draws(macs, table)


def front_values(macs: pd.DataFrame) -> ValueByClaim:
    """Return the values without an interval that follow from the models on the front in MACs."""
    cost = macs["cost"]
    accuracy = macs["accuracy"]
    baseline = Baseline(cost, accuracy)
    factors = [baseline.cost_at(at) / macs_there for at, macs_there, *_ in TABLE_1]
    shares_of_first = []
    exits = []
    for _, macs_there, first, second in TABLE_1:
        shares_of_first.append(cost[first] / macs_there)
        exits.append(1 - (macs_there - cost[first]) / cost[second])
    dip = TABLE_1[0][3]
    at_resnet = np.interp(RESNET, baseline.cost[baseline.hull], baseline.accuracy[baseline.hull])
    return {
        "table1": factors,
        "pairs-most": factors[-1],
        "early-exits": np.median(exits),
        "earlier-cost": np.median(shares_of_first),
        "pairs-dip-where": accuracy[dip],
        "triple-factor": baseline.cost_at(0.8786 + 0.0008) / (26.32e9 / 1.011),
        "resnet-cut": f"59% less than 4.111G is {0.41 * RESNET / 1e9:.3f}G, at {at_resnet:.2%}",
    }


def with_binomial_draws(macs: pd.DataFrame, table: pd.DataFrame) -> EvidenceByClaim:
    """Return the evidence on accuracies of the front's models, with binomial draws."""
    rng = np.random.default_rng(0)
    drawn = []  # of each kind of accuracy: as published, then drawn, float64 [1 + R, M]
    for column, images in (("top1", IMAGES), ("top5", IMAGES), ("imagenetv2_top1", IMAGES_V2)):
        accuracy = table.loc[macs.index, column].to_numpy()
        draws = rng.binomial(images, accuracy, (RESAMPLES, len(accuracy))) / images
        drawn.append(np.vstack([accuracy, draws]))
    top1, top5, moved = drawn
    gains = [size_gains(macs.assign(accuracy=row)) for row in top1]
    values = {
        "size-diminishes": np.array(gains),
        "topk-difference": np.column_stack([np.ptp(top1, axis=1), np.ptp(top5, axis=1)]),
        "shift-range": spread_of(moved) - spread_of(top1),
        "shift-drops": top1 - moved,
        "shift-lose": top1 - moved,
    }
    return {name: Evidence(rows[0], list(rows[1:]), IMAGES_V2) for name, rows in values.items()}
