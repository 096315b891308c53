"""The Hugging Face Hub: whether it answers, and which revision of a checkpoint was read."""

import contextlib
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

from huggingface_hub import constants, try_to_load_from_cache

FORCED = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch knows "0" and no word as no
BEFORE: list = []  # the value of FORCED that each inside of weights_only() found
CHANGING = Lock()
PATIENCE = 5  # seconds; the libraries themselves would retry for about a minute


def is_reachable() -> bool:
    """Whether the Hub can be reached at all, through a proxy where the environment names one."""
    if constants.HF_HUB_OFFLINE:
        return False
    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=PATIENCE).close()
    except urllib.error.HTTPError:
        return True  # it answers, though not to this
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def weights_only() -> Iterator[None]:
    """Inside, ``torch.load`` runs no code that a file brings, whatever a library asks it for.

    That ends when the last thread leaves, with what was there before the first.
    """
    with CHANGING:
        BEFORE.append(os.environ.get(FORCED))
        os.environ[FORCED] = "1"
    try:
        yield
    finally:
        with CHANGING:
            os.environ[FORCED] = BEFORE.pop() or "0"


def check_reachable(what: str, cached: bool, instead: str) -> None:
    """Raise ConnectionError, at once, where ``what`` is not cached and the Hub does not answer.

    instead: the remedy.
    """
    if not cached and not is_reachable():
        raise ConnectionError(
            f"{what} is not in the local cache and {constants.ENDPOINT} does not answer; "
            f"{instead}, or try again online"
        )


def cached_revision(repository: str, *files: str, revision: str | None = None) -> str | None:
    """The commit under which the local cache holds one of ``files`` of a repository, or None."""
    for file in files:
        path = try_to_load_from_cache(repository, file, revision=revision)
        if isinstance(path, str):
            return Path(path).parent.name
    return None
