"""A fixed cascade on images without labels agrees with evaluate where labels are known, and writes
its guesses."""

import numpy as np
import pytest
import torch
from PIL import Image

from cascadelib import evaluate
from cascadelib.datasets.images import Photographs, list_files, list_images
from cascadelib.evaluation.point import Point
from cascadelib.extraction.extraction import extract
from cascadelib.methods.method import METHODS, Method
from cascadelib.policy import Cascade
from cascadelib.zoo.transforms import Cut, Photos
from tools.deployed import write_submission

CLASSES = 6


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    rng = np.random.default_rng(0)
    for i in range(40):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(
            folder / f"test_{i:03}.png"
        )
    return list_files(folder, list_images(folder))


def one_by_one(images):
    return ([image()] for image in images)


def models():
    def linear(seed, size):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size**2, CLASSES)).eval()

    photos = {
        size: Photos(Cut((size, size), "bilinear", 1.0), (0.5,) * 3, (0.1,) * 3) for size in (8, 12)
    }
    return {
        "a": (linear(1, 8), photos[8]),
        "b": (linear(2, 8), photos[8]),
        "c": (linear(3, 12), photos[12]),
    }


@pytest.fixture(scope="module")
def store(images, tmp_path_factory):
    names = [file.path.name for file in images]
    labelled = Photographs(images, np.random.default_rng(1).integers(0, CLASSES, 40), names)
    return extract(
        models(),
        labelled,
        tmp_path_factory.mktemp("s") / "s",
        batch_size=8,
        workers=0,
        progress=False,
    )


@pytest.mark.parametrize("name", [*METHODS, "top2", "own"])
def test_decisions_are_the_same_as_evaluate(images, store, name):
    others = {
        "top2": Method("top2_softmax_sum"),
        "own": Method(ensemble=lambda z: z[-1] - 0.9 * z[0] * (len(z) > 1)),
    }
    method = others[name] if name in others else METHODS[name]
    method = method.fit(store)
    chain = ("a", "b", "c")
    stage = method.stage(store, chain)
    confidence = [np.median(stage(prefix)[1]) for prefix in ((0,), (0, 1))]
    thresholds = tuple(
        -t if method.metric == "entropy" else t
        for t in (confidence[0] + 1e-6, confidence[1] + 1e-6)
    )
    point = Point(chain, thresholds, (), 0, 0, 0, method)
    expected = evaluate(store, point)
    decisions = Cascade.from_point(point, models()).run(one_by_one(images), 16, guesses=3)
    assert decisions.guesses.shape == (40, 3) and len(set(expected.exit_stage)) > 1
    np.testing.assert_array_equal(decisions.exit_stage, expected.exit_stage)
    np.testing.assert_array_equal(decisions.guesses[:, 0] == store.labels, expected.correct)


def test_a_later_model_sees_only_deferred_samples(images):
    given = models()
    seen = []
    given["b"][0].register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    for threshold, count in ((-np.inf, 0), (np.inf, 40)):
        seen.clear()
        point = Point(("a", "b"), (threshold,), (), 0, 0, 0, Method())
        given_here = {name: given[name] for name in point.models}
        decisions = Cascade.from_point(point, given_here).run(one_by_one(images), guesses=5)
        assert sum(seen) == count and set(decisions.exit_stage) == {int(count > 0)}
        assert decisions.guesses.shape == (40, 5)


def test_the_file_has_the_numbers_of_the_challenge(tmp_path):
    # the challenge's class 1 is timm's 1, 2 is 2, 3 is 0
    classes = [[2, 0], [1, 2]]
    order = [1, 2, 0]
    write_submission(tmp_path / "plain.txt", classes)
    write_submission(tmp_path / "numbers.txt", classes, order)
    assert (tmp_path / "plain.txt").read_text() == "2 0\n1 2\n"
    assert (tmp_path / "numbers.txt").read_text() == "2 3\n1 2\n"
    with pytest.raises(ValueError, match="order names 2 classes, but image 1 has another"):
        write_submission(tmp_path / "x.txt", [[0, 1], [2, 1]], [1, 0])
    with pytest.raises(
        ValueError, match="image 1 has another"
    ):  # −1: no model gave a finite output
        write_submission(tmp_path / "x.txt", [[0, 1], [-1, -1]], [0, 1])


def test_refusals(images, tmp_path):
    point = Point(("a", "b"), (0.5,), (), 0, 0, 0, Method(ensemble="vote"))
    given = {name: model for name, model in models().items() if name in point.models}
    with pytest.raises(ValueError, match="a vote"):
        Cascade.from_point(point, given).run(one_by_one(images), guesses=2)
