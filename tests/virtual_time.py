"""An event loop whose clock jumps to the next timer, so that no test waits or depends on speed."""

import asyncio


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop for coroutines that wait for each other and for timers only, without threads."""

    now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


def run(coroutine):
    """Run a coroutine in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
