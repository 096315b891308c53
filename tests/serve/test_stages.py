"""The queue of a model: retries from a budget, and calls that stop while the model is down."""

import asyncio
import logging
import random
from collections import Counter

import numpy as np
import pytest
from deciding import answering, decided, down, hang
from faulty_server import POINT
from virtual_time import run

from cascadelib import Policy
from cascadelib.serve import Service

PAIR = Policy(POINT)


def test_retries_are_limited_to_a_tenth_of_the_inputs():
    """A model of which two calls in ten fail is not taken for one that is down."""
    seen = []
    rng = random.Random(1)

    async def flaky(inputs):
        seen.extend(inputs)
        if rng.random() < 0.2:
            raise OSError("reset by peer")
        return inputs, [0.9] * len(inputs)

    async def main(retries):
        seen.clear()
        options = {"batch_size": 1, "concurrency": 1, "on_error": "next", "retries": retries}
        decisions = await decided(PAIR, [flaky, answering(1)], range(1000), **options)
        return np.count_nonzero(decisions.exit_stage == 0)

    without_retries = run(main(0))
    assert len(seen) == 1000
    assert run(main(3)) > without_retries + 50
    assert 1050 < len(seen) <= 1000 + 0.1 * len(seen) + 10
    assert max(Counter(seen).values()) <= 4


def test_a_retry_can_decide_an_input_and_counts_as_unknown_money():
    attempts = Counter()

    async def second_time(inputs):
        attempts.update(inputs)
        if attempts[inputs[0]] == 1:
            raise TimeoutError
        return inputs, [0.9] * len(inputs), 1.0

    async def main():
        service = Service(PAIR, [second_time, down], retries=1, batch_size=8)
        decisions = await service.decide_many(range(8))
        return decisions, service.monitor

    decisions, monitor = run(main())
    assert decisions.status.tolist() == ["none"] * 8 and set(attempts.values()) == {2}
    assert monitor.cost()["unknown_calls"] == 8 and monitor.spent.tolist() == [8.0, 0.0]


def test_an_input_is_retried_only_if_the_delay_ends_before_its_deadline(monkeypatch):
    """The first two delays take 0.05 and 0.1 seconds."""
    monkeypatch.setattr(random, "uniform", lambda low, high: 1.0)

    async def main(deadline):
        options = {"retries": 5, "deadline": deadline, "on_error": "next"}
        return await Service(PAIR, [down, answering(1)], **options).decide(1)

    for deadline, retries in ((0.04, 0), (0.06, 1), (0.12, 1), (0.17, 2)):
        record = run(main(deadline))
        assert (record.model, record.retries) == ("large", retries)


def test_calls_of_a_model_that_is_down_stop_and_its_failures_are_logged_once(caplog):
    seen = []
    is_up = []

    async def large(inputs):
        seen.extend(inputs)
        return await (answering(0.9) if is_up else down)(inputs)

    async def main():
        service = Service(PAIR, [answering(0.1, name="small"), large], on_error="next")
        for number in range(200):
            assert (await service.decide(number)).status == "error"
            await asyncio.sleep(0.05)
        assert 18 <= len(seen) <= 18 + 10  # one probe per second
        is_up.append(True)
        await asyncio.sleep(1)
        assert (await service.decide(1)).status == (await service.decide(2)).status == "none"

    with caplog.at_level(logging.INFO, "cascadelib.serve"):
        run(main())
    assert caplog.messages == [
        "model 'large' failed for 1 inputs: OSError: down",
        "model 'large' is not called; last failure: OSError: down",
        "model 'large' is called again; last failure: OSError: down",
    ]


def test_a_stopped_model_raises_its_last_failure_if_errors_stop():
    async def main():
        service = Service(PAIR, [down, down])
        for _ in range(18):
            with pytest.raises(OSError, match="down"):
                await service.decide(1)
        with pytest.raises(ConnectionError, match="'small' is not called.*OSError: down"):
            await service.decide(1)

    run(main())


def test_inputs_of_a_stopped_model_fail_though_its_probes_take_all_calls():
    seen = []

    async def large(inputs):
        seen.extend(inputs)
        await (down if len(seen) <= 18 else hang)(inputs)

    async def main():
        options = {"on_error": "next", "concurrency": 2}
        service = Service(PAIR, [answering(0.1, name="small"), large], **options)
        for _ in range(18):
            await service.decide(1)
        probes = []
        for _ in range(2):
            await asyncio.sleep(1)
            probes.append(asyncio.create_task(service.decide(1)))
        await asyncio.sleep(1)
        record = await asyncio.wait_for(service.decide(1), 0.5)
        assert (record.status, record.model, len(seen)) == ("error", "small", 20)
        for probe in probes:
            probe.cancel()

    run(main())
