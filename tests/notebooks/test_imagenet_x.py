"""Claims on a stand-in with the layout of ImageNet-X equal plain NumPy."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from paper_by_hand import cascades, front_of, front_of_singles, hull_cost
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


def midway(confidence, t):
    """The threshold that is reported for the least confidence that exits."""
    below = confidence[confidence < t]
    if not len(below):
        return -np.inf
    return (t + below.max()) / 2 if np.isfinite(t) else t


class Half:
    """Every other image: accuracies of the networks, and cascades of them, in plain NumPy."""

    def __init__(self, outcomes, start):
        rows = slice(start, None, 2)
        self.parts = [tuple(part[rows] for part in outcomes[name]) for name in script.MACS]
        self.cost = [script.MACS[name] for name in script.MACS]
        self.accuracy = np.array([correct.mean() for correct, _ in self.parts])

    def candidates(self):
        """All networks if their front has fewer than three, or else those on the front."""
        front = front_of_singles(self.accuracy, self.cost)
        return front if len(front) >= 3 else list(range(len(self.cost)))

    def points(self, length):
        """The accuracy, cost, chain and thresholds of the cascades that no other undercuts."""
        points = []
        for chain in permutations(self.candidates(), length):
            if all(self.cost[a] <= self.cost[b] for a, b in zip(chain, chain[1:])):
                samples = len(self.parts[0][0])
                points += cascades(lambda part: self.parts[part[-1]], self.cost, chain, samples)
        return front_of(points)

    def front(self, length):
        """The chains of :meth:`points`, with thresholds midway between confidences."""
        found = []
        for _, _, chain, chosen in self.points(length):
            levels = [midway(self.parts[m][1], t) for m, t in zip(chain, chosen)]
            found.append((chain, levels))
        return found

    def run(self, chain, thresholds):
        """Accuracy, cost and exit rates of a cascade."""
        left = np.ones(len(self.parts[0][0]), bool)
        hits = cost = 0.0
        rates = []
        for m, t in zip(chain, [*thresholds, -np.inf]):
            correct, confidence = self.parts[m]
            exits = left & (confidence >= t)
            cost += self.cost[m] * left.mean()
            hits += (correct & exits).mean()
            rates.append(exits.mean())
            left = left & ~exits
        return hits, cost, rates, chain

    def swept(self, front):
        """The points of a front of pairs here, with all thresholds of each segment."""
        runs = []
        for chain, levels in front:
            if not runs or runs[-1][0] != chain:
                runs.append((chain, []))
            runs[-1][1].extend(levels)
        points = []
        for chain, levels in runs:
            confidence = self.parts[chain[0]][1]
            inside = confidence[(confidence > min(levels)) & (confidence <= max(levels))]
            points += [self.run(chain, [t]) for t in [*levels, *inside]]
        return front_of(points)

    def log_ratio(self, first, second):
        """The mean logarithm of the cost of the second points ÷ that of the first."""
        low = max(a for a, c in zip(self.accuracy, self.cost) if c == min(self.cost))
        high = min(self.accuracy.max(), *(max(p[0] for p in part) for part in (first, second)))
        inner = [p[0] for part in (first, second) for p in part if low < p[0] < high]
        edges = np.unique([low, high, *inner])
        total = 0.0
        for lower, upper in zip(edges, edges[1:]):
            costs = [min(p[1] for p in part if p[0] >= upper) for part in (first, second)]
            total += (upper - lower) * np.log(costs[1] / costs[0])
        return total / (high - low)


def tenths_of(here, front):
    """The best cascades with a neighbour of each first threshold among every tenth confidence."""
    found = []
    for chain, levels in front:
        values = np.sort(here.parts[chain[0]][1])[::10]
        above = np.searchsorted(values, levels[0])
        rows = max(above - 1, 0), min(above, len(values) - 1)
        found += [(chain, [values[row], *levels[1:]]) for row in rows]
    kept = front_of([(*here.run(*point)[:2], point) for point in found])
    return [point for *_, point in kept]


def searched_triples(here, paper):
    """The chains and thresholds of a search. Several may have one accuracy and cost."""
    names = list(script.MACS)
    found = paper.search(DESIGNS["Figure 4"], 3)
    expected = np.array([point[:2] for point in here.points(3)])
    np.testing.assert_allclose(found.table[["accuracy", "cost"]], expected, rtol=1e-12)
    return [
        (tuple(names.index(name) for name in point.models), list(point.inside))
        for point in found.cascades
    ]


def by_hand(here, there, three):
    """The claims of which ImageNet-X decides, by loops over cascades and thresholds.

    three: the triples of the front, with their thresholds.
    """
    two = here.front(2)
    moved = there.swept(two)
    own = [here.run(*point) for point in two]
    at_points = [there.run(*point) for point in two]
    deep = front_of([there.run(*point) for point in three])
    best = max(range(4), key=lambda m: (here.accuracy[m], -here.cost[m]))
    start = max(a for a, c in zip(here.accuracy, here.cost) if c == min(here.cost))
    spaced = []
    for at in np.linspace(start, here.accuracy.max(), POINTS):
        row = next((i for i, run in enumerate(own) if run[0] >= at - 1e-12), len(own) - 1)
        hits, paid, *_ = at_points[row]
        base = hull_cost(there.accuracy, there.cost, min(hits, there.accuracy.max()))
        spaced.append(base / paid)
    deferring = [run for run in moved if run[2][-1] > 0]
    tenth = front_of([there.run(*point) for point in tenths_of(here, three)])
    return {
        "pairs-improve": np.median(spaced),
        "pairs-top": at_points[-1][0] - there.accuracy[best],
        "largest-dominates": np.median(
            [
                run[2][-1] * there.cost[run[3][-1]] / run[1]
                for run in deferring
                if there.cost[run[3][0]] < there.cost[run[3][-1]]
            ]
        ),
        "earlier-cost": np.median(
            [there.cost[run[3][0]] / there.cost[run[3][-1]] for run in deferring]
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
        for a in np.linspace(min(there.accuracy), max(there.accuracy), 200_001)
        if hull_cost(there.accuracy, there.cost, a) <= paid
    )
    expensive = cl.pick(fronts[0], "max_improvement"), cl.pick(fronts[1], "max_improvement")
    *firsts, last = front_of_singles(here.accuracy, here.cost)
    exceeding = []
    for first in firsts:
        confidence = here.parts[first][1]
        levels = [np.inf, *sorted({midway(confidence, t) for t in confidence}, reverse=True)]
        level = max(levels, key=lambda t: here.run((first, last), [t])[0])
        exceeding.append(there.run((first, last), [level])[0] - there.accuracy[last])
    return {
        "best-for-less": [
            hits - there.accuracy[best],
            hits - routing,
            1 - paid / there.cost[best],
        ],
        "triple-cost": [on(there, point)[1] / on(here, point)[1] - 1 for point in expensive],
        "plateau-exceeds": exceeding,
    }


def test_all_decided_claims_equal_loops_over_cascades_and_thresholds(clone):
    root, outcomes = clone
    here, there = (Half(outcomes, start) for start in (0, 1))
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
    committed = ledger.real_imagenet()["pairs-top"]
    assert committed.endswith("]: supported")
    assert not table["verdict"].str.contains("differs").any()


def test_at_least_ten_claims_are_tested_with_the_words_of_the_ledger(clone):
    table = script.tested_claims(script.open_study(clone[0]))
    assert len(table) >= 10 and set(ledger.word_of(table["verdict"])) <= set(ledger.DECIDED)
    assert set(table.index) <= set(ledger.paper_claims().index)


def test_the_committed_results_have_their_source_and_ten_verdicts():
    text = ledger.REAL.read_text(encoding="utf-8")
    assert text == script.SOURCE + text.removeprefix(script.SOURCE) and "ImageNet-X" in text
    words = ledger.word_of(pd.read_csv(ledger.REAL, comment="#")["verdict"])
    assert len(words) >= 10
    assert (ledger.table({})["real ImageNet"] != "").sum() == len(words)
