"""The file of a model is checked when it is read, and a broken one is named."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from toy_store import LABELS, LOGITS

from cascadelib.store.formats import Output, decode_metadata, encode_metadata, encode_tensor
from cascadelib.store.logit_store import LogitStore


def test_files_are_readable_by_the_group(store):
    umask = os.umask(0)
    os.umask(umask)
    store.add("a", LOGITS["a"])
    assert (store.path / "a.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask


def resident_kilobytes(path):
    """Return the memory of this process that a mapped file takes."""
    found = 0
    is_of_file = False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        if "-" in line.split(":")[0]:
            is_of_file = line.endswith(str(path))
        elif is_of_file and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux")
def test_released_outputs_leave_no_pages_in_memory(store):
    """Each page of 43 files of ImageNet's size counted as memory: 4 GB."""
    store.add("a", LOGITS["a"])
    store = LogitStore(store.path)
    path = store.path / "a.safetensors"
    assert store.output("a").sum() and resident_kilobytes(path) > 0
    store.release_memory("a")
    assert resident_kilobytes(path) == 0


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
)
def test_metadata_survives_a_round_trip(value):
    assert decode_metadata(encode_metadata("key", value)) == value


@pytest.mark.parametrize("name", ["timm/vit.augreg@224", "..", "ü", "100%"])
def test_names_with_special_characters_are_stored(store, name):
    store.add(name, LOGITS["a"], macs=1)
    opened = LogitStore(store.path)
    assert list(opened.models.index) == [name]
    np.testing.assert_array_equal(opened.logits(name), LOGITS["a"])


def test_names_without_a_file_name_are_refused(store):
    for some in (store, LogitStore.from_arrays(LABELS, {})):
        with pytest.raises(ValueError, match="name"):
            some.add("", LOGITS["a"])


def of_another_store(folder):
    other = LogitStore.create(folder / "other", LABELS[::-1])
    other.add("bad", LOGITS["a"])
    return (other.path / "bad.safetensors").read_bytes()


# {case: (new content of the file from its folder and old content, message)}
DAMAGE = {
    "truncated": (lambda folder, content: content[:-5], "truncated"),
    "appended": (lambda folder, content: content + b"x", "appended"),
    "empty": (lambda folder, content: b"", "or an empty one"),
    "text": (lambda folder, content: b"not a tensor", "not a complete safetensors file"),
    "foreign": (lambda folder, content: save({"logits": LOGITS["a"]}), "header"),
    "of another model": (
        lambda folder, content: (folder / "good.safetensors").read_bytes(),
        "holds 'good', not 'bad'",
    ),
    "of another store": (lambda folder, content: of_another_store(folder), "fingerprint"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_broken_file_is_named_and_other_models_stay_readable(store, case):
    damage, check = DAMAGE[case]
    store.add("good", LOGITS["b"])
    store.add("bad", LOGITS["a"])
    path = store.path / "bad.safetensors"
    path.write_bytes(damage(store.path, path.read_bytes()))
    with pytest.warns(UserWarning, match=r"bad\.safetensors.*" + check):
        opened = LogitStore(store.path)
    assert list(opened.models.index) == ["good"]
    np.testing.assert_array_equal(opened.logits("good"), LOGITS["b"])
    for ask in (lambda: opened.logits("bad"), opened.verify):
        with pytest.raises(ValueError, match=r"bad\.safetensors.*" + check):
            ask()
    with pytest.raises(ValueError, match="replace=True"):
        opened.add("bad", LOGITS["a"])
    opened.add("bad", LOGITS["a"], replace=True)
    opened.verify()


def test_an_edited_tensor_is_found_by_the_first_read_or_if_it_is_large_by_verify(
    store, monkeypatch
):
    store.add("good", LOGITS["b"])
    store.add("bad", LOGITS["a"])
    path = store.path / "bad.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    opened = LogitStore(store.path)
    for ask in (lambda: opened.logits("bad"), opened.verify):
        with pytest.raises(ValueError, match=r"bad\.safetensors.*SHA-256"):
            ask()
    opened.logits("good")
    monkeypatch.setattr("cascadelib.store.formats.QUICKLY_HASHED", 10)
    large = LogitStore(store.path)
    large.logits("bad")
    with pytest.raises(ValueError, match="SHA-256"):
        large.verify()


def test_a_header_that_the_manifest_does_not_list_is_refused(store):
    store.add("a", LOGITS["a"])
    path = store.path / "a.safetensors"
    metadata = Output.read(path).metadata
    path.write_bytes(encode_tensor(LOGITS["a"], metadata | {"macs": 10}))
    with pytest.warns(UserWarning, match=r"a\.safetensors.*manifest"):
        opened = LogitStore(store.path)
    for ask in (lambda: opened.logits("a"), opened.verify):
        with pytest.raises(ValueError, match=r"a\.safetensors.*manifest"):
            ask()
