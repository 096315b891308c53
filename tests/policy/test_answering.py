"""answer_table calls the reference for risky rows, and its guarantee and policy hold."""

import numpy as np
import pytest
from answered_tables import Reference, made

import cascadelib as cl
from cascadelib.methods.thresholds import LARGEST
from cascadelib.policy.answering import step_curve


@pytest.fixture(autouse=True)
def repeatable(monkeypatch):
    """The operating system gives the seeds 0, 1, 2 … instead of random ones."""
    seeds = iter(range(100))
    monkeypatch.setattr("secrets.randbits", lambda bits: next(seeds))


def answered(table, truth, epsilon=0.05, **options):
    """The answered table, and the reference that was called."""
    ask = Reference(truth, table.sample_ids)
    return cl.answer_table(table, ask, epsilon, **options), ask


@pytest.mark.parametrize("labels", [600, None])
def test_answers_come_from_as_few_calls_as_the_guarantee_needs(labels):
    table, truth = made()
    result, ask = answered(table, truth, labels=labels)
    assert len(set(ask.asked)) == len(ask.asked) == result.asked.sum() < 2_300
    assert set(ask.asked) == set(table.sample_ids[result.asked])
    expected = np.where(result.asked, truth, table.predictions[0])
    assert result.answers.tolist() == expected.tolist()
    assert 0 < np.mean(result.answers != truth) <= 0.05
    assert labels in (None, result.labels)
    text = str(result)
    assert f"{len(ask.asked):,} of 3,000 rows" in text
    assert text.endswith(result.certificate)
    assert f"With probability at least 95% over the draw of the {result.labels} labels" in text
    assert (
        "table differs from reference alone in at most 5% of its answers, on those 3000 rows."
        in text
    )
    assert f"It assumes that seed {result.seed} of the draw was not chosen by its result." in text


def test_the_guarantee_holds_for_new_rows_of_a_saved_policy(tmp_path):
    result, _ = answered(*made(), labels=600)
    fresh, answers = made(50_000, seed=1)
    rows = [fresh.confidence[0]], [fresh.predictions[0], answers]
    decisions = result.policy.decide(*rows)
    assert np.mean(decisions.predictions != answers) <= 0.05
    point = result.policy.point
    assert np.mean(decisions.exit_stage == 0) == pytest.approx(point.exit_rates[0], abs=0.02)
    assert f"keep the small model's answer for {point.exit_rates[0]:.1%}" in result.certificate
    assert "on new data from the same source" in str(point.guarantee)
    result.policy.save(tmp_path / "policy.json")
    loaded = cl.Policy.load(tmp_path / "policy.json")
    assert loaded.decide(*rows).exit_stage.tolist() == decisions.exit_stage.tolist()
    assert loaded.point.guarantee == point.guarantee and str(point.guarantee) in result.certificate


def test_a_policy_has_a_threshold_for_each_class_and_one_for_all_others():
    policy = answered(*made(), labels=600)[0].policy
    grid = np.tile(np.linspace(0, 1, 201), 4)
    predicted = np.repeat(["0", "1", "2", "never seen"], 201)
    keeps = policy.decide([grid], [predicted]).exit_stage.reshape(4, 201) == 0
    assert (np.diff(keeps.astype(int), axis=1) >= 0).all()
    shares = keeps.mean(axis=1)
    assert shares[0] < min(shares[1:3]) and shares[3] == 0


def test_answers_bought_before_an_exception_are_not_requested_again():
    table, truth = made()
    bought = {}
    with pytest.raises(ConnectionError) as caught:
        failing = Reference(truth, table.sample_ids, fails_after=400)
        cl.answer_table(table, failing, 0.05, bought=bought)
    assert caught.value.bought is bought and set(bought) == set(failing.asked)
    seed = caught.value.seed
    whole, _ = answered(table, truth, seed=seed)
    result, ask = answered(table, truth, bought=bought, seed=seed)
    assert not set(ask.asked) & set(failing.asked) and result.seed == seed
    assert result.answers.tolist() == whole.answers.tolist()
    assert result.asked.tolist() == whole.asked.tolist()
    assert set(bought) == set(table.sample_ids[result.asked])


def test_the_operating_system_draws_the_labels_unless_a_recorded_seed_is_repeated():
    first, second, recorded = (answered(*made(600), seed=seed)[0] for seed in (None, None, 7))
    assert first.seed != second.seed and first.asked.tolist() != second.asked.tolist()
    assert "seed 7 of the draw was not chosen by its result" in str(recorded)


def test_answers_are_returned_verbatim_and_compared_without_outer_spaces():
    predicted = np.array([f"answer {row}" for row in range(300)])
    table = cl.ScoreTable(None, [np.linspace(0, 1, 300)], [0], predictions=[predicted])
    result, _ = answered(table, np.char.upper(predicted))
    assert result.asked.mean() > 0.9
    result, _ = answered(table, np.char.add(predicted, " "))
    assert 0 < result.asked.mean() < 0.9
    assert {text[-1] for text in result.answers[result.asked]} == {" "}


def test_the_reference_answers_all_abstentions():
    table, truth = made()
    predicted = table.predictions.copy()
    predicted[0, ::10] = ""
    confidence = np.where(predicted == "", np.nan, table.confidence)
    table = cl.ScoreTable(None, confidence, [0], sample_ids=table.sample_ids, predictions=predicted)
    result, _ = answered(table, truth, labels=600)
    assert result.asked[::10].all() and not result.asked.all()


def test_the_reference_answers_all_rows_if_labels_are_too_few():
    table, truth = made(400)
    result, _ = answered(table, truth, 0.01, labels=20)
    assert result.asked.all() and result.answers.tolist() == truth.tolist()
    assert result.policy.decide([[1.0]], [["1"]]).exit_stage.tolist() == [1]
    assert "answered 400 of 400 rows (100.0%)" in str(result)
    assert "keep the small model's answer for 0.0% of these rows" in str(result)


def test_a_table_that_is_too_small_is_named_before_the_first_call():
    table, _ = made(40)

    def ask(ids):
        raise ConnectionError("asked")

    warned = pytest.warns(UserWarning, match="40 rows are too few to certify ε = 0.01 by fewer")
    with warned, pytest.raises(ConnectionError):
        cl.answer_table(table, ask, 0.01)


@pytest.mark.parametrize("border", [0.0, -LARGEST, 0.3, 1.0, 1.7e308])
def test_a_step_is_0_up_to_its_border_and_1_above_it(border):
    curve = step_curve(border, None)
    x = [-np.inf, border, np.nextafter(border, np.inf), np.inf]
    assert np.interp(x, curve["knots"], curve["values"]).tolist() == [0, 0, 1, 1]
    curve = step_curve(np.inf, None)
    assert np.interp(x, curve["knots"], curve["values"]).tolist() == [0, 0, 0, 0]


async def answer_later(ids):
    return ids


def said(predictions, **options):
    """A table of predictions with confidence 1 and cost 1."""
    ones = np.ones(len(predictions))
    return cl.ScoreTable(None, ones[:, None], ones, predictions=predictions, **options)


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"table": cl.ScoreTable([[True]], [[0.5]], [1])}, "with its predictions"),
        ({"table": said([["a"], ["b"]])}, "ScoreTable of one model"),
        ({"table": said([["a"]], names=["reference"])}, "Rename it"),
        ({"labels": 0}, "labels must be a whole number from 1 to 300"),
        ({"labels": 301}, "labels must be a whole number from 1 to 300"),
        ({"epsilon": 1}, r"epsilon must be in \[0, 1\), got 1"),
        ({"delta": 2}, r"delta must be in \[0, 1\), got 2"),
        ({"seed": -1}, "seed must be a whole number of 0 or more"),
        ({"ask": lambda ids: ["a"]}, "one answer per id, in their order.* a list: of shape"),
        ({"ask": lambda ids: (ids, None)}, "must return a list.* for 67 ids it returned a tuple"),
        ({"ask": lambda ids: dict.fromkeys(ids[1:], "1")}, "no value for 1 of 67 ids, such as 'q"),
        ({"ask": answer_later}, "must not be async.* it returned a coroutine"),
        ({"ask": lambda ids: [None, *ids[1:]]}, "no answer for id"),
    ],
)
def test_invalid_arguments_are_refused(change, message):
    table, truth = made(300)
    arguments = {"table": table, "ask": Reference(truth, table.sample_ids), "epsilon": 0.1} | change
    with pytest.raises(ValueError, match=message):
        cl.answer_table(**arguments)
