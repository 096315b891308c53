"""A service that decides a list of inputs on a loop of its own, for tests."""

import asyncio

from cascadelib.serve import Service


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
