"""Evaluate models, fronts and guarantees on splits that were not used for selection."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import pandas as pd

from ..checks import error_context, validate_choice
from ..evaluation.evaluation import correct_alone, quality, singles_correct
from ..evaluation.intervals import LEVEL, difference_interval, paired_difference_interval, with_ends
from ..evaluation.run import evaluate
from ..fronts.front import Front
from ..guarantees.certificate import certify
from ..store.protocol import Store


def accuracy_drops(
    store: Store, splits: Mapping[str, Store], *, paired: bool = False
) -> pd.DataFrame:
    """Return the drop of each single model's accuracy from one split to others.

    Intervals are paired if a split has the same samples as `store` in the same order. Otherwise
    samples are independent.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split to compare with.
    splits : mapping of str to LogitStore or ScoreTable
        Labelled splits, with the same classes and all models of `store`.
    paired : bool, default=False
        Whether the splits contain changed samples of `store`. Each is then compared with its
        originals, which are found by their ids.

    Returns
    -------
    DataFrame
        One row per split and model, models cheapest first: accuracy, accuracy_replayed, drop
        (positive: worse on the split), drop_low and drop_high. The 95% intervals hold
        simultaneously (Bonferroni).

    Raises
    ------
    ValueError
        If there is no split, if a split has other classes or lacks a model, if a split is `store`
        itself, or if samples cannot be paired.
    """
    if not splits:
        raise ValueError("there is no split to compare with: pass {label: store}")
    level = 1 - (1 - LEVEL) / (len(splits) * len(store.models))
    tables = {}
    for label, split in splits.items():
        originals = same_samples(store, split) if paired else store
        check_same_task(originals, split)
        names = originals.models.index
        before = singles_correct(originals, "top1")
        after = [correct_alone(split, name, "top1") for name in names]
        one = originals.origin
        other = split.origin
        is_same = np.array_equal(one.sample_ids, other.sample_ids)
        if is_same and np.array_equal(before, after):
            raise ValueError(
                f"the split {one.split!r} ({len(originals):,} samples) is compared with itself: "
                "pass the selection split and another"
            )
        # Equal row numbers do not make pairs, since all splits begin at row 0.
        is_paired = is_same and one.shares_ids(other)
        interval = paired_difference_interval if is_paired else difference_interval
        rows = []
        for correct, replayed in zip(before, after):
            low, high = interval(correct, replayed, level)
            row = {
                "accuracy": correct.mean(),
                "accuracy_replayed": replayed.mean(),
                **with_ends(correct.mean() - replayed.mean(), (-high, -low), "drop"),
            }
            rows.append(row)
        tables[label] = pd.DataFrame(rows, index=pd.Index(names, name="model"))
    return pd.concat(tables, names=["split"])


def guarantee_table(
    store: Any, front: Front, losses: Sequence[float], held_out: Any, delta: float = 0.05
) -> pd.DataFrame:
    """Return the cost of a guarantee at each allowed loss, and the loss on held-out samples.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The certification split, as for :func:`cascadelib.certify`.
    front : Front
        Front of another split.
    losses : sequence of float
        Allowed losses of accuracy ε relative to the reference, as fractions.
    held_out : LogitStore or ScoreTable
        Samples that were used neither for selection nor for certification.
    delta : float, default=0.05
        Largest probability that one of the guarantees fails. Each has δ ÷ the number of losses.

    Returns
    -------
    DataFrame
        One row per allowed loss: accuracy_loss_allowed (ε), models and cost of the certified
        cascade, and accuracy_loss_held_out, its loss relative to the same reference on `held_out`.
        Without a certified cascade, models is ``("–",)`` and the others are nan.
    """
    rows = []
    for epsilon in losses:
        certificate = certify(store, front, epsilon, delta / len(losses))
        models: tuple[str, ...] = ("–",)
        cost = loss = np.nan
        if certificate.guarantee is not None:
            correct = correct_alone(held_out, certificate.reference, front.score)
            run = evaluate(held_out, certificate.point)
            loss = quality(held_out, correct, front.score) - run.accuracy
            models = certificate.point.models
            cost = certificate.point.cost
        rows.append((epsilon, models, cost, loss))
    columns = ["accuracy_loss_allowed", "models", "cost", "accuracy_loss_held_out"]
    return pd.DataFrame(rows, columns=columns)


def same_samples(store: Store, other: Store) -> Store:
    """Return the samples of `store` that `other` contains, in the order of `other`.

    Raises
    ------
    ValueError
        If `store` lacks a sample, or if a label differs. The message names the first one.
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
    with error_context(f"splits {store.origin.split!r} and {other.origin.split!r}"):
        part.origin.check_same(other.origin.sample_ids, other.origin.values)
    return part


def check_same_task(store: Store, other: Store) -> None:
    """Raise a ValueError if a split has other classes than `store`, or lacks one of its models."""
    classes = store.origin.classes
    others = other.origin.classes
    if store.class_count and classes and others and classes != others:
        pairs = zip_longest(classes, others)
        first = next(i for i, (one, other_one) in enumerate(pairs) if one != other_one)
        raise ValueError(
            f"the splits have other classes: {len(classes)} and {len(others)}, the first "
            f"difference at class {first}: map the labels of one to the other's before extracting"
        )
    for name in store.models.index:
        validate_choice(name, other.models.index, "model of the other split")
    class_count = store.class_count
    other_count = other.class_count
    if class_count and other_count and class_count != other_count:
        raise ValueError(
            f"the outputs have {class_count} classes on one split and {other_count} on the other: "
            "extract both splits with the same classes"
        )
