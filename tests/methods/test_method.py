"""Methods on a store: outcomes equal a loop over samples, and fits are applied out of fold."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from references import slow_output
from tiny_stores import noisy_store

from cascadelib import METHODS, LogitStore, Method, Policy, ScoreTable, evaluate, pick, search
from cascadelib.methods.confidence_metrics import METRICS
from cascadelib.methods.ensembles import ENSEMBLES

NAMES = ["m0", "m1", "m2"]


def test_the_twelve_methods_of_the_paper_exist():
    metrics = ["entropy", "max_softmax", "softmax_margin", "logits_margin"]
    means = [f"max_softmax_mean_{what}{ts}" for what in ("logits", "softmax") for ts in ("", "_ts")]
    assert set(METHODS) == {*metrics, *(f"{m}_most_confident_ts" for m in metrics), *means}


def mean_of(logits):
    return logits.mean(axis=0)


GRID = noisy_store(k=60, models=3, classes=4, step=0.5)  # confidences and votes tie


@pytest.mark.parametrize("metric", [*METRICS, "top2_softmax_sum"])
@pytest.mark.parametrize("ensemble", [*ENSEMBLES, mean_of])
def test_outcomes_equal_a_loop_over_samples(store, metric, ensemble):
    if metric == "logits_margin" and ensemble == "mean_softmax":
        pytest.skip("the margin of logits needs logits")
    for split, temperature in ((store, False), (store, True), (GRID, False)):
        method = Method(metric, ensemble, temperature).fit(split)
        stage = method.stage(split, NAMES)
        for prefix in [(0,), (1,), (0, 1), (2, 0), (0, 1, 2)]:
            correct, confidences = stage(prefix)
            scaled = [
                split.logits(NAMES[m]).astype(float) / method.temperature_of(NAMES[m])
                for m in prefix
            ]
            for j in range(0, len(split), 5):
                answer, confidence = slow_output([z[j] for z in scaled], metric, ensemble)
                assert correct[j] == (answer == split.labels[j])
                assert confidences[j] == pytest.approx(confidence, abs=1e-12)


def test_top_k_counts_ties_towards_the_lower_class():
    z = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    store = LogitStore.from_arrays([1, 2], {"a": z}, macs={"a": 1})
    for score, expected in {"top1": [False] * 2, "top2": [True] * 2, "top3": [True] * 2}.items():
        assert Method().stage(store, ["a"], score)((0,))[0].tolist() == expected


def table_of_topics(seed, k, labels=2):
    """k samples. The small model is accurate on one topic of two, the large one on both."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, k)
    topic = rng.choice(["law", "art"], k)
    correct = rng.random((2, k)) < np.array([np.where(topic == "law", 0.95, 0.5), np.full(k, 0.95)])
    said = np.where(correct, truth, (truth + 1) % labels).astype(str)
    return ScoreTable(
        None,
        rng.random((2, k)),
        [1, 10],
        ["small", "large"],
        [f"{seed} {row}" for row in range(k)],
        predictions=said,
        labels=truth.astype(str),
        columns={"topic": topic},
    )


TOPICS = Method(confidence="logistic", columns=("confidence", "topic", "label"))


@pytest.mark.parametrize("method", [TOPICS, Method(confidence="isotonic_by_label"), "auto"])
def test_samples_of_the_fit_are_answered_out_of_fold(method):
    table = table_of_topics(0, 400)
    front = search(table, 2, method)
    point = front.point(len(front) // 2)
    assert evaluate(table, point).accuracy == point.accuracy
    assert evaluate(table.take(slice(9, 50)), point).confidences[0].tolist() == (
        evaluate(table, point).confidences[0][9:50].tolist()
    )
    fitted = replace(point, method=replace(point.method, folds=None))
    new = table_of_topics(1, 300)
    for run, other in zip(evaluate(new, point).confidences, evaluate(new, fitted).confidences):
        np.testing.assert_array_equal(run, other)
    differs = evaluate(table, point).confidences[0] != evaluate(table, fitted).confidences[0]
    assert differs.any() == bool(point.method.folds[point.models[:1]].without_fold)


def test_categories_reach_policies_and_are_read_from_files(tmp_path):
    table = table_of_topics(2, 500)
    point = pick(search(table, 2, TOPICS), "near_best")
    assert point.exit_rates[0] > 0.2
    Policy.from_point(point, table).save(tmp_path / "policy.json")
    policy = Policy.load(tmp_path / "policy.json")
    other = table_of_topics(3, 200)
    values = np.array([other.confidence[0], other.columns["topic"][0]], object).T
    decided = policy.decide([values], list(other.predictions))
    np.testing.assert_array_equal(decided.exit_stage, evaluate(other, point).exit_stage)
    wide = {"sample": table.sample_ids, "topic": table.columns["topic"][0], "truth": table.labels}
    for row, name in enumerate(table.names):
        wide |= {f"{name}_said": table.predictions[row], f"{name}_score": table.confidence[row]}
    pd.DataFrame(wide).to_csv(tmp_path / "table.csv", index=False)
    read = ScoreTable.from_frame(
        tmp_path / "table.csv",
        label="truth",
        prediction="{}_said",
        confidence="{}_score",
        cost={"small": 1, "large": 10},
        categories=["topic"],
    )
    np.testing.assert_array_equal(read.columns["topic"], table.columns["topic"])
    assert search(read, 2, TOPICS).table.equals(search(table, 2, TOPICS).table)


def test_auto_reads_all_columns_and_its_fits_only_what_they_use():
    table = table_of_topics(4, 800)
    method = search(table, 2, "auto").method
    assert method.columns == ("confidence", "topic", "agreement", "label")
    topic = Method(confidence="auto", columns=("topic",)).fit(table)
    kinds = [topic.fitted[(name,)].kind for name in table.names]
    assert kinds == ["logistic", "isotonic_by_label"]
    assert topic.fitted[("small",)].columns == ("confidence", "topic")
    assert topic.fitted[("large",)].columns == ("confidence",)


def test_auto_reads_the_metrics_of_outputs(store):
    method = Method(confidence="auto").fit(store)
    assert method.columns == ("confidence", "softmax_margin", "entropy", "agreement", "label")
    assert len(search(store, 2, method)) >= 1
