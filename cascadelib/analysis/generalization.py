"""Models, fronts and guarantees on splits that did not choose them, as tables."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from ..checks import about, known
from ..evaluation.evaluation import correct_alone, quality
from ..evaluation.intervals import LEVEL, difference_interval, paired_difference_interval, with_ends
from ..evaluation.run import evaluate
from ..front_end import watched
from ..fronts.exact import search
from ..fronts.front import Front
from ..fronts.selection import pick
from ..guarantees.certificate import certify
from ..methods.method import Method
from ..store.protocol import Store
from .shift import front_of, front_on, replay


def accuracy_drops(
    store: Store, splits: Mapping[str, Store], *, paired: bool = False
) -> pd.DataFrame:
    """What each single model loses from one split to others.

    Intervals are paired where a split holds the very samples of ``store`` in the same order, and of
    independent samples otherwise.

    Parameters
    ----------
    store : LogitStore or ScoreTable
    splits : mapping of str to LogitStore or ScoreTable
        Labelled, with the same classes and all models of ``store``.
    paired : bool
        Whether the splits are samples of ``store``, changed: each is then compared with its own
        originals, found by their ids.
    Returns
    -------
    DataFrame
        A row per split and model (index levels ``split`` and ``model``), models cheapest first:
        top-1 accuracy, accuracy_replayed, drop (positive: worse on the split), drop_low and
        drop_high, at 95% for all intervals together (Bonferroni).

    Raises
    ------
    ValueError
        For no splits, a split of other classes or without one of the models, a split that is
        ``store`` itself, and samples that cannot be paired.
    """
    if not splits:
        raise ValueError("there is no split to compare with: give {label: store}")
    each = 1 - (1 - LEVEL) / (len(splits) * len(store.models))
    tables = {}
    for label, split in splits.items():
        originals = same_samples(store, split) if paired else store
        tables[label] = _drops(originals, split, each)
    return pd.concat(tables, names=["split"])


def fronts_under_shift(
    splits: Mapping[str, Store], front: Front, own: Mapping[str, Front], near: float = 1.1
) -> pd.DataFrame:
    """A front replayed on several splits, beside the front that a search of each split finds.

    Parameters
    ----------
    splits : mapping of str to LogitStore or ScoreTable
    front : Front
        Found on another split.
    own : mapping of str to Front
        The same search on each split: the least that cascades could cost there.
    near : float
        Up to which factor a cost counts as near that of the split's own front.

    Returns
    -------
    DataFrame
        A row per split: mean_improvement of the replayed front and
        mean_improvement_own_front, both over that split's single models; share_improved and
        share_near_own_front, the shares of that split's accuracy range (401 accuracies) at which
        the replayed front costs less than single models, and at most ``near`` times what the
        split's own front costs.

    References
    ----------
    Lebovitz et al., 2023, figures 6 and 12.
    """
    rows = {}
    for label, store in splits.items():
        there = front_on(store, front)
        improvement = there.improvement_curve(points=401)["improvement"]
        best = own[label].improvement_curve(points=401)["improvement"]
        rows[label] = {
            "mean_improvement": there.mean_improvement(),
            "mean_improvement_own_front": own[label].mean_improvement(),
            "share_improved": (improvement > 1).mean(),
            "share_near_own_front": (improvement * near >= best).mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def guarantee_table(
    store: Any, front: Front, losses: Sequence[float], held_out: Any, delta: float = 0.05
) -> pd.DataFrame:
    """What a guarantee costs at each allowed loss, and whether it is kept on held-out samples.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The certification split, as for :func:`cascadelib.certify`.
    front : Front
        Found on another split.
    losses : sequence of float
        Allowed losses of accuracy ε against the reference, fractions.
    held_out : LogitStore or ScoreTable
        Samples that neither chose nor certified.
    delta : float
        Probability with which each guarantee may fail.

    Returns
    -------
    DataFrame
        A row per allowed loss: accuracy_loss_allowed (ε), models and cost of the certified cascade
        (``("–",)`` and nan where nothing is certified), and accuracy_loss_held_out: its loss on
        ``held_out`` against the same reference there.
    """
    rows = []
    for epsilon in losses:
        found = certify(store, front, epsilon, delta)
        row: dict[str, Any] = {"accuracy_loss_allowed": epsilon, "models": ("–",), "cost": np.nan}
        row["accuracy_loss_held_out"] = np.nan
        if found.point is not None:
            alone = correct_alone(held_out, found.reference, front.score)
            lost = quality(held_out, alone, front.score) - evaluate(held_out, found.point).accuracy
            row |= {"models": found.point.models, "cost": found.point.cost}
            row["accuracy_loss_held_out"] = lost
        rows.append(row)
    return pd.DataFrame(rows)


def selection_bias(
    store: Any,
    n_models: int | tuple[int, ...] = 2,
    method: Method | str | None = None,
    *,
    repeats: int = 20,
    seed: int = 0,
    **options: Any,
) -> pd.DataFrame:
    """How optimistic a front is about itself: found on one half of a store, measured on the other.

    Parameters
    ----------
    store : LogitStore or ScoreTable
    n_models, method, **options
        As for :func:`cascadelib.search`.
    repeats : int
        How many times the samples are halved at random.
    seed : int
        Of the halves.

    Returns
    -------
    DataFrame
        A row per repeat. Columns in pairs, ``…_chosen`` on the half that chose and ``…_measured``
        on the other: accuracy, the mean over the front's points; single_models, the mean accuracy
        of all single models, which differs by chance alone; mean_improvement of the front; and
        best_improvement, that of the point with the largest improvement factor.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in watched(range(repeats), "halves"):
        order = rng.permutation(len(store))
        chosen = store.take(order[: len(store) // 2])
        measured = store.take(order[len(store) // 2 :])
        front = search(chosen, n_models, method, **options)
        best = pick(front, "max_improvement")
        replayed = replay(measured, front, ranges=False)
        moved = front_of(measured, front, replayed)
        row = {
            "accuracy_chosen": front.table["accuracy"].mean(),
            "accuracy_measured": replayed["accuracy_replayed"].mean(),
            "single_models_chosen": chosen.models["top1"].mean(),
            "single_models_measured": measured.models["top1"].mean(),
            "mean_improvement_chosen": front.mean_improvement(),
            "mean_improvement_measured": moved.mean_improvement(),
            "best_improvement_chosen": best.improvement,
            "best_improvement_measured": evaluate(measured, best).improvement,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def same_samples(store: Store, other: Store) -> Store:
    """The samples of ``store`` that ``other`` holds, in the order of ``other``: paired by row.

    Raises
    ------
    ValueError
        Naming the first sample that ``store`` lacks, or whose label differs.
    """
    position = {sample: row for row, sample in enumerate(store.origin.sample_ids.tolist())}
    wanted = other.origin.sample_ids.tolist()
    missing = [sample for sample in wanted if sample not in position]
    if missing:
        raise ValueError(
            f"split {store.origin.split!r} lacks {len(missing)} of the {len(other)} samples of "
            f"{other.origin.split!r}, the first is {missing[0]!r}: they cannot be paired"
        )
    part = store.take([position[sample] for sample in wanted])
    with about(f"splits {store.origin.split!r} and {other.origin.split!r}"):
        part.origin.check_same(other.origin.sample_ids, other.origin.values)
    return part


def check_same_task(store: Store, other: Store) -> None:
    """Refuse a split with other classes than ``store``, or without one of its models.

    Raises
    ------
    ValueError
        Naming the first class or the model.
    """
    classes = store.origin.classes
    others = other.origin.classes
    if store.class_count and classes and others and classes != others:
        pairs = zip_longest(classes, others)
        first = next(i for i, (one, other_one) in enumerate(pairs) if one != other_one)
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first "
            f"difference at class {first}; map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        known(name, other.models.index, "model of the other split")
    here = store.class_count
    there = other.class_count
    if here and there and here != there:
        raise ValueError(f"the outputs have {here} classes on one split and {there} on the other")


def _drops(store: Store, other: Store, level: float) -> pd.DataFrame:
    """:func:`accuracy_drops` from one store to one split, each interval by itself at ``level``."""
    check_same_task(store, other)
    names = list(store.models.index)
    before = [correct_alone(store, name, "top1") for name in names]
    after = [correct_alone(other, name, "top1") for name in names]
    same = np.array_equal(store.origin.sample_ids, other.origin.sample_ids)
    if same and np.array_equal(np.array(before), np.array(after)):
        raise ValueError(
            f"the split {store.origin.split!r} ({len(store):,} samples) is compared with itself: "
            "give the split that was chosen on, and another"
        )
    # Row numbers that are equal by themselves make no pairs: two splits both begin at row 0.
    told_apart = store.origin.has_ids and other.origin.has_ids
    paired = same and (told_apart or store.origin.source == other.origin.source)
    interval = paired_difference_interval if paired else difference_interval
    rows = []
    for correct, correct_replayed in zip(before, after):
        low, high = interval(correct, correct_replayed, level)
        row = {"accuracy": correct.mean(), "accuracy_replayed": correct_replayed.mean()}
        row |= with_ends(correct.mean() - correct_replayed.mean(), (-high, -low), "drop")
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index(names, name="model"))
