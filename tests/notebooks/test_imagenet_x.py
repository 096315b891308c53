"""Claims on a stand-in with the layout of ImageNet-X equal plain NumPy."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from paper_by_hand import cascades, front_of, hull_cost
from scripts import load_script

from tools.claims import ledger, verdicts

script = load_script("data/imagenet-1k/imagenet_x.py")
IMAGES = 240
SKILLS = {"SimCLR": 0.6, "ResNet50": 0.9, "DINO": 1.1, "ViT": 1.5}
POINTS = 200


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder with the layout of a clone, and {network: (correct, confidence)}."""
    root = tmp_path_factory.mktemp("imagenetx")
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % 5
    files = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(IMAGES)]
    annotations = root / "imagenet_x" / "annotations"
    annotations.mkdir(parents=True)
    table = pd.DataFrame({"file_name": files, "label": labels})
    table.to_csv(annotations / "filename_label.csv", index=False)
    predictions = root / "model_predictions" / "base"
    predictions.mkdir(parents=True)
    outcomes = {}
    ease = rng.normal(size=IMAGES)
    for name, skill in SKILLS.items():
        own = skill + ease + rng.normal(size=IMAGES)
        predicted = np.where(own > 0, labels, (labels + 1) % 5)
        confidence = np.round(1 / (1 + np.exp(-np.abs(own) - rng.normal(size=IMAGES))), 6)
        frame = table.assign(predicted_class=predicted, predicted_probability=confidence)
        frame.drop(columns="label").to_csv(predictions / f"{name}.csv", index=False)
        outcomes[name] = predicted == labels, confidence
    return root, outcomes


def half(outcomes, start):
    """The outcomes of every other image, cheapest network first, and their costs."""
    names = list(script.MACS)
    rows = slice(start, None, 2)
    return [tuple(part[rows] for part in outcomes[name]) for name in names], [
        script.MACS[name] for name in names
    ]


def candidates(outcomes, cost):
    """All networks, since their front has fewer than three, or else those on the front."""
    accuracy = [correct.mean() for correct, _ in outcomes]
    front = [
        m
        for m in range(len(cost))
        if not any(
            (cost[n] < cost[m] and accuracy[n] >= accuracy[m])
            or (cost[n] == cost[m] and accuracy[n] > accuracy[m])
            for n in range(len(cost))
        )
    ]
    return front if len(front) >= 3 else list(range(len(cost)))


def midway(confidence, t):
    """The threshold that is reported for the least confidence that exits."""
    below = confidence[confidence < t]
    if not len(below):
        return -np.inf
    return (t + below.max()) / 2 if np.isfinite(t) else t


def test_held_out_values_equal_a_loop_over_pairs_and_thresholds(clone):
    root, outcomes = clone
    here, cost = half(outcomes, 0)
    there, _ = half(outcomes, 1)
    points = []
    names = candidates(here, cost)
    pairs = [*combinations(names, 2)]
    pairs += [(b, a) for a, b in pairs if cost[a] == cost[b]]  # equal costs in both orders
    for pair in pairs:
        points += cascades(lambda part: here[part[-1]], cost, pair, IMAGES // 2)
    front = front_of(points)
    accuracy = [correct.mean() for correct, _ in there]

    def on_other(point):
        """Accuracy and cost of a point on the other half, at the midway threshold."""
        _, _, (first, last), (t,) = point
        stay = there[first][1] >= midway(here[first][1], t)
        hits = np.where(stay, there[first][0], there[last][0]).mean()
        return hits, cost[first] + cost[last] * (~stay).mean()

    best = max(range(4), key=lambda m: (here[m][0].mean(), -cost[m]))
    found = ledger.evidence_of(script.open_study(root))
    top = on_other(front[-1])[0] - accuracy[best]
    assert found["pairs-top"].value == pytest.approx(top, abs=1e-12)
    singles = [(correct.mean(), c) for (correct, _), c in zip(here, cost)]
    low = max(a for a, c in singles if c == min(cost))
    factors = []
    for at in np.linspace(low, max(a for a, _ in singles), POINTS):
        reaching = [point for point in front if point[0] >= at - 1e-12] or [front[-1]]
        hits, paid = on_other(reaching[0])
        base = hull_cost(np.array(accuracy), np.array(cost), min(hits, max(accuracy)))
        factors.append(base / paid)
    assert found["pairs-improve"].value == pytest.approx(np.median(factors), rel=1e-9)


def test_at_least_ten_claims_are_tested_with_the_words_of_the_ledger(clone):
    table = script.tested_claims(script.open_study(clone[0]))
    assert len(table) >= 10 and set(table["verdict"]) <= set(ledger.DECIDED)
    assert set(table.index) <= set(ledger.paper_claims().index)


def test_the_committed_results_have_their_source_and_ten_verdicts():
    text = ledger.REAL.read_text(encoding="utf-8")
    assert text == script.SOURCE + text.removeprefix(script.SOURCE) and "ImageNet-X" in text
    words = pd.read_csv(ledger.REAL, comment="#")["verdict"]
    assert (words != verdicts.UNDETERMINED).sum() >= 10
    assert (ledger.table({})["real ImageNet"] != "").sum() == len(words)
