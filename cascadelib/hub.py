"""Check whether the Hugging Face Hub is reachable, and which revision of a checkpoint is cached."""

import contextlib
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from huggingface_hub import constants, try_to_load_from_cache

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # environment variable; torch reads "0" as False
PREVIOUS_VALUES: list = []  # values of FORCED before each active weights_only()
LOCK = Lock()  # guards FORCED and PREVIOUS_VALUES
TIMEOUT = 5  # seconds. The libraries would retry for about a minute


def is_reachable() -> bool:
    """Return whether the Hub responds, through a proxy if the environment names one."""
    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError:
        return True  # an error of HTTP is a response
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def weights_only() -> Iterator[None]:
    """Make ``torch.load`` refuse files with code, in all threads, until the last context ends."""
    with LOCK:
        PREVIOUS_VALUES.append(os.environ.get(FORCED))
        os.environ[FORCED] = "1"
    try:
        yield
    finally:
        with LOCK:
            os.environ[FORCED] = PREVIOUS_VALUES.pop() or "0"


def check_reachable(what: str, cached: bool, instead: str) -> None:
    """Raise a ConnectionError if `what` is not cached and the Hub does not respond.

    `instead` is the remedy in the message.
    """
    if not cached and not is_reachable():
        raise ConnectionError(
            f"{what} is not in the local cache and {constants.ENDPOINT} does not respond: "
            f"{instead}, or try again online"
        )


def cached_revision(repository: str, *files: str, revision: str | None = None) -> str | None:
    """Return the cached commit that has one of `files` of a repository, or None."""
    for file in files:
        path = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(path, str):
            return Path(path).parent.name
    return None
