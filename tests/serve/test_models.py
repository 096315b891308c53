"""A service of a cascade's torch members: batches over callers, threads, other references."""

import asyncio
import math
import time

import numpy as np
import pytest
from bundled_cascade import IMAGES, POINT, TEST, VAL
from deciding import decide

from cascadelib import Cascade, Method, Point
from cascadelib.serve import Monitor, Service


@pytest.fixture(scope="module")
def cascade():
    return Cascade.from_point(POINT, store=VAL)


@pytest.mark.parametrize("pieces", [1, 7, 50])
def test_a_cascade_decides_the_samples_of_many_callers_as_its_own(cascade, pieces):
    expected = cascade(IMAGES)
    monitor = Monitor(cascade)

    async def main():
        service = Service(cascade.policy, cascade, monitor=monitor, deadline=600)
        parts = np.array_split(np.arange(len(IMAGES)), pieces)
        decisions = await asyncio.gather(*[service.decide_many(IMAGES[part]) for part in parts])
        await service.end()
        return decisions

    first, *others = asyncio.run(main())
    decisions = first.joined(*others)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    np.testing.assert_array_equal(decisions.predictions, expected.predictions)
    assert monitor.inputs == len(IMAGES)


def test_an_ensemble_decides_as_its_cascade():
    method = Method(ensemble="mean_logits")
    cascade = Cascade.from_point(Point(POINT.models, (0.9,), method=method))
    expected = cascade(IMAGES[:200])
    decisions = decide(cascade.policy, cascade, IMAGES[:200], batch_size=16, audit=0.5)
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    np.testing.assert_array_equal(decisions.predictions, expected.predictions)
    np.testing.assert_allclose(decisions.confidences, expected.confidences, atol=1e-5)


def test_one_sample_has_a_record(cascade):
    async def main():
        return await Service(cascade.policy, cascade).decide(IMAGES[3], "x")

    record = asyncio.run(main())
    assert (record.id, record.prediction) == ("x", cascade(IMAGES[3:4]).predictions[0])


def test_the_reference_of_an_audit_can_be_any_model_of_the_zoo(cascade):
    monitor = Monitor(cascade)
    options = {"monitor": monitor, "audit": 1.0, "reference": "linear@28"}
    decisions = decide(cascade.policy, cascade, IMAGES[:100], **options)
    answers = TEST.logits("linear@28")[:100].argmax(axis=1)
    differ = np.flatnonzero(decisions.predictions != answers)
    assert sorted(monitor.to_label().index) == differ.tolist()


def test_nan_inputs_are_deferred_and_never_raise(cascade):
    images = IMAGES[:3].float()
    images[1, 0, 0] = math.nan
    decisions = decide(cascade.policy, cascade, images)
    assert decisions.status.tolist() == ["none", "malformed", "none"]
    assert decisions.predictions[1] == -1


def test_simultaneous_calls_share_the_processor_and_later_models_come_first():
    import torch

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
        service = Service(cascade.policy, cascade, batch_size=4, concurrency=2)

        async def main():
            await asyncio.gather(*[service.decide_many(np.zeros((2, 3))) for _ in range(20)])
            await service.end()

        asyncio.run(main())
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    sizes = [size for _, size, *_ in seen]
    assert sum(sizes) == 80 and max(sizes) == 4
    assert max(calls for *_, calls, _ in seen) == 2
    assert {threads for *_, threads in seen} in ({2}, {2, 4})
    waiting = np.cumsum([1 if name == "a" else -1 for name, *_ in seen])
    assert max(waiting) <= 3  # batches of the first model that the last has not begun


def test_batches_of_other_forms_run_apart_and_a_bad_one_is_its_callers_error(cascade):
    images = IMAGES[:8]

    async def main():
        service = Service(cascade.policy, cascade)
        batches = [images, images.float() / 255, images[:, 0], ["a shoe"], images[:3]]
        return await asyncio.gather(*map(service.decide_many, batches), return_exceptions=True)

    bytes_, floats, rows, texts, few = asyncio.run(main())
    expected = cascade(images).predictions.tolist()
    assert bytes_.predictions.tolist() == expected
    assert floats.predictions.tolist() == cascade(images.float() / 255).predictions.tolist()
    assert few.predictions.tolist() == expected[:3]
    for error in (rows, texts):
        assert isinstance(error, ValueError) and "cannot run on" in str(error)
