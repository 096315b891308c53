"""Control a headless Firefox by its protocol Marionette, without a driver or a package.

A message is its length, a colon, and JSON.
"""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from itertools import count

from jupyter_pages import free_port

FIREFOXES = ("firefox-esr", "firefox")
PATIENCE = 60  # seconds


def find_firefox():
    """Return the path of the first Firefox on the PATH, or None."""
    return next(filter(None, map(shutil.which, FIREFOXES)), None)


class Firefox:
    """An open connection."""

    def __init__(self, connection):
        self.connection = connection
        self.stream = connection.makefile("rb")
        self.numbers = count(1)
        self.read()  # the greeting
        self.call("WebDriver:NewSession", capabilities={})
        self.call("WebDriver:SetTimeouts", script=1000 * PATIENCE, pageLoad=1000 * PATIENCE)

    def read(self):
        """Return the next message."""
        length = b"".join(iter(lambda: self.stream.read(1), b":"))
        return json.loads(self.stream.read(int(length)))

    def call(self, command, **parameters):
        """Return the result of a command. Raise a RuntimeError if Firefox reports an error."""
        text = json.dumps([0, next(self.numbers), command, parameters]).encode()
        self.connection.sendall(b"%d:%b" % (len(text), text))
        _, _, error, result = self.read()
        if error:
            raise RuntimeError(f"{command}: {error}")
        return result

    def open(self, address):
        """Open a page."""
        self.call("WebDriver:Navigate", url=address)

    def run(self, script):
        """Return the value that a script passes to the function ``done``."""
        text = f"const done = arguments[0]; {script}"
        return self.call("WebDriver:ExecuteAsyncScript", script=text, args=[])["value"]


@contextmanager
def firefox(folder):
    """Yield a Firefox with its profile in a folder, and end it afterwards."""
    port = free_port()
    (folder / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
    path = find_firefox()
    assert path is not None
    command = [path, "--headless", "--marionette", "--no-remote", "--profile", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connected(port) as connection:
            yield Firefox(connection)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def connected(port):
    """Return a connection as soon as the port accepts one."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
