"""Many callers on one loop: their inputs share batches, each has its own answers and errors, and
what one run has used the next uses again."""

import asyncio
import math
import time

import numpy as np
import pytest
import torch
from bundled_cascade import IMAGES, POINT, VAL
from faulty_server import POINT as PAIR

from cascadelib import Cascade, Method, Point, Policy
from cascadelib.serve import Monitor, Service

SCORES = np.random.default_rng(0).random(4000)


def calls_of(sizes):
    """Two models that answer (model, row); batches of the first are noted."""

    async def small(rows):
        sizes.append(len(rows))
        await asyncio.sleep(0.001)
        if any(row < 0 for row in rows):
            raise LookupError(f"a row below 0 among {len(rows)}")
        return [("small", row) for row in rows], SCORES[rows], 1.0 * len(rows)

    async def large(rows):
        return [("large", row) for row in rows], None, 10.0 * len(rows)

    return [small, large]


def expected(rows):
    """What the two say of rows."""
    return [("small" if SCORES[row] >= 0.5 else "large", row) for row in rows]


def test_callers_share_batches_and_get_their_own_answers():
    sizes = []
    monitor = Monitor(PAIR)
    told = []
    monitor.on_decision = told.append

    async def main():
        options = {"batch_size": 32, "concurrency": 2, "monitor": monitor}
        service = Service(Policy(PAIR), calls_of(sizes), **options)

        async def caller(first):
            decided = []
            for row in range(first, first + 20):
                decisions = await service.decide_many(
                    [row, row + 2000], [f"{row}", f"{row + 2000}"]
                )
                assert decisions.ids.tolist() == [f"{row}", f"{row + 2000}"]
                assert decisions.predictions.tolist() == expected([row, row + 2000])
                decided.append(np.nansum(decisions.costs))
            return decided

        costs = await asyncio.gather(*[caller(20 * number) for number in range(64)])
        await service.end()
        assert not service.callers and service.undecided == 0
        assert len(service.owners) <= 512  # numbers are used again
        return costs

    costs = asyncio.run(main())
    assert monitor.inputs == len({record["id"] for record in told}) == 64 * 40
    assert np.sum(costs) == monitor.spent.sum()
    assert np.mean(sizes) > 16 and max(sizes) <= 32


def test_what_stops_one_caller_stops_no_other():
    """Also where it is the batch that they share."""
    sizes = []

    async def main():
        service = Service(Policy(PAIR), calls_of(sizes), max_wait=1.0)
        runs = [service.decide_many([row, row + 1]) for row in (*range(0, 20, 2), -7)]
        answers = await asyncio.gather(*runs, return_exceptions=True)
        await service.end()
        assert not service.callers
        return answers

    *answers, error = asyncio.run(main())
    for row, decisions in zip(range(0, 20, 2), answers, strict=True):
        assert decisions.predictions.tolist() == expected([row, row + 1])
    assert isinstance(error, LookupError) and (error.decided.exit_stage == -1).all()
    assert sizes == [22, *[2] * 11]


def test_a_caller_that_goes_away_leaves_the_others_alone():
    async def main():
        service = Service(Policy(PAIR), calls_of([]), max_wait=1.0)
        stays = asyncio.create_task(service.decide_many(range(10)))
        goes = asyncio.create_task(service.decide_many(range(10, 20)))
        await asyncio.sleep(0.01)
        goes.cancel()
        assert (await stays).predictions.tolist() == expected(range(10))
        with pytest.raises(asyncio.CancelledError) as caught:
            await goes
        assert caught.value.decided.status.tolist() == ["undecided"] * 10
        await service.end()
        assert not service.callers

    asyncio.run(main())


def test_audits_go_on_after_the_answer():
    monitor = Monitor(PAIR)
    may_go = asyncio.Event()

    async def small(rows):
        return rows, [0.9] * len(rows)

    async def large(rows):
        await may_go.wait()
        return [row + (row == 3) for row in rows], None

    async def main():
        service = Service(Policy(PAIR), [small, large], max_wait=0, monitor=monitor, audit=1.0)
        decisions = await service.decide_many(range(5), [f"x{row}" for row in range(5)])
        assert decisions.predictions.tolist() == list(range(5))
        assert monitor.loss()["unknown"] == 5 and len(service.callers) == 1
        may_go.set()
        await service.end()
        assert not service.callers

    asyncio.run(main())
    assert monitor.to_label().index.tolist() == ["x3"]


def test_nothing_waits_where_nobody_else_may_come():
    async def seconds(may_come):
        service = Service(Policy(PAIR), calls_of([]), max_wait=0.5)
        service.may_come = lambda: may_come
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await service.decide_many([1])
        return loop.time() - begun

    assert asyncio.run(seconds(True)) >= 0.5 > asyncio.run(seconds(False))


@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_a_cascade_decides_the_samples_of_many_callers_as_its_own(pieces):
    cascade = Cascade.from_point(POINT, store=VAL)
    whole = cascade(IMAGES)
    monitor = Monitor(cascade)

    async def main():
        service = Service(cascade.policy, cascade, monitor=monitor)
        parts = np.array_split(np.arange(len(IMAGES)), pieces)
        decisions = await asyncio.gather(*[service.decide_many(IMAGES[part]) for part in parts])
        await service.end()
        return decisions

    first, *others = asyncio.run(main())
    decisions = first.joined(*others)
    np.testing.assert_array_equal(decisions.exit_stage, whole.exit_stage)
    np.testing.assert_array_equal(decisions.predictions, whole.predictions)
    assert monitor.inputs == len(IMAGES)


def test_calls_at_once_share_the_processor_and_later_models_come_first():
    seen = []

    def model(name):
        def logits(rows):
            seen.append((name, len(rows), len(service.calls), torch.get_num_threads()))
            time.sleep(0.02)
            return np.tile([2.0, 1.0], (len(rows), 1))

        return logits

    point = Point(("a", "b"), (math.inf,), method=Method())
    cascade = Cascade.from_point(point, {name: model(name) for name in point.models})
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        service = Service(cascade.policy, cascade, batch_size=4, concurrency=2, max_wait=0)

        async def main():
            await asyncio.gather(*[service.decide_many(np.zeros((2, 3))) for _ in range(20)])
            await service.end()

        asyncio.run(main())
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    sizes = [size for _, size, *_ in seen]
    assert sum(sizes) == 80 and max(sizes) == 4 and len(sizes) <= 24  # what waits is joined
    assert max(calls for *_, calls, _ in seen) == 2
    assert {threads for *_, threads in seen} in ({2}, {2, 4})
    waiting = np.cumsum([1 if name == "a" else -1 for name, *_ in seen])
    assert max(waiting) <= 3  # batches of the first model that the last has not begun


def test_batches_of_other_forms_run_apart_and_one_that_no_model_takes_is_its_callers_error():
    cascade = Cascade.from_point(POINT)
    images = IMAGES[:8]

    async def main():
        service = Service(cascade.policy, cascade, max_wait=0.05)
        batches = [images, images.float() / 255, images[:, 0], ["a shoe"], images[:3]]
        return await asyncio.gather(*map(service.decide_many, batches), return_exceptions=True)

    bytes_, floats, rows, texts, few = asyncio.run(main())
    said = cascade(images).predictions.tolist()
    assert bytes_.predictions.tolist() == said
    assert floats.predictions.tolist() == cascade(images.float() / 255).predictions.tolist()
    assert few.predictions.tolist() == said[:3]
    for error in (rows, texts):
        assert isinstance(error, ValueError) and "cannot run on" in str(error)
