"""The manifest and the labels of a store."""

import pytest

from cascadelib.store.logit_store import LogitStore


def test_manifest_and_labels_are_checked(store: LogitStore) -> None:
    manifest = store.path / "manifest.json"
    whole = manifest.read_text()
    for broken in (
        "{",
        "[]",
        whole.replace("logits 2", "logits 9"),
        whole.replace(store.fingerprint[:6], "000000"),
    ):
        manifest.write_text(broken)
        with pytest.raises(ValueError, match=r"manifest\.json"):
            LogitStore(store.path)
    manifest.write_text(whole)
    (store.path / "labels.npz").write_bytes((store.path / "labels.npz").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"labels\.npz"):
        LogitStore(store.path)
