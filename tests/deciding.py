"""A service that decides a list of inputs on a loop of its own, for tests."""

import asyncio
from collections.abc import Sequence
from typing import Any

from cascadelib import Policy
from cascadelib.policy import Decisions
from cascadelib.serve import Service


async def decided(
    policy: Policy, calls: Any, inputs: Any, ids: Sequence | None = None, **options: Any
) -> Decisions:
    """Decisions of a service, when its audits have ended as well."""
    service = Service(policy, calls, **options)
    service.may_come = lambda: False
    try:
        return await service.decide_many(inputs, ids)
    finally:
        await service.end()


def decide(*args: Any, **options: Any) -> Decisions:
    """The same from synchronous code."""
    return asyncio.run(decided(*args, **options))
