"""Damaged stores give named errors or the same data, and interrupted writers leave no files."""

import errno
import itertools
import json
import math
import os
import shutil
import signal
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fuzz
import numpy as np
import pytest
from toy_store import LABELS, LOGITS

import cascadelib as cl
from cascadelib import files
from cascadelib.files import TEMPORARY, digest_of
from cascadelib.store import formats
from cascadelib.store.manifest import Manifest


@pytest.fixture
def store(store):
    store.add("a", LOGITS["a"], macs=10)
    store.add("b", LOGITS["b"], macs=20)
    return store


@pytest.mark.parametrize("seed", range(2))
def test_damaged_stores_give_named_errors_or_the_same_data(seed):
    assert fuzz.fuzz_stores(seed, cases=100) == 100


def test_a_lost_file_and_an_unlisted_file_are_named(store):
    (store.path / "a.safetensors").rename(store.path / "c.safetensors")
    with pytest.warns(UserWarning) as caught:
        opened = cl.LogitStore(store.path)
    assert list(opened.models.index) == ["b"]
    texts = sorted(str(w.message) for w in caught)
    assert (
        "a.safetensors: manifest.json lists it, but the file is missing" in texts[0]
        and "holds 'a', not 'c'" in texts[1]
    )
    with pytest.raises(ValueError, match=r"a\.safetensors: .*is missing"):
        opened.logits("a")


def test_a_model_that_is_replaced_while_it_is_read_is_never_read_by_the_old_header(
    store, monkeypatch
):
    reader = cl.LogitStore(store.path)
    writer = cl.LogitStore(store.path)
    done = []
    real = formats.sha256

    def slowly(tensor):
        if not done:
            done.append(None)
            writer.add("a", LOGITS["c"], macs=77, note="x" * 64, replace=True)
        return real(tensor)

    monkeypatch.setattr(formats, "sha256", slowly)
    np.testing.assert_array_equal(reader.logits("a"), LOGITS["a"])
    late = cl.LogitStore(store.path)
    writer.add("a", LOGITS["b"], macs=5, replace=True)
    with pytest.raises(ValueError, match=r"a\.safetensors: it was replaced since"):
        late.logits("a")


def sealed(store, **changes):
    """Write the manifest with other entries (None: without them) and a valid digest."""
    path = store.path / "manifest.json"
    content = json.loads(path.read_text()) | changes | {"sha256": None}
    content = {key: value for key, value in content.items() if value is not None}
    path.write_text(json.dumps(content | {"sha256": digest_of(content)}))


def test_metadata_that_cannot_be_read_is_not_written(store):
    with pytest.raises(ValueError, match="metadata .*checkpoint"):
        store.add("c", LOGITS["c"], checkpoint={"a": math.nan})


def test_a_manifest_may_lack_class_names_but_no_entry_is_of_another_kind(store):
    sealed(store, classes=None)
    assert cl.LogitStore(store.path).classes is None
    models = store._source.manifest.models
    for entry, changes in {
        "'classes': 1": {"classes": ["a", 2]},
        "'models': 'a'": {"models": models | {"a": 5}},
        "'models': 'a'.*0": {"models": models | {"a": [5]}},
    }.items():
        sealed(store, **({"classes": None} | changes))
        with pytest.raises(ValueError, match=rf"manifest\.json.*{entry}: missing or of another"):
            cl.LogitStore(store.path)


@pytest.fixture
def other(tmp_path):
    """Another store with the same number of samples."""
    other = cl.LogitStore.create(tmp_path / "other", LABELS[::-1], dataset="toy", split="val")
    other.add("a", LOGITS["b"], macs=10)
    return other


def test_a_folder_that_another_store_replaces_while_it_is_opened_is_refused(
    store, other, monkeypatch
):
    real = formats.read_labels

    def slowly(*args):
        labels = real(*args)
        shutil.rmtree(store.path)
        shutil.copytree(other.path, store.path)
        return labels

    monkeypatch.setattr(formats, "read_labels", slowly)
    with pytest.raises(ValueError, match="val: another store .* Open it again"):
        cl.LogitStore(store.path)


def test_nothing_is_added_to_a_folder_that_became_another_store(store, other):
    shutil.rmtree(store.path)
    shutil.copytree(other.path, store.path)
    with pytest.raises(ValueError, match="val: another store .* Open it again"):
        store.add("a", LOGITS["c"], macs=1, replace=True)
    np.testing.assert_array_equal(cl.LogitStore(store.path).logits("a"), other.logits("a"))


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), None])
def test_a_failed_or_empty_read_names_the_path(store, monkeypatch, error):
    class Failing:
        def __init__(self, handle, mode):
            self.fileno = lambda: handle

        def __enter__(self):
            return self

        def __exit__(self, *_):
            os.close(self.fileno())

        def read(self, *_):
            if error:
                raise error

    monkeypatch.setattr(files, "open", Failing, raising=False)
    for read, path in (
        (formats.Output.read, store.path / "a.safetensors"),
        (files.read_json, store.path / "x.json"),
    ):
        path.write_bytes(b"{}" * 90)
        with pytest.raises((ValueError, OSError), match=path.name):
            read(path)


@pytest.mark.parametrize("value", [10**400, [10**400], "\ud800", {"\ud800": 1}, "[" * 100_000])
def test_metadata_that_a_table_or_file_cannot_hold_is_refused(store, value):
    for own in (store, cl.LogitStore.from_arrays(LABELS, {"a": LOGITS["a"]})):
        with pytest.raises(ValueError, match="metadata 'parameters' must be text, a number"):
            own.add("c", LOGITS["c"], parameters=value)
        assert "c" not in own.models.index
    with pytest.raises(ValueError, match="metadata"):
        store.add("c", LOGITS["c"], **{"\ud800": 1})


def test_names_that_are_not_text_are_refused_or_skipped(store, tmp_path):
    stray = Path(os.fsdecode(os.fsencode(store.path) + b"/\xff.safetensors"))
    try:
        stray.write_bytes((store.path / "a.safetensors").read_bytes())
    except OSError:
        pass  # a file system that requires names of text
    else:
        with pytest.warns(UserWarning, match="not valid text"):
            assert list(cl.LogitStore(store.path).models.index) == ["a", "b"]
        stray.unlink()
    sealed(store, models={**store._source.manifest.models, "\ud800": ["x"]})
    with pytest.raises(ValueError, match=r"manifest\.json: .*invalid text"):
        cl.LogitStore(store.path)
    for origin in ({"classes": ["\ud800", *"abcdef"]}, {"dataset": "\ud800"}):
        with pytest.raises(ValueError, match=r"manifest\.json: .*invalid text"):
            cl.LogitStore.create(tmp_path / "new", LABELS, **origin)


def test_a_writer_ignores_a_stray_folder(store):
    (store.path / ".x.tmp").mkdir()
    store.add("c", LOGITS["c"], macs=30)
    assert len(cl.LogitStore(store.path).models) == 3


@pytest.mark.parametrize("in_memory", [False, True])
def test_threads_share_a_store_that_grows(store, in_memory):
    """A reader never sees a part of a change."""
    logits = {"a": LOGITS["a"], "b": LOGITS["b"]}
    shared = (
        cl.LogitStore.from_arrays(LABELS, logits, macs={"a": 10, "b": 20}) if in_memory else store
    )
    versions = [
        np.random.default_rng(i).normal(size=LOGITS["a"].shape).astype(np.float32) for i in range(9)
    ]
    end = time.monotonic() + 0.4
    old = sys.getswitchinterval()
    adds = 40 if in_memory else 8

    def add(number):
        for i in range(adds):
            shared.add(f"m{number}-{i}", LOGITS["a"], macs=30 + number)
            shared.add("shared", versions[i % 9], macs=1 + i % 9, note=i % 9, replace=True)

    def read(number):
        while time.monotonic() < end:
            part = shared.take(slice(None))
            try:
                table = part.models
                assert list(table.macs) == sorted(table.macs) == list(part.costs("macs")) and {
                    "a",
                    "b",
                } <= {*table.index}
                for name in table.index[:3]:
                    np.testing.assert_array_equal(
                        part.ranks(name) == 0, part.logits(name).argmax(1) == LABELS
                    )
                    if name == "shared":
                        np.testing.assert_array_equal(
                            part.logits(name), versions[part.metadata(name)["note"]]
                        )
            except ValueError as error:
                assert "it was replaced since" in str(error)
            assert shared.models.index.is_unique and repr(shared)

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(add if number < 3 else read, number) for number in range(8)]:
                done.result()
    finally:
        sys.setswitchinterval(old)
    orders = [shared.metadata(name)["order"] for name in shared.models.index]
    assert len({*orders}) == len(orders) == 2 + 3 * adds + 1
    part = shared.take([0, 1])
    shared.add("late", LOGITS["a"], macs=1)
    assert "late" in shared.models.index and "late" not in part.models.index


def test_threads_and_processes_add_and_replace_simultaneously(tmp_path):
    """Without class names, each writer reads the number of classes from another model."""
    path = cl.LogitStore.create(tmp_path / "s", LABELS).path

    def work(number):
        own = cl.LogitStore(path)
        for i in range(6):
            own.add(f"m{number}-{i % 3}", LOGITS["a"], macs=1 + i, replace=i >= 3)
            own.add("shared", LOGITS["b"], macs=1 + number, replace=True)

    children = []
    for number in (8, 9):
        if not (child := os.fork()):
            try:
                work(number)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    opened = cl.LogitStore(path)
    assert len(opened.models) == 6 * 3 + 1 and not opened._source.broken
    opened.verify()
    assert not list(path.glob(".*"))


CALLS = {
    "replace": os,
    "fsync": os,
    "unlink": Path,
    "write_bytes": Path,
    "write_text": Path,
    "open": os,
}


def act_at_call(number, act, monkeypatch, after):
    """Call ``act`` before or after the n-th call of CALLS. Return the list of calls."""
    made = []
    for name, owner in CALLS.items():
        real = getattr(owner, name)

        def call(*arguments, real=real, name=name, **options):
            made.append(name)
            acts = len(made) == number
            path = arguments[:1] if name in ("open", "unlink") else ()
            if acts and not after:
                act(*path)
            result = real(*arguments, **options)
            if acts and after:
                act(*path)
            return result

        monkeypatch.setattr(owner, name, call)
    return made


def change(folder):
    """Add one model and replace another."""
    store = cl.LogitStore(folder)
    store.add("c", LOGITS["c"], macs=30)
    store.add("a", LOGITS["c"], macs=11, replace=True)


def check_half_changed(folder):
    """Check that each model is the old or the new one, and that the change can be repeated."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = cl.LogitStore(folder)
    store.verify()
    assert {"a", "b"} <= {*store.models.index} <= {"a", "b", "c"}
    macs = store.models["macs"].to_dict()
    for name, wanted in (("a", {10: "a", 11: "c"}), ("b", {20: "b"}), ("c", {30: "c"})):
        if name in macs:
            np.testing.assert_array_equal(store.logits(name), LOGITS[wanted[macs[name]]])
    for name, value in (("c", 30), ("a", 11)):
        store.add(name, LOGITS["c"], macs=value, replace=True)
    assert cl.LogitStore(folder).models["macs"].to_dict() == {"a": 11, "b": 20, "c": 30}
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["manifest.json", "labels.npz", *(f"{name}.safetensors" for name in "abc")]
    )


def interrupt(*_):
    raise KeyboardInterrupt


def fill_disk(*path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *path)


EXCEPTIONS = [(interrupt, False), (fill_disk, False), (fill_disk, True)]


@pytest.fixture
def copies(store, tmp_path):
    """Yield (number, copy of the store) from 1 on."""
    numbers = ((number, tmp_path / str(number)) for number in itertools.count(1))
    return ((number, Path(shutil.copytree(store.path, folder))) for number, folder in numbers)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:a model of the store is skipped")
def test_an_exception_at_any_call_of_a_writer_loses_nothing(copies):
    for number, folder in copies:
        act, after = EXCEPTIONS[number % len(EXCEPTIONS)]
        with pytest.MonkeyPatch.context() as patch:
            made = act_at_call(number, act, patch, after)
            try:
                change(folder)
            except (OSError, ValueError, KeyboardInterrupt) as error:
                assert isinstance(error, KeyboardInterrupt) or str(folder) in str(error)
        check_half_changed(folder)
        if len(made) < number:
            break
    assert number > 15


@pytest.mark.soak
def test_a_kill_at_any_call_of_a_writer_loses_nothing(copies):
    for number, folder in copies:
        if not (child := os.fork()):
            with pytest.MonkeyPatch.context() as patch:
                act_at_call(number, lambda *_: os.kill(os.getpid(), signal.SIGKILL), patch, False)
                change(folder)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        check_half_changed(folder)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), (number, status)
    assert number > 15


def test_a_new_file_is_listed_before_it_is_in_place(store, monkeypatch):
    """The writer stops between the file of the model and the last manifest."""
    write = Manifest.write

    def stop_after_the_file(manifest, folder):
        if (folder / "c.safetensors").exists():
            raise KeyboardInterrupt
        write(manifest, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Manifest, "write", stop_after_the_file)
        store.add("c", LOGITS["c"], macs=30)
    assert list(cl.LogitStore(store.path).models.index) == ["a", "b", "c"]


def test_the_next_writer_removes_the_files_of_killed_ones(store):
    (store.path / f".c.safetensors.0123456789ab{TEMPORARY}").write_bytes(b"half a file")
    store.add("c", LOGITS["c"])
    assert not list(store.path.glob(".*"))


def test_a_model_can_be_added_while_another_is_replaced(tmp_path):
    early = cl.LogitStore.create(tmp_path / "s", LABELS)
    early.add("a", LOGITS["a"], macs=10)
    early = cl.LogitStore(early.path)
    cl.LogitStore(early.path).add("a", LOGITS["b"], macs=11, replace=True)
    early.add("c", LOGITS["c"], macs=30)
    assert cl.LogitStore(early.path).models["macs"].to_dict() == {"a": 11, "c": 30}
    with pytest.raises(ValueError, match="'d': logits for 8 classes, but the store has 7"):
        early.add("d", np.zeros((40, 8)))


def test_a_model_that_another_process_has_added_is_not_overwritten(store):
    early = cl.LogitStore(store.path)
    store.add("c", LOGITS["c"], macs=30)
    with pytest.raises(ValueError, match="store already has model 'c'. Pass replace=True"):
        early.add("c", LOGITS["a"], macs=1)
    np.testing.assert_array_equal(cl.LogitStore(store.path).logits("c"), LOGITS["c"])
    early.add("c", LOGITS["a"], macs=1, replace=True)


def test_names_that_differ_in_case_only_are_refused_if_the_disk_ignores_case(store, monkeypatch):
    monkeypatch.setattr(formats, "ignores_case", Path.exists)
    for replace in (False, True):
        with pytest.raises(ValueError, match="'A'.*'a'.*ignores case.*another name"):
            store.add("A", LOGITS["c"], replace=replace)
    store.add("a", LOGITS["c"], macs=10, replace=True)
    assert list(cl.LogitStore(store.path).models.index) == ["a", "b"]


def test_names_may_differ_in_case_only_if_the_disk_distinguishes_case(store):
    if (store.path / "MANIFEST.JSON").exists():
        pytest.skip("this disk ignores case")
    store.add("A", LOGITS["c"], macs=3)
    assert list(cl.LogitStore(store.path).models.index) == ["A", "a", "b"]
