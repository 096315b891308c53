"""Let every call of an extraction that changes a file fail once, in a child process.

The parent has not run torch before, since torch's threads do not survive a fork. `make test` tries
one fault at every second call. ``python tests/extraction/faults.py FOLDER every`` tries all faults
at every call, as in `make soak`.
"""

import errno
import itertools
import json
import os
import signal
import sys
import warnings
from pathlib import Path

import torch

import cascadelib.extraction.extraction
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo import forward

EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
KINDS = [signal.SIGKILL, errno.ENOSPC, signal.SIGTERM, errno.EFBIG, signal.SIGINT, errno.EROFS]
CALLS = []  # (call, path) of this process in the watched folder


def watch(folder, act):
    """Call ``act(number, path)`` before each later call that changes something in ``folder``.
    Half of the bytes are then written."""

    def called(call, path):
        if Path(os.fsdecode(path)).is_relative_to(folder):
            CALLS.append((call, str(path)))
            act(len(CALLS), str(path))

    def audit(event, arguments):
        changing = (
            event in EVENTS
            or event == "open"
            and isinstance(arguments[2], int)
            and arguments[2] & WRITING
        )
        if changing and isinstance(arguments[0], str | bytes | os.PathLike):
            called(event, arguments[0])

    def half(write):
        def written(self, content, **options):
            write(self, content[: len(content) // 2], **options)
            called("write", self)
            return write(self, content, **options)

        return written

    Path.write_bytes = half(Path.write_bytes)
    Path.write_text = half(Path.write_text)
    os.fsync = lambda handle: called("fsync", os.readlink(f"/proc/self/fd/{handle}"))
    sys.addaudithook(audit)


def network(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 3)


def run(folder, names=("a", "lock")):
    """Extract 12 samples in two shards per model, with constant measured times."""
    torch.set_num_threads(1)
    forward.time.perf_counter = map(float, itertools.count()).__next__
    inputs = torch.arange(36).reshape(12, 3) / 36
    models = {name: network(seed) for seed, name in enumerate(names)}
    options = {"batch_size": 3, "shard_size": 6, "progress": False, "macs": dict.fromkeys(names, 9)}
    return cascadelib.extraction.extraction.extract(
        models, (inputs, torch.arange(12) % 3), folder, **options
    )


def forked(work):
    """Return the status of a child process that calls a function."""
    if child := os.fork():
        return os.waitpid(child, 0)[1]
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
        os._exit(0)
    except KeyboardInterrupt:
        os._exit(7)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(8)


def content(folder):
    """Return {file: bytes} without the order of the keys in a header, which is random in
    safetensors."""
    found = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    for name in [name for name in found if name.endswith(".safetensors")]:
        end = 8 + int.from_bytes(found[name][:8], "little")
        found[name] = json.loads(found[name][8:end]), found[name][end:]
    return found


def check(folder, kind, number, whole):
    """Test one fault at a call and the next run, and return whether this call occurred."""

    def act(count, path):
        if count == number and isinstance(kind, signal.Signals):
            os.kill(os.getpid(), kind)
        elif count == number:
            raise OSError(kind, os.strerror(kind), path)

    def work():
        watch(folder, act)
        try:
            run(folder)
        except OSError as error:
            assert str(folder) in str(error) and error.errno == kind, repr(error)
            os._exit(7)
        os._exit(0 if len(CALLS) < number else 9)  # 9: the call did not occur

    def read():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a reader never sees a partial file
            if (folder / "manifest.json").exists():
                LogitStore(folder).verify()

    status = forked(work)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) in (0, 7, 9), (
        kind,
        number,
        status,
    )
    assert forked(lambda: (read(), run(folder))) == 0, (kind, number)
    assert content(folder) == whole and not list(folder.glob(".*")), (
        kind,
        number,
        sorted(content(folder)),
    )
    return status != 0


def check_finished(folder):
    """Repeat a finished extraction without any call that would change a file."""

    def refuse(number, path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def work():
        watch(folder, refuse)
        assert list(run(folder).models.index) == ["a", "lock"] and not CALLS, CALLS
        try:
            (folder / "other").mkdir()  # the calls are observed
        except OSError as error:
            os._exit(error.errno)

    assert os.waitstatus_to_exitcode(forked(work)) == errno.EROFS


def main(base, every):
    os.fsync = lambda handle: None  # waits for the disk
    assert forked(lambda: run(base / "whole")) == 0
    whole = content(base / "whole")
    assert set(whole) == {"a.safetensors", "lock.safetensors", "labels.npz", "manifest.json"}
    check_finished(base / "whole")
    for number in itertools.count(1, 1 if every else 2):
        kinds = KINDS if every else [KINDS[number // 2 % len(KINDS)]]
        if not all([check(base / f"{number}-{kind}", kind, number, whole) for kind in kinds]):
            break
    print(f"{number - 1} calls", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), "every" in sys.argv[2:])
