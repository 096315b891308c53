"""Tables of models, fronts and guarantees on other splits, against loops."""

import shutil
from functools import partial

import numpy as np
import pytest
from tiny_stores import three_models

from cascadelib import LogitStore, Method, ScoreTable, certify, evaluate, search
from cascadelib.analysis import (
    accuracy_drops,
    guarantee_table,
)
from cascadelib.analysis.generalization import same_samples
from cascadelib.evaluation.intervals import difference_interval, paired_difference_interval


def changed(store, scale):
    """Return the same samples with scaled and noisy logits."""
    rng = np.random.default_rng(9)
    logits = {}
    for name in store.models.index:
        noise = rng.normal(size=(len(store), 5))
        logits[name] = scale * store.logits(name) + (1 - scale) * noise
    return LogitStore.from_arrays(
        store.labels,
        logits,
        macs=dict(store.models["macs"]),
        classes=store.classes,
        sample_ids=store.sample_ids,
        split="changed",
    )


STORE = three_models()
OTHER = three_models(1, noise=1.5)


def accuracies(store):
    """Return the accuracy of each model, sample by sample."""
    found = []
    for name in store.models.index:
        logits = store.logits(name)
        hits = [max(range(5), key=row.__getitem__) == y for row, y in zip(logits, store.labels)]
        found.append(sum(hits) / len(hits))
    return found


ENDS = ["drop_low", "drop_high"]


def ends_of(interval, here, there, name, rows):
    """Return the interval of the drop of a model, which holds for all rows simultaneously."""
    both = [store.outcome([name], Method(), "top1")((0,))[0] for store in (here, there)]
    low, high = interval(*both, 1 - 0.05 / rows)
    return [-high, -low]


def test_drops_are_differences_of_accuracies_split_by_split():
    splits = {"b": OTHER, "a": three_models(2, noise=2.5)}
    drops = accuracy_drops(STORE, splits)
    names = STORE.models.index
    assert drops.index.tolist() == [(split, model) for split in "ba" for model in names]
    before = accuracies(STORE)
    for split, store in splits.items():
        after = accuracies(store)
        rows = drops.loc[split]
        assert rows["accuracy"].tolist() == pytest.approx(before)
        assert rows["accuracy_replayed"].tolist() == pytest.approx(after)
        assert rows["drop"].tolist() == pytest.approx(np.subtract(before, after).tolist())
        ends = [ends_of(difference_interval, STORE, store, name, 6) for name in names]
        assert rows[ENDS].to_numpy().tolist() == ends


def test_intervals_of_drops_are_paired_if_the_samples_are_the_same():
    moved = changed(STORE, 0.9)
    drops = accuracy_drops(STORE, {"changed": moved})
    for row, model in enumerate(STORE.models.index):
        expected = ends_of(paired_difference_interval, STORE, moved, model, 3)
        assert drops.iloc[row][ENDS].tolist() == expected
    rows = [5, 3, 100, *range(200, 400)]
    part = {"part": moved.take(rows)}
    paired = accuracy_drops(STORE, part, paired=True)
    assert paired.equals(accuracy_drops(STORE.take(rows), part))
    assert not paired.equals(accuracy_drops(STORE, part))


def random_table(seed):
    rng = np.random.default_rng(seed)
    return ScoreTable(rng.random((2, 400)) < 0.7, rng.random((2, 400)), [1.0, 2.0])


@pytest.mark.parametrize("make", [partial(three_models, ids=False), random_table])
def test_equal_row_numbers_do_not_pair_two_splits(make):
    here, there = map(make, (0, 1))
    drops = accuracy_drops(here, {"there": there})
    name = here.models.index[0]
    expected = ends_of(difference_interval, here, there, name, len(here.models))
    assert drops.iloc[0][ENDS].tolist() == expected
    with pytest.raises(ValueError, match="compared with itself"):
        accuracy_drops(here.take([*range(50)]), {"again": here.take(range(50))})


def test_a_split_is_not_compared_with_itself(tmp_path):
    written = LogitStore.create(tmp_path / "v2", STORE.labels, dataset="d", split="v2")
    for name in STORE.models.index:
        written.add(name, STORE.logits(name), macs=float(STORE.models["macs"][name]))
    copied = LogitStore(shutil.copytree(tmp_path / "v2", tmp_path / "copy"))
    for again, paired in ((written, False), (copied, False), (copied, True)):
        with pytest.raises(ValueError, match="'v2'.* compared with itself"):
            accuracy_drops(written, {"again": again}, paired=paired)
    halves = written.take(slice(300)), written.take(slice(300, 600))
    assert (accuracy_drops(halves[0], {"other half": halves[1]})["drop_high"] > 0).any()


def test_samples_are_paired_in_the_order_of_the_other_split():
    rows = np.array([5, 3, 100])
    part = same_samples(STORE, STORE.take(rows))
    np.testing.assert_array_equal(part.sample_ids, STORE.sample_ids[rows])
    with pytest.raises(ValueError, match="lacks 1 of the 3 samples.*'0-900'"):
        same_samples(STORE, three_models(0, 1000).take([5, 900, 3]))
    relabelled = LogitStore.from_arrays(
        (STORE.labels + 1) % 5, {"m0": STORE.logits("m0")}, sample_ids=STORE.sample_ids
    )
    with pytest.raises(ValueError, match="other labels: row 0"):
        same_samples(STORE, relabelled)


def test_the_table_of_guarantees_has_costs_and_held_out_losses():
    selected_on, certified_on, held_out = (three_models(seed, 2500) for seed in (3, 4, 5))
    front = search(selected_on, 2)
    losses = [0.0001, 0.03, 0.1]
    table = guarantee_table(certified_on, front, losses, held_out)
    assert table["accuracy_loss_allowed"].tolist() == losses
    reference = front.singles["accuracy"].idxmax()
    for epsilon, row in zip(losses, table.itertuples()):
        found = certify(certified_on, front, epsilon, 0.05 / 3)
        point = found.point
        if found.guarantee is None:
            assert row.models == ("–",) and np.isnan([row.cost, row.accuracy_loss_held_out]).all()
            continue
        assert (row.models, row.cost) == (point.models, point.cost)
        loss = held_out.models["top1"][reference] - evaluate(held_out, point).accuracy
        assert row.accuracy_loss_held_out == pytest.approx(loss)
    assert (table["models"] == ("–",)).tolist() == [True, False, False]
