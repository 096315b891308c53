"""When work is done between the events of a kernel: in a thread beside them, or once they pause."""

import asyncio


def running_loop():
    """The event loop that this call runs in, or None: in a kernel there is one, in a script there is not."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def beside(work, then, failed):
    """``then(work())`` or ``failed(error)``: the work in a thread, the answer between two later events.

    So sliders move meanwhile. Without an event loop all of it happens at once.
    """
    loop = running_loop()
    if loop is None:
        answer(work, then, failed)
        return
    task = loop.run_in_executor(None, work)
    task.add_done_callback(lambda done: answer(done.result, then, failed))


def answer(result, then, failed):
    """``then(result())``, or ``failed(error)`` where that raises."""
    try:
        value = result()
    except Exception as error:  # shown to the person who asked, where there is no cell to raise in
        failed(error)
    else:
        then(value)


class Pause:
    """Call ``function`` once no :meth:`again` has come for ``seconds``; at once without an event loop."""

    def __init__(self, seconds, function):
        self.seconds, self.function, self.waiting = seconds, function, None

    def again(self):
        """Begin the pause anew."""
        if self.waiting is not None:
            self.waiting.cancel()
        self.begin()

    def begin(self):
        """Call the function once the pause is over; at once where no event loop runs."""
        loop = running_loop()
        if loop is None:
            self.function()
        else:
            self.waiting = loop.call_later(self.seconds, self.end)

    def end(self):
        """The pause is over: call the function."""
        self.waiting = None
        self.function()


class Soon(Pause):
    """Call ``function`` ``seconds`` after the first :meth:`again`; the same call serves those that come meanwhile.

    So however fast events come, none waits longer, the last is never lost, and calls never queue up.
    """

    def again(self):
        """Begin a pause unless one runs."""
        if self.waiting is None:
            self.begin()
