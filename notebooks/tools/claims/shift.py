"""The paper's claims on shifted data (figures 6 and 12).

A front runs unchanged on each shifted split and on as many unshifted held-out samples. Changed
samples of the held-out split are compared with themselves.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy import ndarray as Array

import cascadelib as cl
from cascadelib import Front
from cascadelib.analysis.generalization import same_samples
from cascadelib.store.protocol import Store
from tools.claims.evidence import Evidence, EvidenceByClaim
from tools.claims.views import (
    Claims,
    draw_front,
    points_at_accuracies,
    with_samples,
)
from tools.designs import DESIGNS
from tools.figures.ranges import factors
from tools.paper import Paper

CHANGES = Claims()  # of one shifted split
NEAR = Claims()  # of a list of fronts: evaluated and searched on each shifted split
SQUARED_POINTS = 1e4


@dataclass(frozen=True)
class Change:
    """The models and cascades of a front on unshifted and on shifted samples.

    Rows are the samples themselves, then their resamples.

    Parameters
    ----------
    before, after : float64 array of shape (1 + R, n_models)
        Accuracies of the models of the front.
    factors_before, factors : float64 array of shape (1 + R, n_accuracies)
        Improvement factors at evenly spaced accuracies.
    exits : float64 array of shape (1 + R, n_cascades)
        Changes of the exit rate of the first model.
    """

    before: Array
    after: Array
    factors_before: Array
    factors: Array
    exits: Array


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    if not paper.shifted:
        return {}
    front = paper.search(DESIGNS["Figure 6"])
    splits = list(paper.shifted.values())
    return of_changes(front, paper.unseen, splits) | of_near(front, splits)


def of_near(front: Front, splits: list[Store]) -> EvidenceByClaim:
    """Return the evidence on a front relative to a search of its models on each shifted split."""
    fronts = []
    options = {"cost": front.cost_kind, "models": list(front.candidates)}
    for split in splits:
        searched = cl.search(split, 2, front.method, **options)
        moved = cl.analysis.front_on(split, front)
        fronts.append([draw_front(moved), draw_front(searched)])
    views = list(zip(*(zip(*pair) for pair in fronts)))
    return NEAR.measure(views, min(map(len, splits)))


def are_paired(unshifted: Store, shifted: Store) -> bool:
    """Return whether shifted samples are changed samples of a split, which have the same ids."""
    return bool(np.isin(shifted.origin.sample_ids, unshifted.origin.sample_ids).all())


def of_changes(front: Front, unshifted: Store, shifted: list[Store]) -> EvidenceByClaim:
    """Return the evidence on the changes from unshifted to each shifted split."""
    changes = [change_of(front, *of_one_size(unshifted, split)) for split in shifted]
    samples = min(map(len, shifted))
    found = {}
    for name, claim in CHANGES.items():
        by_split = [claim.function(change) for change in changes]
        values = np.stack(by_split, axis=1)  # [1 + R, splits, …]
        if name == "shift-lose":  # of each model
            values = np.median(values, axis=1)
        if name == "shift-degree":
            values = SQUARED_POINTS * values.mean(axis=1)
        value, *draws = values
        found[name] = Evidence(value, draws, samples)
    return found


def of_one_size(unshifted: Store, shifted: Store) -> tuple[Store, Store]:
    """Return two splits of the same number of samples. Paired splits have the same samples.

    Other samples are evenly spaced, since a folder of images is in the order of classes.
    """
    if are_paired(unshifted, shifted):
        return same_samples(unshifted, shifted), shifted
    size = min(len(unshifted), len(shifted))
    spaced = []
    for split in (unshifted, shifted):
        rows = np.linspace(0, len(split) - 1, size)
        spaced.append(split.take(rows.astype(int)))
    here, there = spaced
    return here, there


def change_of(front: Front, control: Store, shifted: Store) -> Change:
    """Return the change from unshifted samples to as many shifted ones.

    Paired samples are resampled together.
    """
    spaced = points_at_accuracies(front)
    columns, distinct = pd.factorize(np.array(spaced, object))  # a point may be listed often
    points = list(distinct)
    here = cl.bootstrap(control, points, with_samples(control))
    there = cl.bootstrap(shifted, points, with_samples(shifted))
    names = front.singles.index[front.singles["on_front"]]
    exits = there.exit_rates[..., 0] - here.exit_rates[..., 0]
    several = [column for column, point in enumerate(points) if len(point.models) > 1]
    unknown = np.full((len(exits), 1), np.nan)
    return Change(
        here.single_accuracy[:, control.models.index.get_indexer(names)],
        there.single_accuracy[:, shifted.models.index.get_indexer(names)],
        here.improvement[:, columns],
        there.improvement[:, columns],
        exits[:, several] if several else unknown,
    )


@CHANGES.add()
def shift_lose(found: Change) -> Array:
    return found.before - found.after


@CHANGES.add()
def shift_range(found: Change) -> Array:
    return spread_of(found.after) - spread_of(found.before)


@CHANGES.add()
def shift_order(found: Change) -> Array:
    return falls_of(found.after) - falls_of(found.before)


@CHANGES.add()
def shift_improve(found: Change) -> Array:
    return np.median(found.factors, axis=1)


@CHANGES.add()
def shift_harm(found: Change) -> Array:
    before = found.factors_before.mean(axis=1)
    return 1 - found.factors.mean(axis=1) / before


@CHANGES.add()
def shift_degree(found: Change) -> Array:
    return variance_over(found.exits)


@NEAR.add()
def shift_near(fronts: list[tuple[Front, Front]]) -> list[float]:
    pairs = [(factors(moved), factors(searched)) for moved, searched in fronts]
    return [float(np.mean(moved * 1.1 >= searched)) for moved, searched in pairs]


def spread_of(accuracy: Array) -> Array:
    """Return the standard deviation of accuracies over models, less sampling noise, [1 + R]."""
    return np.sqrt(np.maximum(variance_over(accuracy), 0))


def variance_over(values: Array) -> Array:
    """Return the variance over models or cascades less that of sampling noise, [1 + R].

    It can be negative. Noise that all have in common is not part of it. values: on a split, then on
    each resample, float64 [1 + R, M].
    """
    around = values - values.mean(axis=1, keepdims=True)
    freedom = max(values.shape[1] - 1, 1)
    noise = around[1:].var(axis=0, ddof=1).sum() / freedom
    return np.square(around).sum(axis=1) / freedom - noise


def falls_of(accuracy: Array) -> Array:
    """Return the number of models less accurate than their predecessor, float64 [1 + R].

    A fall counts if it exceeds two standard errors, so that more noise does not mean more falls.
    """
    steps = np.diff(accuracy, axis=1)
    error = steps[1:].std(axis=0, ddof=1)
    falls = steps < -2 * error
    return np.count_nonzero(falls, axis=1).astype(np.float64)
