"""Work that leaves the page free: in a thread, or after a pause; at once where there is no event
loop."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that this call runs in, or None: a kernel has one, a script does not."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop()
    return None


def beside(work: Callable[[], object], ended: Callable[[BaseException | None], None]) -> None:
    """``work()`` in a thread, then between two later events ``ended(error)``, with what it raised
    or None; without an event loop this waits for both."""
    loop = running_loop()
    if loop is None:
        ended(ThreadPoolExecutor(1).submit(work).exception())
    else:
        loop.run_in_executor(None, work).add_done_callback(lambda done: ended(done.exception()))


@dataclass(eq=False)
class Later:
    """Call ``function`` ``seconds`` after :meth:`again`; at once without an event loop.

    restarts: each :meth:`again` begins the pause anew, so that the call comes once events rest.
    Otherwise one call serves all that come meanwhile: however fast they come, none waits longer,
    the last is never lost, and calls never queue.
    """

    seconds: float
    function: Callable[[], None]
    restarts: bool
    waiting: asyncio.TimerHandle | None = None

    def again(self) -> None:
        """Begin a pause, unless one runs that goes on."""
        loop = running_loop()
        if loop is None:
            self.function()
        elif self.waiting is None or self.restarts:
            if self.waiting is not None:
                self.waiting.cancel()
            self.waiting = loop.call_later(self.seconds, self.end)

    def end(self) -> None:
        """The pause is over: call the function."""
        self.waiting = None
        self.function()
