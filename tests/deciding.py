"""Calls of models, and a service that decides a list of inputs, for tests."""

import asyncio

from cascadelib.serve import Service


def answering(confidence, seconds=0.0, name="", seen=None, cost=1.0):
    """An async call that answers each input after some seconds. seen: collects its batches."""

    async def call(inputs):
        if seen is not None:
            seen.append(list(inputs))
        await asyncio.sleep(seconds)
        return [name or each for each in inputs], [confidence] * len(inputs), cost * len(inputs)

    return call


async def down(inputs):
    raise OSError("down")


async def hang(inputs):
    await asyncio.sleep(1e9)


async def decided(policy, calls, inputs, ids=None, **options):
    """Decisions of a service, when its audits have ended as well."""
    service = Service(policy, calls, **options)
    try:
        return await service.decide_many(inputs, ids)
    finally:
        await service.end()


def decide(*args, **options):
    """The same from synchronous code."""
    return asyncio.run(decided(*args, **options))
