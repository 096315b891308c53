"""A ScoreTable is frozen, and its parts have the values of their samples and models."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
from toy_store import ANSWERS, CONFIDENCE, CORRECT

from cascadelib import Method, Point, bootstrap, certify, evaluate, replay, search
from cascadelib.analysis.generalization import check_same_task
from cascadelib.store.score_table import ScoreTable


def test_attributes_keep_their_order_and_the_table_of_models_is_sorted_by_cost():
    table = ScoreTable(CORRECT, CONFIDENCE, [5.0, 2.0], ["big", "small"])
    np.testing.assert_array_equal(table.correct, CORRECT)
    assert table.correct.dtype == bool and len(table) == 3
    assert list(table.models.index) == ["small", "big"] and list(table.models.top1) == [1, 2 / 3]
    assert list(table.costs("cost")) == [2, 5] and table.row("big") == 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        table.cost = None
    with pytest.raises(ValueError):
        table.correct[0, 0] = False


def test_parts_keep_graded_scores_and_costs_by_sample():
    table = ScoreTable(CORRECT * 0.5, CONFIDENCE, [[1, 2, 3], [4, 4, 7]])
    assert table.names == ("model 0", "model 1") and list(table.costs()) == [2, 5]
    part = table.take([True, False, True])
    assert list(part.costs()) == [2, 5.5] and part.correct.tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert table.take([1, 1]).confidence.tolist() == [[0.1, 0.1], [0.3, 0.3]]
    assert table.select("model 1").names == ("model 1",)


def test_correctness_is_computed_from_predictions_and_labels():
    table = ScoreTable(None, CONFIDENCE, [1, 2], **ANSWERS)
    assert table.correct.tolist() == [[True, False, False], [True, True, True]]
    assert table.positives().tolist() == [False, False, True]
    part = table.take([2, 1]).select("model 1")
    assert part.predictions.tolist() == [["b", "a"]] and part.labels.tolist() == ["b", "a"]
    assert part.positives().tolist() == [True, False]


def test_the_printed_line_of_pandas_repairs_an_argument():
    predictions = [["yes", "no"] * 9, ["Yes.", "No."] * 9]
    rest = {"confidence": np.ones((2, 18)), "cost": [1, 2], "labels": ["yes", "no"] * 9}
    with pytest.raises(ValueError, match="answers of predictions.1. that may be") as error:
        ScoreTable(None, predictions=predictions, **rest)
    (line,) = str(error.value).splitlines()[1:]
    exec(line.strip(), {"pd": pd, "predictions": predictions})
    assert ScoreTable(None, predictions=predictions, **rest).correct.all()


def test_predictions_without_labels_are_not_searched():
    table = ScoreTable(None, CONFIDENCE, [1, 2], predictions=ANSWERS["predictions"])
    assert table.correct is None and table.models["top1"].isna().all() and len(table) == 3
    with pytest.raises(ValueError, match="answers but no labels"):
        search(table)


def test_a_split_that_lacks_a_label_is_of_the_same_task():
    table = ScoreTable(None, CONFIDENCE, [1, 2], **ANSWERS)
    check_same_task(
        table, ScoreTable(None, CONFIDENCE, [1, 2], predictions=[["a"] * 3] * 2, labels=["a"] * 3)
    )


def test_calls_return_predictions_and_confidences_by_id():
    table = ScoreTable(None, CONFIDENCE, [1, 2], sample_ids=[7, 8, 9], **ANSWERS)
    said, confidence = table.calls()["model 0"]([9, "7"])
    assert said.tolist() == ["", "a"] and confidence.tolist() == [0.9, 0.5]


def test_a_free_model_is_searched_replayed_and_resampled_without_a_warning():
    rng = np.random.default_rng(0)
    tables = [
        ScoreTable(rng.random((2, 60)) < [[0.6], [0.9]], rng.random((2, 60)), [0, 5])
        for _ in range(2)
    ]
    front = search(tables[0], 2)
    with warnings.catch_warnings(action="error"):
        assert front.table.loc[0, ["cost", "improvement"]].tolist() == [0, 1]
        assert replay(tables[1], front)["improvement_replayed"].iloc[0] == 1
        assert bootstrap(tables[1], front.point(0), 20).improvement.shape == (20, 1)
        assert np.isfinite(front.mean_improvement())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": Method("entropy")}, "method=.*entropy.*LogitStore"),
        ({"method": Method(temperature=True, temperatures={"a": 1, "b": 1})}, "method="),
        ({"score": "top9"}, "score='top9'.*LogitStore"),
        ({"cost_kind": "joules"}, "unknown cost 'joules'; nearest: 'cost'"),
    ],
)
def test_a_point_that_needs_outputs_of_models_is_refused_on_a_table(change, message):
    table = ScoreTable(CORRECT, CONFIDENCE, [1, 2], ["a", "b"])
    point = Point(("a", "b"), (0.5,), cost_kind="cost")
    assert evaluate(table, point).cost == 1 + 2 * 1 / 3
    other = dataclasses.replace(point, **change)
    for use in (evaluate, replay, bootstrap, certify_within_budget):
        with pytest.raises(ValueError, match=message):
            use(table, other)


def certify_within_budget(table, point):
    certify(table, point, budget=3.0)


def test_the_table_of_models_is_a_copy_for_the_part():
    table = ScoreTable([[1, 0], [1, 1]], np.ones((2, 2)), [1.0, 2.0])
    table.models["top1"] = 0.0
    assert table.models["top1"].tolist() == [0.5, 1.0]
    assert table.take([1]).models["top1"].tolist() == [0.0, 1.0]
    assert list(table.select(["model 1"]).models.index) == ["model 1"]


def test_a_table_with_several_costs_is_searched_by_each(tmp_path):
    rng = np.random.default_rng(0)
    correct = rng.random((2, 50)) < [[0.7], [0.9]]
    costs = {"usd": [1.0, 9.0], "seconds": rng.random((2, 50)) + [[3], [1]]}
    further = {"cost_kind": "usd", "further_costs": {"seconds": costs["seconds"]}}
    table = ScoreTable(correct, rng.random((2, 50)), costs["usd"], ["small", "large"], **further)
    assert table.cost_names == ["usd", "seconds"] and table.default_cost == "usd"
    assert table.models["seconds"].tolist() == pytest.approx(costs["seconds"].mean(axis=1))
    assert search(table).point(0).cost == 1
    by_time = search(table, cost="seconds")
    assert by_time.cost_kind == "seconds" and by_time.point(0).models[0] == "large"
    part = table.take(slice(0, 9)).select("small")
    assert part.further_costs["seconds"].shape == (1, 9) and part.cost_names == table.cost_names
    rows = {"sample": np.tile(np.arange(50), 2), "model": np.repeat(table.names, 50)}
    rows |= {"correct": correct.ravel(), "confidence": table.confidence.ravel()}
    rows |= {"usd": np.repeat(costs["usd"], 50), "seconds": costs["seconds"].ravel()}
    pd.DataFrame(rows).to_csv(tmp_path / "t.csv", index=False)
    again = ScoreTable.from_frame(
        tmp_path / "t.csv", correct="correct", cost=["usd", "seconds"], confidence="confidence"
    )
    np.testing.assert_array_equal(again.cost, table.cost)
    np.testing.assert_array_equal(again.sample_costs("seconds"), table.sample_costs("seconds"))


def test_missing_answers_do_not_make_another_model_the_reference():
    rng = np.random.default_rng(0)
    labels = rng.choice(["yes", "no"], 1000)
    other = np.where(labels == "yes", "no", "yes")
    predictions = np.where(rng.random((2, 1000)) < [[0.8], [0.95]], labels, other).astype(object)
    predictions[1, :300] = ""  # expired requests
    table = ScoreTable(None, rng.random((2, 1000)), [1, 9], "sl", None, predictions, labels)
    assert table.models["top1"].idxmax() == "s"
    front = search(table.take(slice(0, None, 2)))
    assert front.best_model == "l" and front.reference.models == ("l",)
    assert certify(table.take(slice(1, None, 2)), front, 0.1).reference == "l"


def test_a_model_that_answered_only_easy_samples_is_not_the_reference():
    """Each model is compared on the samples that all have answered."""
    ease = np.arange(1000) / 1000
    labels = np.full(1000, "yes", object)
    predictions = np.where(ease > [[0.3], [0.2]], labels, "no").astype(object)
    predictions[0, ease < 0.25] = ""
    table = ScoreTable(None, np.stack([ease, ease]), [1, 9], "sl", None, predictions, labels)
    answered = predictions[0] != ""
    assert table.correct[0, answered].mean() > table.correct[1].mean()
    assert search(table).best_model == "l"
