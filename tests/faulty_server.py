"""Two models behind HTTP on this machine that are slow, fail, time out, hang up or return nonsense,
each for some inputs: a local server, and the calls of a policy for it."""

import asyncio
import json
import math
import random
import threading
from contextlib import contextmanager

from cascadelib import Point

MODELS = ("small", "large")
POINT = Point(MODELS, (0.5,), (0.5, 0.5))
LABELS = ("heron", "egret", "stork")
TIMEOUT = 2.0  # of the clients, seconds
PRICES = {"small": 1.0, "large": 10.0}
ACCURACY = {"small": 0.85, "large": 0.95}
KINDS = ("slow", "fails", "hangs", "hangs up", "nonsense", "nan", "another label")


def truth(number):
    """Return the label of an input."""
    return LABELS[number % 3]


def reply_of(model, number):
    """Return the answer and the confidence of a model without faults for an input."""
    random_of = random.Random(f"{model} {number}")
    is_correct = random_of.random() < ACCURACY[model]
    answer = truth(number) if is_correct else LABELS[(number + 1) % 3]
    return answer, min(1.0, random_of.random() + 0.2 * is_correct)


def fault_of(model, number, every):
    """Return the fault of a model for an input, or None. One input in ``every`` has each kind."""
    place = random.Random(f"fault {model} {number}").randrange(every)
    return KINDS[place] if place < len(KINDS) else None


async def answer(model, numbers, every, timeout=TIMEOUT):
    """Return the body of a response, or None to close the connection without one.

    timeout: that of the clients. To hang takes five times as long.
    """
    faults = {fault_of(model, number, every) for number in numbers} if every else set()
    if "slow" in faults:
        await asyncio.sleep(0.05)
    if "hangs" in faults:
        await asyncio.sleep(5 * timeout)
    if "hangs up" in faults:
        return None
    if "fails" in faults:
        raise RuntimeError("out of memory")
    if "nonsense" in faults:
        return b"<html>It works!</html>"
    answers = [list(reply_of(model, number)) for number in numbers]
    for pair, number in zip(answers, numbers):
        fault = fault_of(model, number, every) if every else None
        if fault == "nan":
            pair[1] = math.nan
        if fault == "another label":
            pair[0] = "zebra"
    return json.dumps(answers).encode()


async def serve(every, timeout, started):
    """Answer POST /MODEL with a list of numbers, over persistent connections."""

    async def connected(reader, writer):
        try:
            while request := await reader.readline():
                length = 0
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    if name.lower() == "content-length":
                        length = int(value)
                numbers = json.loads(await reader.readexactly(length))
                try:
                    model = request.split()[1].decode()[1:]
                    body = await answer(model, numbers, every, timeout)
                    status = b"200 OK"
                except RuntimeError as error:
                    body = str(error).encode()
                    status = b"500 Internal Server Error"
                if body is None:
                    break
                head = b"HTTP/1.1 " + status + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
                writer.write(head + body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # its client went away
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with server:
        end = asyncio.Event()
        loop = asyncio.get_running_loop()
        port = server.sockets[0].getsockname()[1]
        started(port, lambda: loop.call_soon_threadsafe(end.set))
        await end.wait()


@contextmanager
def served(every=0, timeout=TIMEOUT):
    """Yield the address of a server in a thread."""
    address = []
    is_up = threading.Event()

    def started(port, stop):
        address.extend([port, stop])
        is_up.set()

    thread = threading.Thread(
        target=lambda: asyncio.run(serve(every, timeout, started)), daemon=True
    )
    thread.start()
    assert is_up.wait(60)
    port, stop = address
    yield f"http://127.0.0.1:{port}"
    stop()
    thread.join(10)


def calls_of(client, address, batches=None, timeout=TIMEOUT):
    """Return a call for each model, with one request for all inputs of a batch."""

    def call_of(model):
        async def call(numbers):
            if batches is not None:
                batches.append((model, tuple(numbers)))
            response = await client.post(f"{address}/{model}", json=numbers, timeout=timeout)
            response.raise_for_status()
            answers = json.loads(response.text)
            price = PRICES[model] * len(numbers)
            return [pair[0] for pair in answers], [pair[1] for pair in answers], price

        return call

    return [call_of(model) for model in MODELS]
