"""Sequence classifiers by name: bundled ones, folders, tokens, MACs and refusals."""

import json
import shutil

import numpy as np
import pytest
import tiny_checkpoints as tiny
import torch
from scripts import load_script
from transformers import AutoModelForSequenceClassification, BertConfig, BertModel

from cascadelib import count_macs
from cascadelib.files import ROOT
from cascadelib.zoo import loaders
from cascadelib.zoo.bundled import BagOfWords, load_bundled_text_model, read_weights
from cascadelib.zoo.macs import compute_mean_macs
from cascadelib.zoo.transformers_models import (
    load_sequence_classifier,
)
from cascadelib.zoo.transforms import Tokenized

train = load_script("data/reviews/train.py")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    names = ("NEGATIVE", "Positive")
    return tiny.save(tmp_path_factory.mktemp("checkpoint"), tiny.module(names=names).half())


def test_a_folder_is_loaded_in_float32(checkpoint):
    model = loaders.load(checkpoint)
    assert {p.dtype for p in model.module.parameters()} == {
        torch.float32
    } and not model.module.training
    assert (
        model.metadata["classes"] == ["negative", "positive"] and model.metadata["family"] == "bert"
    )
    inputs = model.transform(("the bright film", "a dull and tired plot"))
    assert set(inputs) == {"input_ids", "attention_mask", "token_type_ids"} and inputs[
        "input_ids"
    ].shape == (2, 7)
    whole = AutoModelForSequenceClassification.from_pretrained(
        checkpoint, dtype=torch.float32
    ).eval()
    assert torch.equal(model.module(**inputs).logits, whole(**inputs).logits)


def test_max_length_is_limited_by_the_model(checkpoint):
    assert loaders.load(checkpoint).transform.max_length == 64
    model = loaders.load(checkpoint, max_length=5)
    assert model.transform(("the bright film story",))["input_ids"].shape == (1, 5)
    assert model.transform.lengths(("the bright film story", "a")).tolist() == [6, 3]


def test_pairs_of_texts_are_tokenized(checkpoint):
    inputs = loaders.load(checkpoint).transform((("the film", "dull"), ("a", "a b")))
    assert inputs["token_type_ids"][0].tolist() == [0, 0, 0, 0, 1, 1]


def test_checkpoints_without_padding_or_fine_tuning_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no padding token.*pad_token.*save_pretrained"):
        load_sequence_classifier(
            tiny.save(tmp_path / "pad", tiny.module(), tiny.tokenizer(pad=False))
        )
    plain = BertModel(
        BertConfig(vocab_size=40, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    )
    with pytest.raises(ValueError, match="not fine-tuned for classification.*classifier"):
        load_sequence_classifier(tiny.save(tmp_path / "plain", plain))
    broken = tiny.save(tmp_path / "broken", tiny.module())
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match="cannot be loaded as a sequence classifier"):
        load_sequence_classifier(broken)
    monkeypatch.setattr("cascadelib.hub.is_reachable", lambda: False)
    for load in (load_sequence_classifier, loaders.load):
        with pytest.raises(ConnectionError, match="'nobody/nothing.* not in the local cache"):
            load("nobody/nothing")


def bert_macs(layers, tokens, width, inner, classes, norms=True):
    """Compute the MACs of BERT: projections, attention, feed-forward, pooler, classifier, and 5
    per normed value, as in fvcore."""
    layer = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * inner
    norm = 5 * tokens * width * (2 * layers + 1) if norms else 0
    return layers * layer + width**2 + width * classes + norm


@pytest.mark.soak
def test_macs_of_bert_base_equal_the_closed_form():
    module = AutoModelForSequenceClassification.from_config(BertConfig()).eval()
    transform = Tokenized(tiny.tokenizer(), 128, ("input_ids", "attention_mask", "token_type_ids"))
    macs = compute_mean_macs(module, transform, np.array([128]))
    assert macs == bert_macs(12, 128, 768, 3072, 2)
    assert macs == pytest.approx(bert_macs(12, 128, 768, 3072, 2, norms=False), rel=2e-3)  # 11.17 G


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_mean_macs_average_over_the_lengths(attention):
    module = tiny.module(16, 2).eval()
    module.config._attn_implementation = attention
    transform = Tokenized(tiny.tokenizer(), 64)
    lengths = np.array([3, 3, 7, 20, 64])
    expected = np.mean([bert_macs(2, n, 16, 32, 2) for n in lengths])
    assert compute_mean_macs(module, transform, lengths) == pytest.approx(expected, rel=1e-12)


class Pooled(torch.nn.Module):
    """Module whose MACs are not a quadratic function of the length."""

    def __init__(self):
        super().__init__()
        self.words = torch.nn.Embedding(len(tiny.WORDS), 4)
        self.head = torch.nn.Linear(4, 2)

    def forward(self, input_ids, attention_mask):
        return self.head(self.words(input_ids)[:, ::5]).mean(1)


def test_a_module_without_the_formula_is_refused():
    with pytest.raises(ValueError, match=r"MACs of Pooled .* not a \+ b L \+ c L² .*macs="):
        compute_mean_macs(Pooled(), Tokenized(tiny.tokenizer(), 64), np.array([3, 6]))


def test_the_bag_of_words_ignores_the_order():
    module = BagOfWords(10, 2)
    torch.nn.init.normal_(module.weights.weight)
    ids = torch.tensor([[1, 2, 0], [3, 3, 4]])
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    weight = module.weights.weight
    expected = torch.stack([weight[1] + weight[2], 2 * weight[3] + weight[4]])
    assert torch.allclose(module(ids, mask), expected)
    assert count_macs(module, {"input_ids": ids, "attention_mask": mask}) == 3 * 2


def test_quantized_weights_differ_by_at_most_half_a_step(tmp_path):
    state = {
        "matrix": torch.randn(5, 7) * torch.tensor([1e-3, 1, 10, 0, 2])[:, None],
        "bias": torch.randn(5),
    }
    train.write_weights(tmp_path / "w.safetensors", state)
    back = read_weights(tmp_path / "w.safetensors")
    assert back.keys() == state.keys()
    step = state["matrix"].abs().amax(1, keepdim=True) / 127
    assert ((back["matrix"] - state["matrix"]).abs() <= step * 0.501 + 1e-12).all()
    assert torch.equal(back["bias"], state["bias"].half().float())
    train.write_weights(tmp_path / "again.safetensors", back)
    assert read_weights(tmp_path / "again.safetensors")["matrix"] == pytest.approx(
        back["matrix"], rel=1e-6
    )
    (tmp_path / "w.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"w\.safetensors: the weights cannot be read"):
        read_weights(tmp_path / "w.safetensors")


ENTRIES = json.loads((ROOT / "data/reviews/zoo.json").read_text())
BUNDLED = [
    n for n in ENTRIES["models"] if (ROOT / f"data/reviews/weights/{n}.safetensors").is_file()
]


def test_the_repository_bundles_enough_text_models():
    assert len(ENTRIES["models"]) >= 10 and len(BUNDLED) >= 3


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_text_models_run(name):
    model = loaders.load(name)
    with torch.inference_mode():
        output = model.module(
            **model.transform(["a lovely film", "a dull, tired and clumsy story"])
        )
    logits = getattr(output, "logits", output)
    assert logits.shape == (2, 2) and logits.argmax(1).tolist() == [1, 0]
    assert model.metadata["parameters"] == sum(p.numel() for p in model.module.parameters())


def test_missing_and_damaged_files_of_the_text_zoo_are_refused(tmp_path):
    shutil.copy(ROOT / "data/reviews/zoo.json", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no weights .*bag_of_words"):
        load_bundled_text_model("bag_of_words", tmp_path)
    (tmp_path / "weights").mkdir()
    train.write_weights(
        tmp_path / "weights" / "bag_of_words.safetensors", {"other": torch.zeros(3, 2)}
    )
    with pytest.raises(ValueError, match=r"bag_of_words\.safetensors: the weights do not fit"):
        load_bundled_text_model("bag_of_words", tmp_path)


def test_transforms_with_equal_tokenizers_are_equal():
    one = Tokenized(tiny.tokenizer(), 8)
    two = Tokenized(tiny.tokenizer(), 8)
    one(("a b c",))  # the tokenizer stores the padding
    assert one == two and hash(one) == hash(two) and repr(one) == repr(Tokenized(one.tokenizer, 8))
    assert one != Tokenized(tiny.tokenizer(), 9) and one != Tokenized(
        tiny.tokenizer(), 8, ("input_ids",)
    )
