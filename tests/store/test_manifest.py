"""The manifest and the labels of a store are checked when it is opened."""

import os

import pytest

import cascadelib as cl


def test_damage_of_the_manifest_and_of_the_labels_is_named(store):
    manifest = store.path / "manifest.json"
    whole = manifest.read_text()
    for broken, message in (
        ("{", ""),
        ("[]", ""),
        (whole.replace("logits 2", "logits 1"), "is 'cascadelib logits 1', not .* logits 2'"),
        (whole.replace(store.origin.fingerprint[:6], "000000"), ""),
    ):
        manifest.write_text(broken)
        with pytest.raises(ValueError, match=rf"manifest\.json: .*{message}"):
            cl.LogitStore(store.path)
    manifest.write_text(whole)
    (store.path / "labels.npz").write_bytes((store.path / "labels.npz").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"labels\.npz"):
        cl.LogitStore(store.path)


def test_labels_of_absurd_size_are_not_read(store, monkeypatch):
    hashed = []
    monkeypatch.setattr("hashlib.file_digest", lambda *_: hashed.append(1))
    os.truncate(store.path / "labels.npz", 3 * 2**30)  # sparse
    with pytest.raises(ValueError, match=r"labels\.npz: more than 1703936 bytes"):
        cl.LogitStore(store.path)
    assert not hashed
    os.truncate(store.path / "manifest.json", 2**26 + 1)
    with pytest.raises(ValueError, match=r"manifest\.json: more than 67108864 bytes"):
        cl.LogitStore(store.path)
