"""Searches that run beside the events of a page."""

import asyncio
from typing import Any

import pytest
from explorer_stores import STORE

import cascadelib as cl
from cascadelib.explorer.explorer import Later, beside


def test_work_beside_events_and_pauses() -> None:
    said = []
    calls = []

    async def events() -> None:
        pause, soon = (
            Later(seconds, lambda said=said: calls.append(said), restarts)
            for seconds, said, restarts in ((0.05, "rest", True), (0.02, "drawn", False))
        )
        for _ in range(5):
            pause.again()
            soon.again()
            await asyncio.sleep(0.01)
        beside(lambda: 7, said.append)
        beside(lambda: 1 / 0, lambda error: said.append(type(error)))
        said.append("later")
        while len(said) < 3 or "rest" not in calls:
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(events(), 20))
    assert (
        said[0] == "later"
        and set(said[1:]) == {None, ZeroDivisionError}
        and calls.count("rest") == 1
    )
    assert 2 <= calls.count("drawn") <= 4
    beside(lambda: calls.append("at once"), said.append)
    assert said[-1] is None and calls[-1] == "at once"


def test_a_front_that_comes_late_is_dropped_if_another_is_wanted() -> None:
    async def events() -> Any:
        explorer = cl.explore(STORE)
        explorer.chooser.number.value = 3
        assert (
            explorer.goals.buttons["this budget"].disabled and "searching" in explorer.message.value
        )
        explorer.go({"goal": "match_best"})  # a click that comes before the button is disabled
        assert "searching" in explorer.message.value and len(explorer.point.models) == 3
        explorer.chooser.number.value = 2
        while explorer.searching:
            await asyncio.sleep(0.01)
        return explorer

    explorer = asyncio.run(asyncio.wait_for(events(), 120))
    front = next(trace for trace in explorer.charts.figure.data if trace.meta == "front")
    assert len(front.x) == len(cl.search(STORE, 2)) and "searching" not in explorer.message.value
    assert len(explorer.point.models) == 2
    assert not explorer.goals.buttons["largest improvement (optimistic)"].disabled


def test_a_search_that_fails_late_does_not_keep_the_next_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(self, choice: Any, real: Any = cl.explorer.ExploredSplits.search) -> Any:
        if len(choice.models) == 3:
            raise ValueError("no such luck")
        return real(self, choice)

    monkeypatch.setattr(cl.explorer.ExploredSplits, "search", refused)

    async def events() -> tuple:
        explorer = cl.explore(STORE)
        explorer.chooser.number.value = 3
        explorer.chooser.number.value = 4
        while explorer.searching:
            await asyncio.sleep(0.01)
        enabled = not explorer.goals.buttons["this budget"].disabled, explorer.message.value
        explorer.chooser.number.value = 3
        return explorer, enabled, explorer.message.value

    explorer, enabled, message = asyncio.run(asyncio.wait_for(events(), 120))
    assert (
        enabled == (True, "")
        and len(explorer.splits.fronts) == 3
        and "could not be searched: no such luck" in message
    )
