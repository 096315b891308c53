"""Tiny sequence classifiers and GLUE folders, made on the spot: what the Hub would give, at the
size of a test."""

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
    """(texts, labels int [count]): short texts of any length in which most of the telling words fit
    the label."""
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
    """Words as tokens; pairs as in BERT."""
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
    """An untrained BERT of this size."""
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


def trained(bert, steps=80, seed=0):
    """The same, after a moment of training on :func:`sentences`."""
    texts, labels = sentences(32 * steps, seed)
    words = tokenizer()
    optimizer = torch.optim.Adam(bert.parameters(), 0.01)
    threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # threads wait by spinning, which takes a busy machine ten times as long
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
    """Write a checkpoint with its tokenizer, as ``save_pretrained`` does; returns the folder as
    text."""
    bert.save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    return str(folder)


def write_glue(folder, count=200):
    """All four tasks in the layout of GLUE's archive, dev.tsv each; of a pair, the first text
    tells, the second not."""
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
    """A table of checkpoints for ``glue_store`` of notebooks/tools/glue.py: rows of (task, name,
    family, order)."""
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(
            [["task", "name", "family", "label_order"], *rows]
        )
    return str(path)
