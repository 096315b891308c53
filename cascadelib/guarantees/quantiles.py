"""Cascades in an order that no label decides: for a certificate that all labels are left for."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..checks import about, check_count, items_of, known
from ..evaluation.evaluation import asked, check_store, outcomes_of
from ..evaluation.point import Point
from ..evaluation.run import evaluate
from ..labels import Seen
from ..methods.method import Method
from ..methods.thresholds import between_ties, own_units, threshold_for
from ..store.protocol import Store


def ladder(
    store: Store,
    models: Sequence[str],
    method: str | Method | None = None,
    steps: int = 100,
) -> list[Point]:
    """Cascades of some models, most cautious first, whose thresholds are quantiles of confidences.

    At step s of S the threshold of each stage lies where s ÷ S of all samples are confident enough.
    No label is read, so all labels there are can certify, in this order
    (:func:`cascadelib.certify`): about the source of the data where thresholds and labels come from
    different samples; about this very store where the labelled ones are drawn from it.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The samples whose confidences are read; labels need not be there.
    models : list of str
        Two or more, cheapest first: the order in which they run. Of the last one only the cost is
        read: its rows may have confidence −inf and no prediction.
    method : str or Method, optional
        As for :func:`cascadelib.search`; what has to be fitted was fitted on other samples.
    steps : int
        S. Where samples share a confidence there are fewer cascades.

    Returns
    -------
    list of Point
        With the exit rates and the cost that they have on the store, and without accuracy.

    Raises
    ------
    ValueError
        For fewer than two models, unknown or repeated ones, a dearer one first, a method that is
        not fitted, and what the store cannot honour.

    References
    ----------
    Angelopoulos et al. (2021), *Learn then test*: fixed sequences.
    """
    check_store(store)
    steps = check_count(steps, "steps")
    with about(
        "a ladder needs the costs of all its models (the last one's rows may have confidence −inf "
        "and no prediction)"
    ):
        names = tuple(known(name, store.models.index, "model") for name in items_of(models))
    if len(set(names)) < max(len(names), 2):
        raise ValueError(f"a ladder needs two distinct models or more, not {list(names)}")
    chosen, score, cost = asked(store, method)
    costs = dict(zip(store.models.index, store.costs(cost)))
    if list(names) != (rising := sorted(names, key=costs.__getitem__)):
        raise ValueError(f"a ladder's models run cheapest first, by {cost!r}: {rising}")
    unread = store.labelled(store.predicted(names[-1])) if store.has_predictions else store
    *deciding, _ = outcomes_of(unread, names, chosen, score)
    wanted = np.arange(1, steps + 1) * len(store) / steps
    thresholds = []
    for _, confidence in deciding:
        falling = -np.sort(-confidence)
        thresholds.append(threshold_for(falling, between_ties(falling, wanted)))
    own = own_units(None if chosen is None else chosen.units, np.transpose(thresholds))
    nothing_seen = Seen(())
    points = [
        Point(
            models=names,
            thresholds=step,
            method=chosen,
            score=score,
            cost_kind=cost,
            found_on=nothing_seen if chosen is None else chosen.after(nothing_seen),
            laid_on=store.origin,
        )
        for step in dict.fromkeys(map(tuple, own.tolist()))
    ]
    return [
        replace(run.point, exit_rates=run.exit_rates, cost=run.cost)
        for run in evaluate(unread, points)
    ]
