"""The paper's claims on texts (figure 7).

A task has one split, so every other sample selects cascades and the others evaluate them. The
bundled reviews have a held-out split instead.
"""

from collections.abc import Mapping

import numpy as np

import cascadelib as cl
from cascadelib import Front
from cascadelib.store.protocol import Store
from tools.claims.evidence import Evidence, EvidenceByClaim
from tools.claims.views import (
    Claims,
    View,
    draw_runs,
    make_views,
    points_at_accuracies,
)
from tools.paper import Paper
from tools.ranges import mean_in, ratio
from tools.side_by_side import same_fronts

METRICS = ("max_softmax", "softmax_margin", "logits_margin", "entropy")
TASKS = Claims()  # of one list of runs per task
F1 = Claims()  # of a view of fronts in accuracy and in F1, by task
WITH_F1 = ("reviews", "mrpc", "qqp")


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    if not paper.texts:
        return {}
    splits = {name: splits_of(paper, name) for name in paper.texts}
    fronts = {name: cl.search(here, 2, "max_softmax") for name, (here, _) in splits.items()}
    others = {name: other for name, (_, other) in splits.items()}
    found = of_tasks(fronts, others)
    views = views_of_f1(splits)
    if views:
        found |= F1.measure(views, min(map(len, others.values())))
    here, _ = next(iter(splits.values()))
    same = same_fronts({metric: cl.search(here, 2, metric) for metric in METRICS})
    return found | {"text-metrics": Evidence(int((same["front"] == "the same").sum()))}


def splits_of(paper: Paper, name: str) -> tuple[Store, Store]:
    """Return the samples of a task that select, and those that evaluate."""
    if name in paper.held_out_texts:
        return paper.texts[name], paper.held_out_texts[name]
    store = paper.texts[name]
    return store.take(slice(0, None, 2)), store.take(slice(1, None, 2))


def of_tasks(fronts: Mapping[str, Front], others: Mapping[str, Store]) -> EvidenceByClaim:
    """Return the evidence on the fronts of pairs of all tasks, on other samples."""
    runs = [draw_runs(others[name], points_at_accuracies(front)) for name, front in fronts.items()]
    return TASKS.measure(list(zip(*runs)), min(map(len, others.values())))


def views_of_f1(splits: Mapping[str, tuple[Store, Store]]) -> list[View]:
    """Return views of the fronts in accuracy and in F1 of the tasks that have F1."""
    tasks = []
    for name in [name for name in splits if name in WITH_F1]:
        here, there = splits[name]
        found = {
            f"{score}: {name}": cl.search(here, 2, "max_softmax", score=score)
            for score in ("top1", "f1")
        }
        tasks.append(make_views(found, {}, here, there))
    merged = []
    for row in zip(*tasks):
        fronts: dict[str, Front] = {}
        for view in row:
            fronts |= view.fronts
        merged.append(View(fronts))
    return merged


@TASKS.add()
def text_improve(tasks: tuple) -> list[float]:
    return [np.mean(runs.improvement) for runs in tasks]


@F1.add()
def text_f1(view: View) -> list[float]:
    plain = view.group("top1")
    return [ratio(mean_in(front), mean_in(plain[name])) for name, front in view.group("f1").items()]
