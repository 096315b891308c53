"""From the fronts of a notebook's run to the ledger's evidence on the paper's claims."""

from collections.abc import Iterable
from math import comb
from typing import Any

from cascadelib import Front, Point, pair_table, pick
from cascadelib.analysis import front_on
from cascadelib.fronts import pair_curve
from tools.claims_of_methods import (
    lengths_claims,
    means_by_metric,
    methods_claims,
    pairs_by_method,
    replay_fronts,
    search_again,
    tenth_claims,
    threshold_claims,
    time_by_method,
    triple_held_claims,
    triples_by_method,
    wang_claims,
)
from tools.claims_of_pairs import (
    exceeding_claims,
    fronts_in_time,
    noise_claims,
    pairs_claims,
    table1_claims,
    time_claims,
    times_of,
    topk_claims,
)
from tools.evidence import Evidence, EvidenceByClaim, Fronts, without_intervals
from tools.held_out import (
    is_same_distribution,
    lowest_tenth,
    pairs_held_out,
    summary_of_factors,
    with_held_out_split,
)
from tools.ranges import in_time
from tools.recipes import shared_threshold_front
from tools.side_by_side import on_both_splits

Sides = tuple[EvidenceByClaim, EvidenceByClaim, EvidenceByClaim]


def two_models(
    store: Any,
    other: Any,
    paper: Front,
    points: Iterable[Point],
    listed: Fronts,
) -> Sides:
    """Return the evidence of notebook 02: on the selection split, held out, and figure 10 with both
    splits exchanged.

    paper: front of pairs of front models on ``store``. points: those of Table 1. listed: fronts of
    figure 10. other: another split. It has held-out evidence if it is of the same distribution.
    """
    points = list(points)
    chosen, unseen = with_held_out_split(paper, other)
    *firsts, last = chosen.singles.index[chosen.singles["on_front"]]
    curves = {}
    for name in firsts:
        pair = pair_curve(chosen.store, name, last, chosen.method, cost=chosen.cost_kind)
        curves[f"{name} → {last}"] = pair
    about = {"method": paper.method, "cost": paper.cost_kind}
    families = store.models.reindex(columns=["family"])["family"]
    found = pairs_claims(paper, pair_table(store, **about), families)
    found |= pairs_held_out(paper, other)
    if points:
        found |= table1_claims(points, on_both_splits(store, other, points), store, other)
    found |= noise_claims(paper, other) | exceeding_claims(curves, chosen, unseen)
    fronts = [fronts_in_time(store, paper, kind) for kind in times_of(store)]
    for timed, counted in fronts:
        improvement = summary_of_factors(*with_held_out_split(timed, other), lowest_tenth)
        found |= time_claims(timed, counted)
        found |= in_time({"time-improve": improvement}, timed.cost_kind)
    if not is_same_distribution(store, other):
        return found | topk_claims(paper, listed), {}, {}
    found |= without_intervals(topk_claims, paper, listed)
    there = front_on(other, paper)
    held = pairs_claims(there, pair_table(other, **about), families)
    held |= topk_claims(there, replay_fronts(other, listed))
    for timed, counted in fronts:
        held |= time_claims(front_on(other, timed), front_on(other, counted))
    again = replay_fronts(store, search_again(other, {"paper": paper} | listed))
    return found, held, topk_claims(again.pop("paper"), again)


def three_models(store: Any, other: Any, two: Front, three: Front, mean_logits: Front) -> Sides:
    """Return the evidence of notebook 03: on the selection split, held out, and with both splits
    exchanged.

    two, three: fronts of pairs and triples on ``store``. mean_logits: triples with that ensemble.
    other: another split.
    """
    pair, triple = (pick(front, "max_improvement") for front in (two, three))
    fronts = {"two": two, "three": three, "mean_logits": mean_logits}
    found = lengths_claims(*fronts.values()) | tenth_claims(three)
    found |= triple_held_claims(pair, triple, store, other)
    if store.origin.dataset.startswith("imagenet"):
        found |= wang_claims(three)
    found["triples"] = Evidence(comb(len(three.candidates), 3))
    if not is_same_distribution(store, other):
        return found, {}, {}
    again = search_again(other, fronts)
    held, back = (
        lengths_claims(*replay_fronts(split, searched, ranges=False).values())
        for split, searched in ((other, fronts), (store, again))
    )
    return found, held, back


def twelve_methods(
    store: Any,
    other: Any,
    two: Fronts,
    three: Fronts,
    timed: Fronts,
    ensembles: Fronts,
) -> Sides:
    """Return the evidence of notebook 04: on the selection split, held out, and with both splits
    exchanged.

    two, three, timed: {method: front} of pairs and triples in one cost, of pairs in time.
    ensembles: {"metric, mean": front}. If the other split is of another distribution, methods are
    compared on the selection split.
    """
    kinds = [two, three, timed, ensembles]
    several = three["max_softmax"]
    about = {"models": list(several.candidates), "cost": several.cost_kind}
    shared = shared_threshold_front(store, 3, **about)
    on_other = threshold_claims(*(front_on(other, f, ranges=False) for f in (several, shared)))
    own = next(iter(timed.values())).cost_kind
    times = [search_again(store, timed, kind) for kind in times_of(store) if kind != own]
    if not is_same_distribution(store, other):
        found = methods_claims(*kinds) | on_other
        for fronts in times:
            found |= time_by_method(fronts, two)
        return found, {}, {}
    found = pairs_by_method(two) | without_intervals(triples_by_method, three, two)
    found |= without_intervals(means_by_metric, ensembles) | on_other
    held = methods_claims(*(replay_fronts(other, fronts) for fronts in kinds))
    there = search_again(other, two)
    back = methods_claims(
        *(replay_fronts(store, f) for f in (there, *(search_again(other, k) for k in kinds[1:])))
    )
    for fronts in (timed, *times):
        found |= without_intervals(time_by_method, fronts, two)
    for fronts in times:
        held |= time_by_method(replay_fronts(other, fronts), replay_fronts(other, two))
        back |= time_by_method(
            replay_fronts(store, search_again(other, fronts)), replay_fronts(store, there)
        )
    return found, held, back
