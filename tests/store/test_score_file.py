"""A file of scores replays a study without its logits."""

import numpy as np
import pytest
from paper_stores import write_split

from cascadelib import METHODS, LogitStore, Method, search
from cascadelib.analysis import front_on
from cascadelib.store import ScoreFile, Store

STORE = write_split("toy", "val", 300, 1)
OTHER = write_split("toy", "test", 200, 2)
TEMPERATURES = METHODS["entropy_most_confident_ts"].fit(STORE).temperatures
REPLAYED = [name for name in METHODS if "_mean_" not in name]


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """The files of both splits, with the temperatures of the first."""
    folder = tmp_path_factory.mktemp("scores")
    files = []
    for store in (STORE, OTHER):
        store.to_scores(folder / f"{store.split}.parquet", TEMPERATURES)
        files.append(ScoreFile(folder / f"{store.split}.parquet"))
    return files


def test_a_file_is_a_store_with_the_same_samples_and_models(scores):
    for store, file in zip((STORE, OTHER), scores):
        assert isinstance(file, Store) and len(file) == len(store)
        assert file.origin.sample_ids.tolist() == store.sample_ids.tolist()
        assert file.labels.tolist() == store.labels.tolist()
        assert (file.origin.dataset, file.class_count) == (store.dataset, store.class_count)
        columns = ["top1", "top5", "macs", "seconds"]
        assert file.models[columns].equals(store.models[columns])
        for name in store.models.index:
            assert file.ranks(name).tolist() == store.ranks(name).tolist()
            assert file.predicted(name).tolist() == store.predicted(name).tolist()


@pytest.mark.parametrize("method", REPLAYED)
@pytest.mark.parametrize("length", [2, 3])
def test_fronts_equal_those_of_the_logits(scores, method, length):
    here, there = scores
    for cost in ("macs", "seconds"):
        ours = search(here, length, method, cost=cost)
        theirs = search(STORE, length, method, cost=cost)
        for column in ("accuracy", "cost", "models"):
            assert ours.table[column].tolist() == theirs.table[column].tolist()
        moved = [front_on(*pair).mean_improvement() for pair in ((there, ours), (OTHER, theirs))]
        assert moved[0] == pytest.approx(moved[1], rel=1e-6)


def test_parts_of_a_file_are_those_of_the_store(scores):
    file = scores[0]
    names = ["tiny", "large"]
    part = file.take(slice(0, None, 3)).select(names)
    expected = STORE.take(slice(0, None, 3)).select(names)
    assert part.models["top1"].to_dict() == expected.models["top1"].to_dict()
    assert search(part, 2).table["cost"].tolist() == search(expected, 2).table["cost"].tolist()


def test_what_needs_logits_says_so(scores, tmp_path):
    file = scores[0]
    for call in (
        lambda: search(file, 2, "max_softmax_mean_logits"),
        lambda: search(file, 2, Method("top2_softmax_sum")),
        lambda: file.logits("tiny"),
    ):
        with pytest.raises(ValueError, match="needs the logits of model"):
            call()
    STORE.to_scores(tmp_path / "plain.parquet")
    plain = ScoreFile(tmp_path / "plain.parquet")
    assert not plain.has_temperatures and file.has_temperatures
    with pytest.raises(ValueError, match="write it with temperatures="):
        search(plain, 2, "entropy_most_confident_ts")
    with pytest.raises(ValueError, match="unknown cost 'joules'.*'macs'"):
        file.costs("joules")
    with pytest.raises(ValueError, match="needs the logits"):
        file.labelled(STORE.labels)


def test_other_files_and_stores_without_labels_are_refused(tmp_path):
    STORE.models.to_parquet(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match="write it with to_scores"):
        ScoreFile(tmp_path / "table.parquet")
    logits = {"m": np.eye(3)}
    unlabelled = LogitStore.from_arrays(None, logits, sample_ids=["a", "b", "c"], macs={"m": 1})
    with pytest.raises(ValueError, match="labels are needed"):
        unlabelled.to_scores(tmp_path / "scores.parquet")


def test_probabilities_have_scores_too(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), (2, 60))
    outputs = {"small": p[0], "large": p[1]}
    store = LogitStore.from_probabilities(
        rng.integers(0, 4, 60), outputs, macs={"small": 1, "large": 9}
    )
    store.to_scores(tmp_path / "p.parquet")
    ours, theirs = (search(each, 2) for each in (ScoreFile(tmp_path / "p.parquet"), store))
    assert ours.table["accuracy"].tolist() == theirs.table["accuracy"].tolist()
