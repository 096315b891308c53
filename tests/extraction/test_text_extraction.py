"""Extraction of texts: order by length, tokens, truncation, resumption, order of labels."""

import subprocess
import sys

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch

from cascadelib.datasets.texts import Texts
from cascadelib.extraction.extraction import extract
from cascadelib.zoo.model import Model
from cascadelib.zoo.transforms import Tokenized

CLASSES = ("negative", "positive")


@pytest.fixture(scope="module")
def samples():
    texts, labels = tiny.sentences(150, 5)
    return Texts(tuple(texts), labels, classes=CLASSES, dataset="toy", split="val")


@pytest.fixture(scope="module")
def good():
    """Train a module on the toy sentences."""
    return tiny.trained(tiny.module(8, 1))


def model(module, name="m", max_length=64, words=None):
    return Model(name, module.eval(), Tokenized(words or tiny.tokenizer(), max_length), {})


def one_by_one(module, transform, texts):
    """Compute the logits of each text without padding, which batching must not change."""
    with torch.inference_mode():
        return np.concatenate([module(**transform((text,))).logits.numpy() for text in texts])


def test_logits_are_stored_in_the_order_of_the_data_set(samples, good, tmp_path):
    models = {"good": model(good), "raw": model(tiny.module(16, 2, seed=1))}
    store = extract(models, samples, tmp_path / "s", batch_size=16, progress=False)
    for name, one in models.items():
        expected = one_by_one(one.module, one.transform, samples.inputs)
        assert np.abs(store.logits(name) - expected).max() < 1e-5
    assert store.sample_ids.tolist() == samples.sample_ids.tolist()
    row = store.models.loc["good"]
    tokens = np.mean([len(text.split()) + 2 for text in samples.inputs])
    assert row.tokens == pytest.approx(tokens) and row.truncated == 0
    assert row.top1 > 0.7 and row.seconds > 0


WITHOUT_TIMM = """
import sys
sys.modules |= {"timm": None, "torchvision": None}
import cascadelib as cl
classes = ("negative", "positive")
texts = cl.datasets.Texts(("a lovely film", "a dull film"), [1, 0], classes=classes)
store = cl.extract(["bag_of_words", sys.argv[1]], texts, sys.argv[2], progress=False)
assert len(store.models) == 2
try:
    cl.zoo.load("resnet18")
except ModuleNotFoundError as error:
    assert error.name == "timm"
"""


@pytest.mark.soak
def test_texts_need_no_packages_of_photographs(good, tmp_path):
    """The extra ``[text]`` installs neither timm nor torchvision."""
    classifier = tiny.save(tmp_path / "classifier", good)
    command = [sys.executable, "-c", WITHOUT_TIMM, classifier, tmp_path / "s"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_batches_are_sorted_and_tokenized_once(samples, good, tmp_path):
    class Counting(Tokenized):
        seen = []

        def __call__(self, texts):
            inputs = super().__call__(texts)
            self.seen.append(inputs["input_ids"].shape)
            return inputs

    models = {name: Model(name, good, Counting(tiny.tokenizer(), 64), {}) for name in "ab"}
    extract(models, samples, tmp_path / "s", batch_size=25, progress=False)
    widths = [width for _, width in Counting.seen[1:]]  # the first is the probe of both
    assert len(widths) == 6  # instead of twelve
    fixed = 150 * max(len(text.split()) + 2 for text in samples.inputs)
    assert sum(25 * width for width in widths) < 0.75 * fixed


def test_long_texts_are_truncated_counted_and_reported(samples, good, tmp_path):
    texts = (*samples.inputs[:40], "bright " * 100_000)
    long = Texts(texts, [*samples.labels[:40], 1], classes=CLASSES)
    expected = sum(len(text.split()) + 2 > 10 for text in texts)
    message = rf"{expected} of 41 texts have more than 10 tokens \(the longest 100002\)"
    options = {"macs": {"m": 7}, "progress": False}
    with pytest.warns(UserWarning, match=message):
        store = extract({"m": model(good, max_length=10)}, long, tmp_path / "s", **options)
    row = store.models.loc["m"]
    assert row.truncated == expected and row.tokens <= 10 and row.macs == 7
