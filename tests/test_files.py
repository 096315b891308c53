"""Files are replaced atomically, and only regular files of bounded size are read."""

import base64
import math
import os
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, NotRequired, TypedDict
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascadelib.files import (
    DATA,
    ROOT,
    SUFFIX,
    digest_of,
    file_digest,
    file_name,
    find_folder,
    find_leftovers,
    from_json,
    is_usable_json,
    located,
    name_path_in_errors,
    open_regular_file,
    parse_json_object,
    read_json,
    remove_leftovers,
    replace_atomically,
    short_path,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.text(min_size=1, max_size=20).filter(lambda name: "\ud800" > max(name)))
def test_distinct_models_have_distinct_file_names_that_are_valid_on_windows(name):
    written = file_name(name)
    assert written.endswith(SUFFIX)
    assert not written.startswith(".")
    assert file_name(name + "é") != written
    inside = PureWindowsPath("C:/stores", written)
    assert inside.parent == PureWindowsPath("C:/stores")
    assert not set(written) & set('<>:"/\\|?*') and not written.endswith((".", " "))


DEVICES = st.sampled_from("CON con prn Aux NUL com1 COM9 lpt1 LPT9".split())


@given(DEVICES | st.builds("{}.{}".format, DEVICES, st.text("ab.", max_size=3)))
def test_models_named_like_a_device_of_windows_have_files(name):
    written = file_name(name)
    assert not PureWindowsPath(written).is_reserved()
    assert unquote(written.removesuffix(SUFFIX)) == name


@pytest.mark.parametrize("path", ["C:/stores/val/a.safetensors", "C:\\stores\\val", "d:a", "a:b/c"])
def test_a_drive_letter_is_no_address(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError), open_regular_file(Path(path)):
        pass


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "non-empty"), (3, "non-empty"), ("\ud800", "not valid text"), ("é" * 40, "limit is 200")],
)
def test_names_without_a_valid_file_name_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        file_name(name)  # type: ignore[arg-type]


def test_a_file_is_replaced_atomically_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replace_atomically(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert find_leftovers(tmp_path) == [temporary]
        raise RuntimeError("the writer stops")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with replace_atomically(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_only_files_of_killed_writers_are_removed(tmp_path):
    ours = tmp_path / ".a.json.0123456789ab.cascadelib-tmp"
    others = [tmp_path / name for name in (".a.json.cascadelib-tmp", "a.tmp", ".hidden")]
    for path in [ours, *others]:
        path.touch()
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted(others)


def test_an_error_of_the_disk_names_the_requested_file(tmp_path):
    path = tmp_path / "none" / "a.json"
    with pytest.raises(FileNotFoundError) as caught, replace_atomically(path) as temporary:
        temporary.write_text("new")
    assert caught.value.filename == str(path)
    with pytest.raises(OSError) as unnamed, name_path_in_errors(path):
        raise OSError(28, "No space left on device")
    assert unnamed.value.filename == str(path)
    with pytest.raises(OSError) as other, name_path_in_errors(path):
        raise OSError(28, "No space left on device", "another")
    assert other.value.filename == "another"


def test_only_regular_files_that_are_not_empty_are_opened(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("{}")
    with open_regular_file(path) as file:
        assert file.read() == b"{}"
    with pytest.raises(ValueError, match="more than 1 bytes"), open_regular_file(path, 1):
        pass
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "pipe", "/dev/zero", str(tmp_path)):
        with pytest.raises(ValueError, match="not a regular file, or an empty one"):
            file_digest(tmp_path / name)
    with (
        pytest.raises(ValueError, match="is an address"),
        open_regular_file(Path("https://host.example/a")),
    ):
        pass


@given(JSON)
def test_a_digest_does_not_depend_on_the_order_of_keys(value):
    there = {"a": value, "b": 1}
    assert digest_of(there) == digest_of(dict(reversed(there.items())))
    assert digest_of(there) != digest_of({"a": [value], "b": 1})
    assert is_usable_json(value)


def test_unusable_json_values_are_found():
    deep = []
    for _ in range(60):
        deep = [deep]
    for value in (deep, math.nan, math.inf, 10**400, "\ud800", {"a": [math.nan]}, {"\ud800": 1}):
        assert not is_usable_json(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "not a JSON object"),
        ("{", "not JSON"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": NaN}', "not a JSON object, or it is nested too deep, or has nan"),
        ("[" * 10**5, "not JSON"),
    ],
)
def test_text_that_is_not_a_json_object_is_refused(text, message, tmp_path):
    with pytest.raises(ValueError, match=f"policy: .*{message}"):
        parse_json_object(text, "policy")
    path = tmp_path / "policy.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"policy\.json: .*" + message):
        read_json(path)


def test_bundled_folders_are_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert located("data/reviews") == ROOT / "data" / "reviews"
    (tmp_path / "data" / "reviews").mkdir(parents=True)
    assert find_folder("data/reviews") == Path("data/reviews")  # here comes first
    with pytest.raises(FileNotFoundError, match="no folder data/none in .*, and no "):
        located("data/none")
    assert short_path(ROOT / "data" / "reviews") == str(Path("data", "reviews"))
    assert short_path(tmp_path) == str(tmp_path.resolve())


def test_an_installed_package_reads_the_folder_of_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cascadelib.files.ROOT", tmp_path / "site-packages")
    monkeypatch.delenv(DATA, raising=False)
    with pytest.raises(FileNotFoundError, match=f"set {DATA} to a folder"):
        located("data/reviews")
    (tmp_path / "held" / "reviews").mkdir(parents=True)
    monkeypatch.setenv(DATA, str(tmp_path / "held"))
    assert located("data/reviews") == tmp_path / "held" / "reviews"


class Rate(TypedDict):
    value: float
    low: NotRequired[float]


@dataclass(frozen=True)
class Part:
    name: str
    rates: tuple[float | Rate, ...]
    versions: dict[str, str]
    cost: float | None = None
    keys: bytes = b""
    notes: Any = None


WRITTEN = {"name": "a", "rates": [0, {"value": 0.5}], "versions": {"numpy": "2"}}


def test_json_values_become_values_of_a_type():
    assert from_json(Part, WRITTEN) == Part("a", (0.0, {"value": 0.5}), {"numpy": "2"})
    keys = base64.b64encode(b"\x00\x01").decode()
    read = from_json(Part, WRITTEN | {"cost": 2, "keys": keys, "notes": {"a": [1]}})
    assert read.cost == 2.0 and read.keys == b"\x00\x01" and read.notes == {"a": [1]}
    assert from_json(list[int | None], [1, None]) == [1, None]


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"name": None}, "^'name': missing or of another kind"),
        ({"rates": [0, {"value": "0"}]}, "^'rates': 1: 'value': missing"),
        ({"rates": [{"value": 0, "lower": 0}]}, "^'rates': 0 has no 'lower'"),
        ({"rates": [{"low": 0.1}]}, "^'rates': 0 lacks 'value'"),
        ({"rates": "0"}, "^'rates': missing"),
        ({"cost": True}, "^'cost': missing"),
        ({"cost": math.inf}, "^'cost': missing"),
        ({"keys": "?"}, "^'keys': not base64"),
        ({"versions": {"numpy": "2", "torch": 2}}, "^'versions': 'torch': missing"),
        ({"version": {}}, "^it has no 'version'"),
    ],
)
def test_a_json_value_of_another_type_is_refused_by_its_place(part, message):
    with pytest.raises(ValueError, match=message):
        from_json(Part, WRITTEN | part)
    inner = {"inner": [WRITTEN | part]}
    with pytest.raises(ValueError, match="^'inner': 0[ :]"):
        from_json(dict[str, tuple[Part, ...]], inner)
