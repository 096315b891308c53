"""The paper's claims on texts (figure 7).

A task has one split, so every other sample selects cascades and the others evaluate them. The
bundled reviews have a held-out split instead.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

import cascadelib as cl
from cascadelib.store.protocol import Store
from tools.claims.evidence import Evidence, EvidenceByClaim
from tools.claims.views import (
    Claims,
    Fronts,
    View,
    compared,
    draw_runs,
    make_views,
    points_at_accuracies,
)
from tools.designs import WITH_F1
from tools.figures.calibration import METRICS_OF_OTHERS
from tools.paper import Paper, halves

TASKS = Claims()  # of one list of runs per task
F1 = Claims()  # of a view of fronts in accuracy and in F1, by task


def evidence(paper: Paper) -> EvidenceByClaim:
    """Return the evidence of all claims of this module."""
    if not paper.texts:
        return {}
    splits = {name: splits_of(paper, name) for name in paper.texts}
    fronts = {name: cl.search(here, 2, "max_softmax") for name, (here, _) in splits.items()}
    others = {name: other for name, (_, other) in splits.items()}
    samples = min(map(len, others.values()))
    found = of_tasks(fronts, others)
    views = views_of_f1(splits)
    if views:
        found |= F1.measure(views, samples)
    here, _ = next(iter(splits.values()))
    tables = [
        cl.search(here, 2, metric).table[["accuracy", "cost"]] for metric in METRICS_OF_OTHERS
    ]
    same = sum(table.equals(tables[0]) for table in tables)
    found["text-metrics"] = Evidence(same)
    data = ", ".join(splits)
    return {name: replace(each, data=data) for name, each in found.items()}


def splits_of(paper: Paper, name: str) -> tuple[Store, Store]:
    """Return the samples of a task that select, and those that evaluate."""
    if name in paper.held_out_texts:
        return paper.texts[name], paper.held_out_texts[name]
    return halves(paper.texts[name])


def of_tasks(fronts: Fronts, others: Mapping[str, Store]) -> EvidenceByClaim:
    """Return the evidence on the fronts of pairs of all tasks, on other samples."""
    runs = []
    for name, front in fronts.items():
        points = points_at_accuracies(front)
        runs.append(draw_runs(others[name], points))
    samples = min(map(len, others.values()))
    return TASKS.measure(list(zip(*runs)), samples)


def views_of_f1(splits: Mapping[str, tuple[Store, Store]]) -> list[View]:
    """Return views of the fronts in accuracy and in F1 of the tasks that have F1."""
    tasks = []
    for name in filter(WITH_F1.__contains__, splits):
        here, there = splits[name]
        fronts = {}
        for score in ("top1", "f1"):
            fronts[f"{score}: {name}"] = cl.search(here, 2, "max_softmax", score=score)
        tasks.append(make_views(fronts, {}, here, there))
    found = []
    for views in zip(*tasks):
        fronts = {name: front for view in views for name, front in view.fronts.items()}
        found.append(View(fronts))
    return found


@TASKS.add()
def text_improve(tasks: tuple) -> list[float]:
    return [np.median(runs.improvement) for runs in tasks]


@F1.add()
def text_f1(view: View) -> list[float]:
    return [compared(view, f"f1: {name}", f"top1: {name}") for name in view.group("f1")]
