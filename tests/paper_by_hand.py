"""The paper's quantities in plain NumPy loops, without the library, for small stores."""

from itertools import combinations, permutations, product

import numpy as np
from scipy.optimize import minimize_scalar

METRICS = {
    "max_softmax": lambda z, p: p.max(axis=1),
    "softmax_margin": lambda z, p: np.sort(p, axis=1)[:, -1] - np.sort(p, axis=1)[:, -2],
    "logits_margin": lambda z, p: np.sort(z, axis=1)[:, -1] - np.sort(z, axis=1)[:, -2],
    "entropy": lambda z, p: np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1),
    "top2_softmax_sum": lambda z, p: np.sort(p, axis=1)[:, -2:].sum(axis=1),
}


def softmax(z):
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def temperature_of(z, labels):
    def loss(log_t):
        return -np.log(softmax(z / np.exp(log_t))[np.arange(len(labels)), labels]).mean()

    return np.exp(
        minimize_scalar(loss, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10}).x
    )


def is_hit(z, labels, k):
    """Return whether the label is among the k best classes, the lower class first at a tie."""
    order = np.argsort(-z, axis=1, kind="stable")[:, :k]
    return (order == labels[:, None]).any(axis=1)


def outcome(logits, labels, prefix, method, fitted=None, k=1):
    """Return correctness and confidence after the models of a prefix, for a key of METHODS."""
    scaled = method.endswith("_ts")
    method = method.removesuffix("_ts")
    ensemble = next(
        (e for e in ("most_confident", "mean_logits", "mean_softmax") if e in method), ""
    )
    metric = METRICS[method.removesuffix(f"_{ensemble}")]
    zs = [logits[m] / (temperature_of(*fitted(m)) if scaled else 1) for m in prefix]
    if ensemble == "mean_logits":
        z = np.mean(zs, axis=0)
        return is_hit(z, labels, k), metric(z, softmax(z))
    if ensemble == "mean_softmax":
        p = np.mean([softmax(z) for z in zs], axis=0)
        return is_hit(p, labels, k), metric(None, p)
    found = [(is_hit(z, labels, k), metric(z, softmax(z))) for z in zs]
    if not ensemble:
        return found[-1]
    best = np.argmax([confidence for _, confidence in found], axis=0)  # the cheaper at a tie
    rows = np.arange(len(labels))
    return tuple(np.array(part)[best, rows] for part in zip(*found))


def cascades(outcome_of, cost, chain, samples):
    """Yield the accuracy and cost of a chain at all thresholds."""
    outcomes = [outcome_of(chain[: stage + 1]) for stage in range(len(chain))]
    thresholds = [np.append(np.unique(confidence), np.inf) for _, confidence in outcomes[:-1]]
    for chosen in product(*thresholds):
        left = np.ones(samples, bool)
        hits = paid = 0
        for stage, model in enumerate(chain):
            paid += cost[model] * left.sum()
            last = stage == len(chain) - 1
            exits = left if last else left & (outcomes[stage][1] >= chosen[stage])
            hits += outcomes[stage][0][exits].sum()
            left = left & ~exits
        yield hits / samples, paid / samples, chain, chosen


def front_of_singles(accuracy, cost):
    """Return the models that no cheaper or equally cheap model equals in accuracy."""
    order = sorted(range(len(cost)), key=lambda m: (cost[m], -accuracy[m]))
    front = []
    for m in order:
        if not front or accuracy[m] > accuracy[front[-1]]:
            front.append(m)
    return front


def front_of(points):
    """Return the non-dominated points, rising in accuracy."""
    found = []
    for point in sorted(points, key=lambda point: (-point[0], point[1])):
        if not found or point[1] < found[-1][1] * (1 - 1e-12):
            found.append(point)
    return found[::-1]


def hull_cost(accuracy, cost, at):
    """Return the least cost of random routing between two single models, nan above the best."""
    ways = [c for a, c in zip(accuracy, cost) if a >= at - 1e-12]
    for i, j in combinations(range(len(cost)), 2):
        low, high = sorted((i, j), key=lambda m: accuracy[m])
        if accuracy[low] < at < accuracy[high]:
            share = (at - accuracy[low]) / (accuracy[high] - accuracy[low])
            ways.append((1 - share) * cost[low] + share * cost[high])
    return min(ways, default=np.nan)


class Study:
    """The logits of a store, and its fronts by brute force."""

    def __init__(self, store, fitted_on=None):
        self.names = list(store.models.index)
        self.labels = store.labels
        self.logits = [np.asarray(store.logits(name), float) for name in self.names]
        self.costs = {kind: store.models[kind].to_numpy(float) for kind in ("macs", "seconds")}
        fitted_on = fitted_on or store
        self.fitted = lambda m: (
            np.asarray(fitted_on.logits(self.names[m]), float),
            fitted_on.labels,
        )

    def outcome(self, chain, method="max_softmax", k=1):
        return outcome(self.logits, self.labels, chain, method, self.fitted, k)

    def accuracy(self, k=1):
        return np.array([is_hit(z, self.labels, k).mean() for z in self.logits])

    def candidates(self, kind="macs"):
        """The models on the front in top-1, whatever is searched among them."""
        return front_of_singles(self.accuracy(), self.costs[kind])

    def front(self, length=2, method="max_softmax", kind="macs", k=1):
        """Return the points of cascades that no other undercuts, with chain and thresholds."""
        cost = self.costs[kind]
        points = []
        for chain in permutations(self.candidates(kind), length):
            if all(cost[a] <= cost[b] for a, b in zip(chain, chain[1:])):
                points += cascades(
                    lambda part: self.outcome(part, method, k), cost, chain, len(self.labels)
                )
        return front_of(points)

    def run(self, chain, thresholds, kind="macs"):
        """Return the accuracy, cost, exit rates and chain of a cascade by max softmax."""
        left = np.ones(len(self.labels), bool)
        hits = paid = 0.0
        rates = []
        for stage, t in enumerate([*thresholds, -np.inf], 1):
            correct, confidence = self.outcome(chain[:stage])
            exits = left & (confidence >= t)
            paid += self.costs[kind][chain[stage - 1]] * left.mean()
            hits += (correct & exits).mean()
            rates.append(exits.mean())
            left = left & ~exits
        return hits, paid, rates, chain

    def swept(self, cascades):
        """Return the front of single models and pairs, with all thresholds of each segment.

        cascades: [(chain, thresholds)] of another split's front, by accuracy. A segment is a run of
        one chain.
        """
        segments = []
        for chain, thresholds in cascades:
            if not segments or segments[-1][0] != chain:
                segments.append((chain, []))
            segments[-1][1].extend(thresholds)
        points = []
        for chain, levels in segments:
            if not levels:
                points.append(self.run(chain, []))
                continue
            _, confidence = self.outcome(chain[:1])
            inside = confidence[(confidence > min(levels)) & (confidence <= max(levels))]
            points += [self.run(chain, [t]) for t in [*levels, *inside]]
        return front_of(points)

    def improvement(self, front, at, kind="macs", k=1):
        """Return the factor of a front at an accuracy, 0 above its last point."""
        least = [cost for accuracy, cost, *_ in front if accuracy >= at - 1e-12]
        base = hull_cost(self.accuracy(k), self.costs[kind], at)
        return base / min(least) if least else 0.0


def midway(confidence, t):
    """The threshold that is reported for the least confidence that exits."""
    below = confidence[confidence < t]
    if not len(below):
        return -np.inf
    return (t + below.max()) / 2 if np.isfinite(t) else t


class ScoreStudy(Study):
    """The correctness and confidence of single models, and their cascades by brute force."""

    def __init__(self, parts, cost):
        self.parts = parts
        self.costs = {"macs": cost}
        self.labels = range(len(parts[0][0]))
        self.accuracies = np.array([correct.mean() for correct, _ in parts])

    def outcome(self, chain, *_):
        return self.parts[chain[-1]]

    def accuracy(self, k=1):
        return self.accuracies

    def candidates(self, *_):
        """All models if their front has fewer than three, or else those on the front."""
        front = super().candidates()
        return front if len(front) >= 3 else list(range(len(self.parts)))

    def cascades(self, length):
        """The chains of the front, with thresholds midway between confidences."""
        found = []
        for _, _, chain, chosen in self.front(length):
            levels = [midway(self.parts[m][1], t) for m, t in zip(chain, chosen)]
            found.append((chain, levels))
        return found

    def start(self):
        """The accuracy of the best of the cheapest models."""
        cost = self.costs["macs"]
        return max(a for a, c in zip(self.accuracies, cost) if c == min(cost))

    def base(self, accuracy):
        """The least cost of random routing between models."""
        return hull_cost(self.accuracies, self.costs["macs"], accuracy)

    def log_ratio(self, first, second):
        """The mean logarithm of the cost of the second points ÷ that of the first."""
        low = self.start()
        high = min(self.accuracies.max(), *(max(p[0] for p in part) for part in (first, second)))
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
