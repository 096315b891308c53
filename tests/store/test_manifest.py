"""The manifest and the labels of a store."""

import json

import pytest

from cascadelib.files import digest_of
from cascadelib.store.logit_store import LogitStore


def test_manifest_and_labels_are_checked(store):
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


def resealed(store, **parts):
    """Give the manifest other parts (None: without it) and a digest that fits them."""
    path = store.path / "manifest.json"
    content = json.loads(path.read_text()) | parts
    for key in [key for key, value in parts.items() if value is None]:
        del content[key]
    content.pop("sha256")
    path.write_text(json.dumps(content | {"sha256": digest_of(content)}))


def test_a_manifest_without_classes_is_of_a_store_without_them(store):
    resealed(store, classes=None)
    assert LogitStore(store.path).classes is None
    resealed(store, classes=["a", 2])
    with pytest.raises(ValueError, match=r"manifest\.json.*'classes' wrong, missing or unknown"):
        LogitStore(store.path)
