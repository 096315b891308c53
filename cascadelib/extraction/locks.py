"""Locks by which processes share the work on a folder, each of one byte of a file.

The operating system releases the locks of a process that ends, so a killed process blocks no other.
"""

import contextlib
import errno
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import SUFFIX, digest_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCKS = ".locks"  # file whose bytes are locked
OWNER = ".owner"  # file of the only process, if the disk has no locks
UNFINISHED = f"*/*{SUFFIX}"  # files that the next process needs
PRESENCE = 0  # byte that each process locks while it works


class Locks:
    """Locks of the processes that work on a folder.

    The last process removes the folder, unless a model is unfinished.

    On a disk or system (Windows) without such locks, one process at a time may work.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._file: int | None = None  # None if this process works alone

    @contextlib.contextmanager
    def shared(self) -> Iterator[None]:
        """Take part in the work on the folder, which is created if it does not exist.

        Raises ValueError if there are no locks and another process works on the folder.
        """
        self._enter()
        try:
            yield
        finally:
            if self._is_last() and not any(self.folder.glob(UNFINISHED)):
                self._remove_folder()
            if self._file is not None:
                os.close(self._file)

    def _enter(self) -> None:
        """Lock the byte that all processes share, in a file that no process has removed."""
        while True:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # exist_ok=True fails if the last process has just removed the folder.
            with contextlib.suppress(FileExistsError):
                self.folder.mkdir()
            try:
                self._file = os.open(self.folder / LOCKS, os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:  # the last process has just removed the folder
                continue
            try:
                _lock(self._file, PRESENCE, exclusive=False, wait=True)
            except OSError as error:
                os.close(self._file)
                self._file = None
                self._enter_alone(error)
                return
            if os.fstat(self._file).st_nlink:
                return
            os.close(self._file)

    def _enter_alone(self, error: OSError) -> None:
        """Create a file that names this process, or raise ValueError if there is one."""
        owner = self.folder / OWNER
        try:
            with open(owner, "x") as file:
                file.write(f"process {os.getpid()} on {platform.node()}")
        except FileExistsError:
            raise ValueError(
                f"{self.folder} is on a disk without locks ({error.strerror}), where one process "
                f"at a time can extract. {owner.read_text().capitalize()} does. If it has ended, "
                f"delete {owner}"
            ) from None

    def _is_last(self) -> bool:
        """Release all locks, and return whether no other process works on the folder."""
        if self._file is None:
            (self.folder / OWNER).unlink(missing_ok=True)
            return True
        fcntl.lockf(self._file, fcntl.LOCK_UN)
        return _lock(self._file, PRESENCE)

    def _remove_folder(self) -> None:
        """Remove the folder, and the file of locks last, so that no process enters before."""
        with contextlib.suppress(OSError):  # another process has entered meanwhile
            for path in self.folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name != LOCKS:
                    path.unlink()
            (self.folder / LOCKS).unlink(missing_ok=True)
            self.folder.rmdir()

    def claim(self, *key: Any) -> bool:
        """Return whether no other process has the lock of a key, which this one now has."""
        return self._file is None or _lock(self._file, _find_byte(key))

    def release_all(self) -> None:
        """Release the locks of all keys."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 0, PRESENCE + 1)

    @contextlib.contextmanager
    def held(self, *key: Any) -> Iterator[None]:
        """Wait for the lock of a key, and release the locks of all keys at the end."""
        if self._file is not None:
            _lock(self._file, _find_byte(key), wait=True)
        try:
            yield
        finally:
            self.release_all()


def _lock(file: int, byte: int, exclusive: bool = True, wait: bool = False) -> bool:
    """Lock a byte of a file, and return whether no other process has it.

    Raises OSError if the system or the disk has no locks.
    """
    if fcntl is None:
        raise OSError(errno.ENOLCK, "the system has none")
    kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    try:
        fcntl.lockf(file, kind if wait else kind | fcntl.LOCK_NB, 1, byte)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _find_byte(key: tuple) -> int:
    """Return the byte that is locked for a key."""
    return PRESENCE + 1 + int(digest_of([*map(str, key)])[:12], 16)
