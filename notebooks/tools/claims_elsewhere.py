"""Evidence for the claims on shifted data, texts and calibration (notebooks 05 to 07)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from cascadelib import Front
from cascadelib.analysis import calibration_table, front_on
from cascadelib.analysis.generalization import same_samples
from tools.evidence import (
    Evidence,
    EvidenceByClaim,
    Fronts,
    ValueByClaim,
    correlations,
    normal_draws,
    over_models,
    resampled,
)
from tools.held_out import (
    on_resamples,
    points_at_accuracies,
    summary_of_factors,
    with_held_out_half,
    with_held_out_split,
)
from tools.ranges import factors, mean_in, ratio
from tools.side_by_side import threshold_table

DEPENDING = ("underconfident", "scaling-curves")  # claims that are tested by kind of training
WINDOWS = 50  # windows of a moving average that share no sample
LEAST_ERRORS = 10  # wrong answers per window, so that windows differ by more than chance
LEAST_MODELS = 8  # of each group of which a mean is compared


def drops_claims(drops: pd.DataFrame, front: Front, samples: int) -> EvidenceByClaim:
    """Return the evidence on the losses of a front's models: ``accuracy_drops`` of all splits.

    samples: the number of samples of the smallest split.
    """
    names = front.singles.index[front.singles["on_front"]]
    lost = drops[drops.index.isin(names, level="model")]
    quantile = norm.isf(0.025 / len(drops))  # the intervals of drops are simultaneous
    errors = (lost["drop_high"] - lost["drop_low"]).to_numpy() / 2 / quantile
    values = lost["drop"].to_numpy()
    return {"shift-drops": Evidence(values, list(normal_draws(values, errors)), samples)}


def shift_claims(front: Front, other: Any, own_fronts: Fronts, paired: bool) -> EvidenceByClaim:
    """Return the evidence of figures 6 and 12: a front evaluated on shifted splits.

    Each shifted split is compared with an unshifted split of the same size that did not select the
    front (:func:`tools.held_out.with_held_out_split`).

    Parameters
    ----------
    front : Front
        The front of the selection split.
    other : LogitStore
        Held-out samples. If they are one of the shifted splits, a half of the selection split is
        held out instead.
    own_fronts : mapping of str to Front
        The same search, run on each shifted split.
    paired : bool
        Whether the shifted samples are changed samples of ``other``.
    """
    shifted_samples = {own.store.origin.fingerprint for own in own_fronts.values()}
    if other.origin.fingerprint in shifted_samples:  # as ImageNetV2 in data/imagenet-1k/README.md
        front, unshifted = with_held_out_half(front)
    else:
        front, unshifted = with_held_out_split(front, other)
    found: dict[str, list[np.ndarray]] = {}
    there = {}
    for name, own in own_fronts.items():
        control, shifted = of_one_size(unshifted, own.store, paired)
        there[name] = front_on(own.store, front)
        for claim, values in changes_under_shift(front, control, shifted).items():
            found.setdefault(claim, []).append(values)
    samples = min(each.samples for each in there.values())
    about = (samples, front.store.origin.dataset, front.cost_kind)
    evidence = {}
    for claim, parts in found.items():
        values = np.stack(parts, axis=1)  # [1 + R, splits, …]
        if claim == "shift-lose":  # of each model
            values = np.median(values, axis=1)
        if claim in ("shift-exits", "shift-degree"):  # roots would be biased
            values = 1e4 * values.mean(axis=1)  # squared points
        evidence[claim] = Evidence(values[0], list(values[1:]), *about)
    return evidence | near_claims(there, own_fronts)


def of_one_size(unshifted: Any, shifted: Any, paired: bool) -> tuple[Any, Any]:
    """Return two splits of the same number of samples. Paired splits have the same samples.

    Other samples are evenly spaced, since a folder of images is in the order of classes.
    """
    if paired:
        return same_samples(unshifted, shifted), shifted
    size = min(len(unshifted), len(shifted))
    here, there = (
        split.take(np.linspace(0, len(split) - 1, size).astype(int))
        for split in (unshifted, shifted)
    )
    return here, there


def changes_under_shift(front: Front, control: Any, shifted: Any) -> dict[str, np.ndarray]:
    """Return {id of a claim: its value on one shifted split, then on each resample}, [1 + R, …].

    control: unshifted samples, as many as the shifted ones. Paired samples are resampled together.
    Exit rates and accuracies vary by chance too, and this variance is subtracted. The losses are
    those of each model of the front. Over the cascades, shift-exits is a mean square and
    shift-degree a variance.
    """
    points, columns = points_at_accuracies(front)
    here, there = (on_resamples(split, points) for split in (control, shifted))
    names = front.singles.index[front.singles["on_front"]]
    before = here.single_accuracy[:, control.models.index.get_indexer(names)]
    after = there.single_accuracy[:, shifted.models.index.get_indexer(names)]
    factors = there.improvement[:, columns]
    factors_here = here.improvement[:, columns]
    changed = there.exit_rates[..., 0] - here.exit_rates[..., 0]
    cascades = [column for column, point in enumerate(points) if len(point.models) > 1]
    rates = changed[:, cascades] if cascades else np.full((len(changed), 1), np.nan)
    size = np.mean(np.square(rates) - rates[1:].var(axis=0, ddof=1), axis=1)
    return {
        "shift-lose": before - after,
        "shift-range": spread_of(after) - spread_of(before),
        "shift-order": falls_of(after) - falls_of(before),
        "shift-improve": np.median(factors, axis=1),
        "shift-harm": 1 - factors.mean(axis=1) / factors_here.mean(axis=1),
        "shift-exits": size,
        "shift-degree": variance_over(rates),
    }


def spread_of(accuracy: np.ndarray) -> np.ndarray:
    """Return the standard deviation of accuracies over models, less sampling noise, [1 + R].

    accuracy: of the models on a split, then on each resample, float64 [1 + R, M].
    """
    return np.sqrt(np.maximum(variance_over(accuracy), 0))


def variance_over(values: np.ndarray) -> np.ndarray:
    """Return the variance over models or cascades less that of sampling noise, [1 + R].

    It can be negative. Noise that all have in common is not part of it. values: on a split, then on
    each resample, float64 [1 + R, M].
    """
    around = values - values.mean(axis=1, keepdims=True)
    freedom = max(values.shape[1] - 1, 1)
    noise = around[1:].var(axis=0, ddof=1).sum() / freedom
    return np.square(around).sum(axis=1) / freedom - noise


def falls_of(accuracy: np.ndarray) -> np.ndarray:
    """Return the number of models less accurate than their predecessor, float64 [1 + R].

    A fall counts if it exceeds two standard errors, so that more noise does not mean more falls.
    accuracy: as for :func:`spread_of`.
    """
    steps = np.diff(accuracy, axis=1)
    falls = steps < -2 * steps[1:].std(axis=0, ddof=1)
    return np.count_nonzero(falls, axis=1).astype(np.float64)


@resampled
def near_claims(there: Fronts, own: Fronts) -> ValueByClaim:
    """Return the share of accuracies at which a front is near that of a search there, by split."""
    pairs = [(factors(moved), factors(own[name])) for name, moved in there.items()]
    return {"shift-near": [np.mean(moved * 1.1 >= searched) for moved, searched in pairs]}


def text_claims(
    held_out: dict[str, tuple[Front, Any]],
    fronts: Fronts,
    f1: Fronts,
    same: pd.DataFrame,
) -> EvidenceByClaim:
    """Return the evidence of figure 7.

    held_out: {task: (front of pairs, a split that did not select it)}. fronts, f1: {task: front of
    pairs} in accuracy and, for the tasks that have it, in F1. same: ``same_fronts`` of the metrics.
    """
    tasks = [summary_of_factors(*each, np.mean) for each in held_out.values()]
    found = {"text-metrics": Evidence((same["front"] == "the same").sum())}
    found["text-improve"] = replace(
        tasks[0],
        value=[task.value for task in tasks],
        draws=list(zip(*(task.draws for task in tasks))),
        samples=min(task.samples for task in tasks),
        dataset="",
    )
    return found | f1_claims(fronts, f1)


@resampled
def f1_claims(fronts: Fronts, f1: Fronts) -> ValueByClaim:
    """Return the mean factor in F1 ÷ that in accuracy, by task."""
    return {"text-f1": [ratio(mean_in(front), mean_in(fronts[task])) for task, front in f1.items()]}


def calibration_claims(
    table: pd.DataFrame,
    averages: Mapping[str, pd.DataFrame],
    effects: Sequence[pd.DataFrame],
    scaling: pd.DataFrame,
    kinds: Mapping[str, Sequence[tuple[Any, Any]]],
    samples: int,
) -> EvidenceByClaim:
    """Return the evidence of figures 13 and 14.

    table: ``calibration_table``. averages: {model: ``moving_average``}. effects:
    ``threshold_table`` of all samples, then of several parts of them. scaling: ``scaling_table``.
    kinds: {kind of training: zoos, each a selection split and a held-out split} of models that
    differ in nothing else. Claims that may depend on training are tested by kind.
    samples: the number of held-out samples. The error of "rising" does not depend on it, but
    windows with few wrong answers are too noisy to test it.
    """
    large = table.index.str.contains("beit|convnext|deit3")
    found = over_models(calibration_of, calibrated(table, effects[0]).assign(large=large))
    group = min(large.sum(), (~large).sum())  # the smaller one has the larger error
    draws = found["large-families"].draws if group >= LEAST_MODELS else ()
    found["large-families"] = replace(found["large-families"], draws=draws, samples=int(group))
    rising = [rows["accuracy"].corr(rows["confidence"], "spearman") for rows in averages.values()]
    errors = [1 - rows["accuracy"].mean() for rows in averages.values()]
    is_tested = min(errors, default=0.0) * samples / WINDOWS >= LEAST_ERRORS
    found["rising"] = correlations(rising, WINDOWS if is_tested else 0)
    parts = perfect_effects(effects[1:])
    gains = parts.mean(axis=0)
    error = parts.std(axis=0, ddof=1) / np.sqrt(len(parts))
    inflated = error * t.isf(0.025, len(parts) - 1) / norm.isf(0.025)
    found["perfect"] = Evidence(gains, list(normal_draws(gains, inflated)), samples)
    ratios = scaling["cost_ratio"].to_numpy()
    ends = (scaling["cost_ratio_high"] - scaling["cost_ratio_low"]).to_numpy()
    quantile = norm.isf(0.025 / len(scaling))  # the intervals are simultaneous
    drawn = list(normal_draws(ratios, ends / 2 / quantile))
    found["scaling-fronts"] = Evidence(ratios, drawn, samples)
    by_kind = {kind: calibration_by_models(zoos) for kind, zoos in kinds.items()}
    for name in DEPENDING:
        of_kinds = {kind: evidence[name] for kind, evidence in by_kind.items()}
        found[name] = replace(found[name], kinds=of_kinds)
    return found


def calibration_by_models(zoos: Sequence[tuple[Any, Any]]) -> EvidenceByClaim:
    """Return the evidence over the models of one kind of training.

    Zoos differ by their seeds. They are averaged, because models of one size are not independent.
    """
    parts = []
    for store, other in zoos:
        table = calibration_table(other, store)
        parts.append(calibrated(table, threshold_table(other, store)))
    by_size = pd.concat(parts).groupby(level=0)
    verdicts = by_size["verdict"].agg(lambda words: words.iloc[0] if words.nunique() == 1 else "–")
    models = by_size[["gap", "scaled"]].mean().assign(verdict=verdicts, large=False)
    return over_models(calibration_of, models)


def calibrated(table: pd.DataFrame, effects: pd.DataFrame) -> pd.DataFrame:
    """Return the columns gap, verdict and scaled of each model: the arguments of figure 13."""
    return table[["gap", "verdict"]].assign(scaled=effects["above_scaled_size"])


def calibration_of(models: pd.DataFrame) -> ValueByClaim:
    """Return the values of figure 13 over models: rows with gap, verdict, large (family),
    scaled."""
    gap = models["gap"].abs()
    counted = models["verdict"].value_counts()
    return {
        "underconfident": [counted.get(f"{side}confident", 0) for side in ("under", "over")],
        "large-families": gap[models["large"]].mean() / gap.mean(),
        "scaling-curves": models["scaled"].mean(),
    }


def perfect_effects(parts: Sequence[pd.DataFrame]) -> np.ndarray:
    """Return the effects of perfect calibration on two models: float64 [parts ÷ 2, 4].

    The columns are the gains above and below the threshold of the model that gains most, and the
    losses of the one that loses most. The first half of the parts chooses the models, by the
    smaller of both sides, and each other part is a row. So the effects are not those of the
    luckiest models.
    """
    gains = np.array([[part["above_perfect"], -part["below_perfect"]] for part in parts])
    half = len(gains) // 2
    chosen = gains[:half].mean(axis=0)
    best = chosen.min(axis=0).argmax()
    worst = (-chosen).min(axis=0).argmax()
    return np.array([[*gain[:, best], *-gain[:, worst]] for gain in gains[half:]])
