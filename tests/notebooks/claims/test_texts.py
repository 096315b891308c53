"""Claims on texts select on one half of a task, or on its selection split."""

import numpy as np
import pytest
from paper_stores import write_split

from cascadelib import evaluate, search
from tools.claims import texts
from tools.claims.views import points_at_accuracies
from tools.paper import Paper

VAL, TEST = (write_split("texts", name, 200, seed, classes=2) for seed, name in enumerate("ab"))


def test_a_task_without_a_held_out_split_is_halved():
    paper = Paper(VAL, TEST, texts={"sst2": VAL, "reviews": VAL}, held_out_texts={"reviews": TEST})
    here, there = texts.splits_of(paper, "sst2")
    assert here.sample_ids.tolist() == VAL.sample_ids[::2].tolist()
    assert there.sample_ids.tolist() == VAL.sample_ids[1::2].tolist()
    assert texts.splits_of(paper, "reviews") == (VAL, TEST)
    found = texts.evidence(paper)
    assert len(found["text-improve"].value) == 2 and len(found["text-f1"].value) == 1
    assert found["text-metrics"].value == 4


def test_the_improvement_is_the_median_of_unchanged_cascades():
    front = search(VAL, 2)
    (value,) = texts.of_tasks({"task": front}, {"task": TEST})["text-improve"].value
    factors = []
    for point in points_at_accuracies(front):
        run = evaluate(TEST, point)
        factors.append(float(run.baseline.cost_at(min(run.accuracy, run.baseline.best))) / run.cost)
    assert value == pytest.approx(np.median(factors))
