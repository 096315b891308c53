"""A policy in a service: real clients over connections that stay open, models that are slow, fail,
hang, hang up and talk nonsense, callers that give up, retries, workers, restarts, late labels."""

import asyncio
import json
import time
from collections import Counter

import httpx
import numpy as np
import pytest
from bundled_cascade import IMAGES
from bundled_cascade import POINT as CASCADE
from deciding import decide, decided
from faulty_server import KINDS, LABELS, POINT, calls_of, fault_of, said, served, truth

from cascadelib import Cascade, Point, Policy
from cascadelib.policy import most_given
from cascadelib.policy.decisions import FAILURES
from cascadelib.serve import Monitor, Service

TERMS = {"on_error": "next", "labels": LABELS, "confidence_range": (0, 1)}


def call_of(model, scores, seen=None):
    """An async call that answers (model, row)."""

    async def call(rows):
        if seen is not None:
            seen.extend((model, row) for row in rows)
        await asyncio.sleep(0)
        return [(model, row) for row in rows], [scores[model][row] for row in rows]

    return call


def test_a_client_of_the_callers_loop_and_a_loop_that_goes_on():
    """The caller's loop ticks on while a policy runs on it."""
    ticks = []

    async def tick():
        while True:
            ticks.append(time.perf_counter())
            await asyncio.sleep(0.001)

    async def main(address):
        ticking = asyncio.create_task(tick())
        async with httpx.AsyncClient() as client:
            decisions = [
                await decided(Policy(POINT), calls_of(client, address), range(60), batch_size=3)
                for _ in range(3)
            ]
        ticking.cancel()
        return decisions

    with served() as address:
        for decisions in asyncio.run(main(address)):
            assert (decisions.exit_stage >= 0).all() and decisions.status.tolist() == ["none"] * 60
    assert len(ticks) > 20


def test_faults_of_every_kind_are_each_inputs_own():
    """Each input has the status that it has alone, whatever batch it came in."""
    numbers = range(300)
    with served(every=40) as address:

        async def main():
            async with httpx.AsyncClient() as client:
                return await decided(Policy(POINT), calls_of(client, address), numbers, **TERMS)

        decisions = asyncio.run(main())
    kinds = dict(zip(KINDS, (0, 2, 1, 2, 2, 3, 4)))
    faults = [[fault_of(model, n, 40) for model in POINT.models] for n in numbers]
    assert {fault for pair in faults for fault in pair} >= {*KINDS}
    for n, (small, large) in zip(numbers, faults):
        failure = kinds.get(small, 0)
        goes_on = failure > 0 or said("small", n)[1] < 0.5
        assert decisions.exit_stage[n] == goes_on
        last = kinds.get(large, 0) if goes_on and large != "nan" else 0  # it decides nothing there
        assert decisions.failures[n].tolist() == [failure, last]
        answered = [i for i in range(goes_on + 1) if not decisions.failures[n, i]]
        assert decisions.answered[n] == max(answered, default=-1)
        expected = said(POINT.models[answered[-1]], n)[0] if answered else None
        assert decisions.predictions[n] == expected


def test_what_one_input_does_stops_no_others():
    """A nan at input 35 of 2,000; one input whose batch times out; an exception in place of an
    answer."""
    scores = np.random.default_rng(0).random((2, 2000)).tolist()
    scores[0][35] = float("nan")
    large = call_of(1, scores)

    async def small(rows):
        if 99 in rows:
            await asyncio.sleep(10)
        answers, confidences = await call_of(0, scores)(rows)
        return [OSError("reset") if row == 7 else said for row, said in zip(rows, answers)], (
            confidences
        )

    monitor = Monitor(POINT)
    options = {"on_error": "next", "timeout": (0.2, None), "monitor": monitor}
    decisions = decide(Policy(POINT), [small, large], range(2000), **options)
    assert (decisions.exit_stage >= 0).all() and monitor.inputs == 2000
    failed = {7: "error", 35: "malformed", 99: "timeout"}
    assert {n: s for n, s in enumerate(decisions.status) if s != "none"} == failed
    assert {n: FAILURES[code] for n, code in enumerate(decisions.failures[:, 0]) if code} == failed
    assert monitor.failed[0].tolist() == [1997, 1, 1, 1, 0]
    assert decisions.model[[7, 35, 99]].tolist() == ["large"] * 3


def test_sixty_four_callers_lose_nothing_and_decide_nothing_twice():
    count = 20_000
    scores = np.random.default_rng(0).random((3, count)).tolist()
    seen = []
    calls = [call_of(model, scores, seen) for model in range(3)]
    policy = Policy(Point(("a", "b", "c"), (0.5, 0.5)))
    monitor = Monitor(policy)
    told = []
    monitor.on_decision = told.append

    async def main():
        service = Service(policy, calls, monitor=monitor, audit=0.1)
        parts = np.array_split(np.arange(count), 64)
        runs = [service.decide_many(part.tolist(), [f"x{n}" for n in part]) for part in parts]
        decisions = await asyncio.gather(*runs)
        await service.end()
        return decisions

    decisions = asyncio.run(main())
    stages = np.concatenate([each.exit_stage for each in decisions])
    first = np.array(scores[0]) >= 0.5
    second = np.array(scores[1]) >= 0.5
    np.testing.assert_array_equal(stages, np.where(first, 0, np.where(second, 1, 2)))
    assert Counter(record["id"] for record in told) == Counter(f"x{n}" for n in range(count))
    assert monitor.inputs == count and monitor.exits.sum() == count
    asked = Counter(seen)
    audited = count_of(asked, 2) - int((stages == 2).sum())
    assert monitor.audited == audited and 1800 < audited < 2200
    assert max(asked[model, row] for model, row in asked if model < 2) == 1


def count_of(asked, model):
    """How many inputs a model was asked about."""
    return sum(times for (which, _), times in asked.items() if which == model)


def test_an_input_moves_on_when_its_own_answer_is_there():
    """The first batch waits until all others are through both models."""
    ended = []

    async def first(rows):
        while 0 in rows and len(ended) < 57:
            await asyncio.sleep(0.001)
        return rows, [0.1] * len(rows)

    async def second(rows):
        ended.extend(rows)
        return rows, None

    decide(Policy(POINT), [first, second], range(60), batch_size=3)
    assert sorted(ended[:57]) == list(range(3, 60)) and sorted(ended[57:]) == [0, 1, 2]


def test_batches_form_of_what_waits():
    sizes = []

    async def first(rows):
        await asyncio.sleep(0.001)
        return rows, [0.1] * len(rows)

    async def second(rows):
        sizes.append(len(rows))
        return rows, None

    decide(Policy(POINT), [first, second], range(300), batch_size=(5, 50), max_wait=5.0)
    assert sizes == [50] * 6
    sizes.clear()
    options = {"batch_size": (5, 50), "concurrency": 1, "max_wait": 0}
    decide(Policy(POINT), [first, second], range(60), **options)
    assert len(sizes) > 2 and sum(sizes) == 60


def test_cancellation_returns_at_once_with_what_is_decided():
    async def call(rows):
        await asyncio.sleep(3600 if 50 in rows else 0)
        return rows, [0.9] * len(rows)

    monitor = Monitor(POINT)

    async def main():
        service = Service(Policy(POINT), [call, call], batch_size=10, monitor=monitor)
        run = asyncio.create_task(service.decide_many(range(100)))
        while monitor.inputs < 90:
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await run
        decided = caught.value.decided
        assert decided.status.tolist() == ["none"] * 50 + ["undecided"] * 10 + ["none"] * 40
        assert monitor.inputs == 90

    asyncio.run(main())


def test_money_is_known_per_stage_and_per_input():
    monitor = Monitor(POINT)
    with served() as address:
        calls = calls_of(httpx.AsyncClient(), address)
        decisions = decide(Policy(POINT), calls, range(400), monitor=monitor)
    dear = decisions.exit_stage == 1
    paid = np.where(dear, 11.0, 1.0)
    np.testing.assert_allclose(np.nansum(decisions.costs, axis=1), paid)
    assert monitor.spent.tolist() == [400.0, 10.0 * dear.sum()]
    cost = monitor.cost()
    assert cost["priced"] == 400 and cost["mean"] == pytest.approx(paid.mean())
    half = 1.96 * paid.std() / 20
    assert cost["low"] == pytest.approx(paid.mean() - half)
    assert monitor.table["spent"].tolist() == monitor.spent.tolist()


@pytest.mark.parametrize("cost", [[1.0, 2.0], -1.0, "dear", float("nan")])
def test_what_is_no_cost_is_malformed(cost):
    def call(rows):
        return rows, [0.9] * len(rows), cost

    for run in (Policy.run, decide):
        with pytest.raises(ValueError, match="model 'small': costs must be"):
            run(Policy(POINT), [call, call], range(5))


def test_answers_agree_where_the_caller_says_so():
    def same_day(one, other):
        return [int(part) for part in one.split("/")] == [int(part) for part in other.split("/")]

    monitor = Monitor(POINT)
    monitor.equal = same_day
    small = [("5/1/2021", "05/01/2021"), ("6/1/2021", "05/01/2021")]
    calls = [lambda rows, i=i: ([small[row][i] for row in rows], [0.9] * len(rows)) for i in (0, 1)]
    decide(Policy(POINT), calls, range(2), ["same", "other"], monitor=monitor, audit=1.0)
    assert monitor.to_label().index.tolist() == ["other"]
    monitor.label({"other": "5/01/2021"})
    assert monitor.verdicts == {"lost": 1, "tied": 0, "gained": 0}


def test_several_answers_are_one():
    assert most_given(["b", "a", "a", "b", "a"], costs=[1, 2, 3, 4, 5]) == ("a", 0.6, 15.0)
    assert most_given(["b", "a"]) == ("b", 0.5, 0.0)
    answer, share, _ = most_given(["1", "01", "2"], equal=lambda a, b: int(a) == int(b))
    assert (answer, share) == ("1", 2 / 3)
    with pytest.raises(ValueError, match="answers are needed"):
        most_given([])


def test_labels_that_come_late_find_their_input_also_after_a_restart(tmp_path):
    """Inputs in several runs at once, some of which fail; ids join them, whatever the order."""
    monitor = Monitor(POINT)
    with served(every=120) as address:

        async def main():
            async with httpx.AsyncClient() as client:
                options = {"monitor": monitor, "audit": 0.5, **TERMS}
                service = Service(Policy(POINT), calls_of(client, address), **options)
                parts = [range(at, at + 40) for at in range(0, 240, 40)]
                runs = [service.decide_many(part, [f"{n}" for n in part]) for part in parts]
                decisions = await asyncio.gather(*runs)
                await service.end()
                return decisions

        decisions = asyncio.run(main())
    predicted = {n: p for d in decisions for n, p in zip(d.ids, d.predictions)}
    monitor.save(tmp_path / "monitor.json")
    again = Monitor.load(tmp_path / "monitor.json")
    wanted = again.to_label()
    assert len(wanted) > 5
    for name, row in wanted.iterrows():
        assert row["cascade"] == predicted[name] != row["reference"] == said("large", int(name))[0]
    again.label({name: truth(int(name)) for name in wanted.index})
    assert again.to_label().empty
    lost = sum(
        (row["reference"] == truth(int(n))) > (row["cascade"] == truth(int(n)))
        for n, row in wanted.iterrows()
    )
    assert again.verdicts["lost"] == lost
    assert again.inputs == 240 and again.loss()["audited"] > 90


def test_a_reference_that_fails_where_it_matters_hides_nothing():
    """It times out on exactly the inputs that are lost: the true loss of 10 points stays in
    bounds."""

    async def small(rows):
        return [0] * len(rows), [0.9] * len(rows)

    async def large(rows):
        if any(row % 10 == 0 for row in rows):
            raise TimeoutError("no answer")
        return [0] * len(rows), None

    monitor = Monitor(POINT)
    decide(Policy(POINT), [small, large], range(2000), monitor=monitor, audit=1.0)
    loss = monitor.loss(0.01)
    assert loss["unknown"] == monitor.audit_failures == 200
    assert loss["low"] < -0.05 and loss["high"] > 0.1 and loss["now_high"] > 0.1
    assert not loss["alarm"] and loss["label_first"] == []


def test_an_audit_never_raises_into_the_path_of_decisions():
    monitor = Monitor(POINT)
    monitor.equal = lambda one, other: 1 / 0
    calls = [lambda rows: (rows, [0.9] * len(rows))] * 2
    decisions = decide(Policy(POINT), calls, range(50), monitor=monitor, audit=1.0)
    assert (decisions.exit_stage == 0).all()
    assert monitor.loss()["unknown"] == 50


def test_a_callback_that_fails_is_told_of_and_stops_nothing():
    monitor = Monitor(POINT)
    monitor.on_decision = lambda record: record["nothing"]
    calls = [lambda rows: (rows, [0.9] * len(rows))] * 2
    with pytest.warns(RuntimeWarning, match="on_decision failed for 0"):
        decide(Policy(POINT), calls, range(3), monitor=monitor)
    assert monitor.inputs == 3


def test_a_record_says_all_of_a_decision_as_json_has_it():
    records = []
    monitor = Monitor(POINT)
    monitor.on_decision = records.append
    calls = [
        lambda rows: (["heron", TimeoutError()], [0.9, 0.9], 2.0),
        lambda rows: (["egret"], None, 3.0),
    ]
    decide(Policy(POINT), calls, [1, 2], ["one", "two"], on_error="next", monitor=monitor)
    for record in records:
        assert min(record.pop("seconds")) >= 0
    assert records[0] == {
        "id": "one",
        "prediction": "heron",
        "model": "small",
        "status": "none",
        "stage": 0,
        "confidences": [0.9],
        "failures": ["none"],
        "costs": [1.0],
    }
    assert records[1]["failures"] == ["timeout", "none"] and records[1]["model"] == "large"
    assert records[1]["confidences"] == [None, None]
    assert json.loads(json.dumps(records, allow_nan=False)) == records


def test_models_that_fail_more_often_than_they_may_alarm():
    monitor = Monitor(POINT)
    rng = np.random.default_rng(0)

    def small(rows):
        return [OSError() if rng.random() < 0.1 else 0 for _ in rows], [0.9] * len(rows)

    calls = [small, lambda rows: (rows, None)]
    decide(Policy(POINT), calls, range(2000), on_error="next", monitor=monitor)
    table = monitor.failing(most=0.02)
    assert table["alarm"].tolist() == [True, False] and 0.02 < table["low"].iloc[0] < 0.1
    assert table["error"].tolist() == [(table["rate"] * 2000).iloc[0], 0]


REFUSED = {
    "too few ids": ({"ids": ["a"]}, "3 ids are needed"),
    "odd ids": ({"ids": [None, 1.5, 2]}, "3 ids are needed, texts or whole numbers"),
    "no seconds": ({"timeout": 0}, "timeout must be seconds"),
    "waiting backwards": ({"max_wait": -1}, "max_wait must be"),
    "no worker": ({"concurrency": 0}, "concurrency must be"),
    "something else": ({"on_error": "ignore"}, "unknown on_error 'ignore'"),
    "no range": ({"confidence_range": (1, 0)}, "confidence_range must be"),
    "another model": ({"timeout": {"huge": 1}}, "unknown model of this cascade 'huge'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_service_refuses(case):
    given, message = REFUSED[case]
    calls = [lambda rows: (rows, [0.9] * len(rows))] * 2
    with pytest.raises(ValueError, match=message):
        decide(Policy(POINT), calls, range(3), **given)


def test_what_a_cascade_cannot_do_is_refused():
    cascade = Cascade.from_point(CASCADE)
    for option in ({"timeout": 1.0}, {"labels": [1]}, {"on_error": "next"}):
        with pytest.raises(ValueError, match="are for functions"):
            Service(cascade.policy, cascade, **option)


def test_one_input_has_a_record():
    async def main():
        calls = [call_of(0, [[0.1, 0.9]]), call_of(1, [[], [0.2, 0.3]])]
        service = Service(Policy(POINT), calls, max_wait=0)
        records = await asyncio.gather(service.decide(0, "x"), service.decide(1))
        cascade = Cascade.from_point(CASCADE)
        images = Service(cascade.policy, cascade, max_wait=0)
        return *records, await images.decide(IMAGES[3]), cascade(IMAGES[3:4]).predictions[0]

    first, second, third, expected = asyncio.run(main())
    assert (first["id"], first["prediction"], first["stage"]) == ("x", (1, 0), 1)
    assert (second["model"], second["confidences"]) == ("small", [0.9])
    assert third["prediction"] == expected
