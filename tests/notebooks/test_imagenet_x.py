"""Claims on a stand-in with the layout of ImageNet-X equal plain NumPy."""

import numpy as np
import pandas as pd
import pytest
from paper_by_hand import ScoreStudy, front_of, tenths_of
from scripts import load_script

import cascadelib as cl
from tools.claims import ledger, verdicts
from tools.designs import DESIGNS

script = load_script("data/imagenet-1k/imagenet_x.py")
IMAGES = 160
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


def half_of(outcomes, start):
    """Every other image of the stand-in."""
    rows = slice(start, None, 2)
    parts = [tuple(part[rows] for part in outcomes[name]) for name in script.MACS]
    return ScoreStudy(parts, list(script.MACS.values()))


def searched_triples(here, paper):
    """The chains and thresholds of a search. Several may have one accuracy and cost."""
    names = list(script.MACS)
    found = paper.search(DESIGNS["Figure 4"], 3)
    expected = np.array([point[:2] for point in here.front(3)])
    np.testing.assert_allclose(found.table[["accuracy", "cost"]], expected, rtol=1e-12)
    return [
        (tuple(names.index(name) for name in point.models), list(point.inside))
        for point in found.cascades
    ]


def by_hand(here, there, three):
    """The claims of which ImageNet-X decides, by loops over cascades and thresholds.

    three: the triples of the front, with their thresholds.
    """
    two = here.cascades(2)
    moved = there.swept(two)
    own = [here.run(*point) for point in two]
    at_points = [there.run(*point) for point in two]
    deep = front_of([there.run(*point) for point in three])
    cost = there.costs["macs"]
    best = max(range(4), key=lambda m: (here.accuracies[m], -cost[m]))
    spaced = []
    for at in np.linspace(here.start(), here.accuracies.max(), POINTS):
        row = next((i for i, run in enumerate(own) if run[0] >= at - 1e-12), len(own) - 1)
        hits, paid, *_ = at_points[row]
        spaced.append(there.base(min(hits, there.accuracies.max())) / paid)
    deferring = [run for run in moved if run[2][-1] > 0]
    tenth = front_of([there.run(*point) for point in tenths_of(here, three)])
    return {
        "pairs-improve": np.median(spaced),
        "pairs-top": at_points[-1][0] - there.accuracies[best],
        "largest-dominates": np.median(
            [
                run[2][-1] * cost[run[3][-1]] / run[1]
                for run in deferring
                if cost[run[3][0]] < cost[run[3][-1]]
            ]
        ),
        "early-exits": np.median([run[2][0] for run in deferring]),
        "tenth": np.exp(there.log_ratio(deep, tenth)),
    }


def picked_by_hand(here, there, paper):
    """Claims on cascades that ``cl.pick`` chose, whose values are loops over the samples."""
    names = list(script.MACS)
    design = DESIGNS["Figure 1"]
    fronts = [paper.search(design, length) for length in (2, 3)]

    def on(half, point):
        return half.run([names.index(name) for name in point.models], point.thresholds)

    match = cl.pick(fronts[0], "near_best", caution=0)
    best = names.index(fronts[0].reference.models[0])
    hits, paid, *_ = on(there, match)
    routing = max(
        a
        for a in np.linspace(*np.sort(there.accuracies)[[0, -1]], 200_001)
        if there.base(a) <= paid
    )
    expensive = cl.pick(fronts[0], "max_improvement"), cl.pick(fronts[1], "max_improvement")
    cost = there.costs["macs"]
    return {
        "best-for-less": [
            hits - there.accuracies[best],
            hits - routing,
            1 - paid / cost[best],
        ],
        "triple-cost": [on(there, point)[1] / on(here, point)[1] - 1 for point in expensive],
    }


@pytest.mark.soak
def test_all_decided_claims_equal_loops_over_cascades_and_thresholds(clone):
    root, outcomes = clone
    here, there = (half_of(outcomes, start) for start in (0, 1))
    paper = script.open_study(root)
    found = ledger.evidence_of(paper)
    expected = by_hand(here, there, searched_triples(here, paper)) | picked_by_hand(
        here, there, paper
    )
    for name, value in expected.items():
        assert np.ravel(found[name].value) == pytest.approx(np.ravel(value), abs=2e-6), name
    committed = ledger.word_of(pd.read_csv(ledger.REAL, comment="#").set_index("id")["verdict"])
    assert set(expected) >= set(committed.index[committed != verdicts.UNDETERMINED])


def test_two_costs_test_no_claim_that_varies_the_size_of_models(clone):
    """Two networks are on the front, so the paper's numbers are not compared with."""
    table = script.tested_claims(script.open_study(clone[0]))
    untested = {"size-diminishes", "pairs-larger", "third-less", "third-regimes", "diversity"}
    assert not set(table.index) & untested
    assert ledger.results_on_real_images()["pairs-top"].verdict.word == verdicts.SUPPORTED
    assert not table["verdict"].str.contains("differs").any()
