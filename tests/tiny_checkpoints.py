"""Tiny sequence classifiers, as the Hub would return them, and tiny folders of GLUE."""

import csv

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

GOOD = "bright clever warm funny lovely".split()
BAD = "dull stale tired clumsy grim".split()
PLAIN = "the a film plot scene actor story is was with and of this that very quite".split()
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *GOOD, *BAD, *PLAIN]
FOLDERS = {"sst2": "SST-2", "mrpc": "MRPC", "qnli": "QNLI", "qqp": "QQP"}
HEADERS = {
    "sst2": ["sentence", "label"],
    "mrpc": ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"],
    "qnli": ["index", "question", "sentence", "label"],
    "qqp": ["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
}


def sentences(count, seed=0):
    """Return short texts and their labels, int [count]. Most good and bad words fit the label."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    texts = []
    for label in labels:
        words = list(rng.choice(PLAIN, rng.integers(2, 20)))
        for _ in range(rng.integers(1, 4)):
            words.insert(
                rng.integers(len(words)),
                rng.choice((BAD, GOOD)[label if rng.random() < 0.95 else 1 - label]),
            )
        texts.append(" ".join(words))
    return texts, labels


def tokenizer(pad=True):
    """Return a tokenizer of words that encodes pairs as BERT does."""
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    padding = {"pad_token": "[PAD]"} if pad else {}
    inputs = ["input_ids", "attention_mask", "token_type_ids"]
    return PreTrainedTokenizerFast(
        tokenizer_object=words, model_max_length=64, model_input_names=inputs, **names, **padding
    )


def module(hidden=8, layers=1, seed=0, names=None, classes=2):
    """Return an untrained BERT of this size."""
    torch.manual_seed(seed)
    labels = (
        {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
        if names
        else {}
    )
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        num_labels=classes,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        **labels,
    )
    return BertForSequenceClassification(config)


def swapped(small):
    """Return a copy of ``module()`` with its two classes exchanged."""
    clone = module()
    clone.load_state_dict(small.state_dict())
    clone.classifier.weight.data = small.classifier.weight.flip(0)
    clone.classifier.bias.data = small.classifier.bias.flip(0)
    return clone


def trained(bert, steps=80, seed=0):
    """Train a BERT on :func:`sentences`, and return it."""
    texts, labels = sentences(32 * steps, seed)
    words = tokenizer()
    optimizer = torch.optim.Adam(bert.parameters(), 0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads wait by spinning, which is slow on a busy machine
    bert.train()
    for start in range(0, len(texts), 32):
        inputs = words(texts[start : start + 32], padding=True, return_tensors="pt")
        loss = bert(**inputs, labels=torch.from_numpy(labels[start : start + 32])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.set_num_threads(threads)
    return bert.eval()


def save(folder, bert, words=None):
    """Write a checkpoint with its tokenizer, and return the folder as text."""
    bert.save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    return str(folder)


def write_glue(folder, count=200):
    """Write dev.tsv of four tasks in the layout of GLUE's archive.

    The label of a pair depends on its first text only.
    """
    for i, (task, header) in enumerate(HEADERS.items()):
        texts, labels = sentences(count, i)
        rng = np.random.default_rng(i)
        others = [" ".join(rng.choice(PLAIN, rng.integers(2, 9))) for _ in texts]
        names = ("entailment", "not_entailment")
        rows = {
            "sst2": zip(texts, labels),
            "mrpc": zip(labels, range(count), range(count), texts, others),
            "qnli": zip(range(count), texts, others, [names[label] for label in labels]),
            "qqp": zip(range(count), range(count), range(count), texts, others, labels),
        }[task]
        path = folder / FOLDERS[task] / "dev.tsv"
        path.parent.mkdir(parents=True)
        with open(path, "w", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([header, *rows])
    return folder


def write_table(path, rows):
    """Write a table of checkpoints with rows of (task, name, family, order)."""
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["task", "name", "family", "label_order"], *rows]
        )
    return str(path)
