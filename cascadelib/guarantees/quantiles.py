"""Build cascades whose thresholds are quantiles of confidences, without any labels."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..checks import check_count, error_context, items_of, validate_choice
from ..evaluation.evaluation import check_store, outcomes_of, resolve_options
from ..evaluation.point import LadderTable, Point
from ..evaluation.run import Run, evaluate
from ..methods.method import Method
from ..methods.thresholds import convert_units, nearest_exit_count, threshold_for
from ..store.protocol import Store, answered_by_models


def ladder(
    store: Store,
    models: Sequence[str],
    method: str | Method | None = None,
    steps: int = 100,
) -> list[Point]:
    """Return cascades with rising exit rates, whose thresholds are quantiles of confidences.

    In cascade s of S, the threshold of each stage is a quantile of the confidences of all samples:
    a share s / S of them is at least as confident. No label is read, so all labels can be used by
    :func:`cascadelib.certify`. It tests the cascades in this order.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Samples whose confidences give the thresholds. Labels are not needed.
    models : list of str
        Two or more models, cheapest first. Of the last model, only the cost is read. Its rows may
        have confidence −inf and no prediction.
    method : str or Method, optional
        As for :func:`cascadelib.search`. A method with fitted parts must be fitted on other
        samples.
    steps : int, default=100
        Number S of cascades. Fewer are returned if samples with equal confidence make some of them
        equal.

    Returns
    -------
    list of Point
        Cascades, the one with the fewest early exits first. They have exit rates and cost on
        `store`, but no accuracy.

    Raises
    ------
    ValueError
        If there are fewer than two models, if models are unknown, repeated or not in order of cost,
        if the method is not fitted, or if it does not apply to the store.

    See Also
    --------
    certify : Certify the cascades of a ladder.
    search : Choose thresholds by labels.

    Notes
    -----
    If the labelled samples are not in `store`, the guarantee is about the distribution from which
    they are drawn. If they are drawn from `store`, the guarantee is about the samples of `store`.

    References
    ----------
    .. [1] Angelopoulos et al., "Learn then test", 2021: fixed-sequence testing.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> points = cl.ladder(table, ["llama-3.1-8b", "llama-3.3-70b"], steps=10)
    >>> print(*(round(point.exit_rates[0], 2) for point in points))
    0.1 0.2 0.29 0.4 0.5 0.59 0.7 0.8 0.89 1.0
    """
    check_store(store)
    steps = check_count(steps, "steps")
    with error_context(
        "a ladder needs the costs of all its models (the last one's rows may have confidence −inf "
        "and no prediction)"
    ):
        names = tuple(
            validate_choice(name, store.models.index, "model") for name in items_of(models)
        )
    if len(set(names)) < max(len(names), 2):
        raise ValueError(f"a ladder needs two distinct models or more, not {list(names)}")
    chosen, score, cost = resolve_options(store, method)
    costs = dict(zip(store.models.index, store.costs(cost)))
    if list(names) != (rising := sorted(names, key=costs.__getitem__)):
        raise ValueError(f"a ladder's models must be sorted, cheapest first, by {cost!r}: {rising}")
    # Labels must not be read.
    with_predicted_labels = (
        store.labelled(store.predicted(names[-1])) if store.has_predictions else store
    )
    *deciding, _ = outcomes_of(with_predicted_labels, names, chosen, score)
    wanted = np.arange(1, steps + 1) * len(store) / steps
    thresholds = []
    for _, confidence in deciding:
        falling = -np.sort(-confidence)
        thresholds.append(threshold_for(falling, nearest_exit_count(falling, wanted)))
    native = convert_units(None if chosen is None else chosen.units, np.transpose(thresholds))
    points = [
        Point(
            models=names,
            thresholds=step,
            method=chosen,
            score=score,
            cost_kind=cost,
            selected_on=() if chosen is None else chosen.add_fit_samples(()),
        )
        for step in dict.fromkeys(map(tuple, native.tolist()))
    ]
    runs = evaluate(with_predicted_labels, points)
    table = LadderTable(store.origin, shares_of(store, runs))
    return [
        replace(run.point, exit_rates=run.exit_rates, cost=run.cost, thresholds_from=table)
        for run in runs
    ]


def shares_of(store: Store, runs: Sequence[Run]) -> dict[Any, float]:
    """Return shares of samples by which a draw of a table is compared with the table.

    They are exit rates, shares of answers, and of agreement with the last model. Models that did
    not answer all samples are left out.
    """
    shares: dict[Any, float] = {}
    for run in runs:
        shares |= {(run.point.thresholds, stage): rate for stage, rate in enumerate(run.exit_rates)}
    names = list(runs[0].point.models) if store.has_predictions else []
    is_complete = answered_by_models(store, names).all(axis=1)
    answers = {name: store.predicted(name) for name in np.array(names, object)[is_complete]}
    for name, values in answers.items():
        counts = pd.Series(values).value_counts(normalize=True)
        shares |= {(name, "answers", answer): share for answer, share in counts.items()}
        if names[-1] in answers:
            shares[name, names[-1]] = float(np.mean(values == answers[names[-1]]))
    return shares
