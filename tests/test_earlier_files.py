"""A store that version 0.3.0 wrote is read, and its policy is refused by name."""

from pathlib import Path

import pytest

from cascadelib import LogitStore, Policy

FOLDER = Path(__file__).parent / "data" / "written_by_0.3.0"


def test_a_policy_is_refused_by_the_version_of_its_format():
    with pytest.raises(ValueError, match=r"policy.json: format version 1, .* reads version 3"):
        Policy.load(FOLDER / "policy.json")


def test_a_store_is_read():
    store = LogitStore(FOLDER / "store")
    assert store.models["top1"].tolist() == [21 / 24, 23 / 24, 1.0]
    assert store.models["macs"].tolist() == [10, 100, 1000]
    assert store.classes == ("cat", "dog", "owl")
