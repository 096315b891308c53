"""The bundled images and sentences."""

import json

import numpy as np
import pandas as pd
import pytest

from cascadelib import datasets
from cascadelib.files import ROOT


def test_fashion_mnist_is_found_from_any_folder_and_its_splits_share_no_images(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ids = set()
    for split in ("val", "test"):
        samples = datasets.fashion_mnist(split)
        assert samples.inputs.shape == (10_000, 28, 28) and samples.inputs.dtype == np.uint8
        assert (samples.dataset, samples.split) == ("fashion-mnist", split)
        assert (np.bincount(samples.labels) > 900).all() and len(samples.classes) == 10
        ids |= set(samples.sample_ids)
    assert len(ids) == 20_000


SPLITS = ("train", "val", "test", "products", "editorials", "tweets")


@pytest.mark.parametrize("split", SPLITS)
def test_bundled_sentences_have_labels_and_ids(split):
    found = datasets.reviews(split)
    assert (
        len(found) >= 2000
        and found.classes == ("negative", "positive")
        and set(found.labels) == {0, 1}
    )
    rating = pd.read_parquet(ROOT / f"data/reviews/{split}.parquet").rating
    assert (rating != 0).all() and ((rating > 0) == found.labels.astype(bool)).all()


def test_splits_do_not_share_sentences():
    texts = [
        " ".join(text.lower().split())
        for split in SPLITS[:3]
        for text in set(datasets.reviews(split).inputs)
    ]
    assert len(texts) > 10_000 and len(texts) - len(set(texts)) == 0


def test_a_missing_split_is_named():
    with pytest.raises(
        FileNotFoundError, match=r"no .*dev\.parquet. Existing splits: \['editorials'"
    ):
        datasets.reviews("dev")


def test_the_bundled_tokenizer_is_complete():
    zoo = json.loads((ROOT / "data/reviews/zoo.json").read_text())
    tokenizer = json.loads((ROOT / "data/reviews/tokenizer.json").read_text())
    assert sorted(tokenizer["model"]["vocab"].values()) == list(range(zoo["vocab_size"]))
