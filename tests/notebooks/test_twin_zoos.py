"""Findings that depend on the training of models are distinguished from chance."""

import numpy as np
import pytest

import cascadelib as cl
from cascadelib.files import ROOT
from tools import twin_zoos

TWINS = ROOT / "data" / "fashion-mnist" / "twins"
NAMES = ["mlp@14", "mlp_h256@28", "lenet@28", "small_resnet_w16x2@28"]


def changed(store, factor):
    """The same models with their logits multiplied: less confident below 1, and no more correct."""
    logits = {name: factor * np.asarray(store.logits(name)) for name in store.models.index}
    return cl.LogitStore.from_arrays(
        store.labels, logits, macs=store.models["macs"].to_dict(), sample_ids=store.sample_ids
    )


@pytest.fixture(scope="module")
def zoo():
    stores = (cl.LogitStore(f"data/fashion-mnist/{split}") for split in ("val", "test"))
    return tuple(store.select(NAMES).take(slice(0, None, 8)) for store in stores)


@pytest.fixture(scope="module")
def table(zoo):
    """Twins of which one is less confident, and all else is the same."""
    softer = tuple(changed(store, 0.6) for store in zoo)
    zoos = {"hard": zoo, "hard-again": zoo, "smoothed": softer, "distilled": zoo}
    return twin_zoos.dependence(zoos, resamples=100)


def test_the_same_zoo_differs_in_nothing(table):
    same = table.drop(index="smoothed", level="zoo")
    columns = [column for column in table if column.startswith("from_")]
    assert (same[columns] == 0).all(axis=None) and (same["depends"] == "–").all()


def test_lower_confidence_is_detected_and_nothing_else(table):
    softer = table.xs("smoothed", level="zoo")
    assert softer.loc[twin_zoos.GAP, "depends"] == "yes"
    assert softer.loc[twin_zoos.GAP, "from_hard_high"] < 0
    assert softer.loc[twin_zoos.GAIN, "from_hard_low"] > 0
    shown = twin_zoos.in_words(table)
    assert shown.loc[twin_zoos.GAP, "depends"] == "yes"


def test_values_by_hand(zoo, table):
    """Gap and likelihood from the logits, the saving from the pair's cost."""
    val, test = zoo
    gaps = []
    for name in NAMES:
        z = np.asarray(test.logits(name), float)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        gaps.append(p.max(axis=1).mean() - (z.argmax(axis=1) == test.labels).mean())
    row = table.loc[(twin_zoos.GAP, "hard")]
    assert row["value"] == pytest.approx(np.mean(gaps))
    assert row["value_low"] < row["value"] < row["value_high"]
    point = cl.pick(cl.search(val, 2), "match_best", caution=0)
    cost = cl.evaluate(test, point).cost
    best = val.models["macs"][val.models["top1"].idxmax()]
    assert table.loc[(twin_zoos.SAVING, "hard"), "value"] == pytest.approx(best / cost)
