"""Text: extraction sorted by length against fixed padding, and searches at the size of QQP.

``python benchmarks/run.py texts [--quick]``. The two ways of padding alternate in one run on the bundled sentences, so
that whatever else the machine does weighs on both: the ratio counts, not the times.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from search import row

import cascadelib as cl
from cascadelib.zoo.bundled import TEXT_ZOO, built, catalogue, load_bundled_text_model
from cascadelib.zoo.transforms import Tokenized

LENGTH, BATCH = 128, 64
MODEL = "minilm_l2"  # untrained: time does not depend on the weights
MODELS, SAMPLES = 18, 40_430  # as many as the paper's SST-2 has, at the size of QQP's validation split


@dataclass(frozen=True, eq=False)
class Fixed(Tokenized):
    """Every text padded to ``max_length``, as most evaluation scripts do."""

    def __call__(self, texts):
        options = {"padding": "max_length", "truncation": True, "max_length": self.max_length, "return_tensors": "pt"}
        return {key: value for key, value in self.tokenizer(list(texts), **options).items() if key in self.keys}


@torch.inference_mode()
def fixed_loop(module, transform, texts):
    """Nothing but tokenizer and forward, in the order of the texts."""
    for start in range(0, len(texts), BATCH):
        module(**transform(texts[start : start + BATCH]))


def extraction_rows(quick):
    """Texts a second of `extract` (store, MACs and checks included) ÷ those of the fixed loop."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # threads of several processes wait for each other by spinning
    samples, zoo = cl.datasets.reviews("val"), catalogue("data/reviews", TEXT_ZOO)
    samples = samples.take(slice(0, 256)) if quick else samples
    module = built(zoo["models"][MODEL], zoo).eval()
    sorted_by_length = load_bundled_text_model("bag_of_words").transform
    fixed, times = Fixed(sorted_by_length.tokenizer, LENGTH), {"fixed": [], "sorted": []}
    fixed_loop(module, fixed, samples.texts[:BATCH])
    with tempfile.TemporaryDirectory() as folder:
        for i in range(1 if quick else 3):
            start = time.perf_counter()
            fixed_loop(module, fixed, samples.texts)
            middle = time.perf_counter()
            options = {"batch_size": BATCH, "progress": False, "amp": False, "device": "cpu"}
            cl.extract({"m": (module, sorted_by_length)}, samples, Path(folder) / str(i), **options)
            times["fixed"].append(middle - start)
            times["sorted"].append(time.perf_counter() - middle)
    torch.set_num_threads(threads)
    slow, fast = (statistics.median(times[key]) for key in ("fixed", "sorted"))
    what = f"texts: extract sorted by length ÷ fixed padding at {LENGTH}, texts a second"
    return [
        row(what, slow / fast, "ratio", "≥ 1.8"),
        row(f"texts: extract, {MODEL}", len(samples) / fast, "texts/s"),
    ]


def two_class_models(k):
    """(logits {name: [k, 2]}, labels, costs) of models that rise in accuracy and cost, as fine-tuned checkpoints do."""
    rng = np.random.default_rng(0)
    labels, hard = (rng.random(k) < 0.37).astype(np.int64), rng.normal(0, 1, k)
    cost = np.geomspace(5e7, 4e10, MODELS)
    logits = {}
    for i, strength in enumerate(np.linspace(1.0, 1.7, MODELS)):
        margin = (2 * labels - 1) * (strength + 0.8 * hard + 0.6 * rng.normal(0, 1, k)) * 2
        logits[f"m{i:02}"] = np.stack([-margin, margin], axis=1).astype(np.float32)
    return logits, labels, dict(zip(logits, cost))


def search_rows(quick):
    """Seconds of exact searches of pairs (accuracy and F1) and triples, compiled beforehand."""
    k = 4_000 if quick else SAMPLES
    store = cl.LogitStore.from_arrays(*(two_class_models(k)[i] for i in (1, 0)), macs=two_class_models(k)[2])
    small = store.take(slice(0, 300))
    rows = []
    for n, score in ((2, "top1"), (2, "f1"), (3, "top1")):
        cl.search(small, n, score=score)
        start = time.perf_counter()
        cl.search(store, n, score=score)
        what = (
            f"texts: {'pairs' if n == 2 else 'triples'} of {MODELS}, k = {k}, {'F1' if score == 'f1' else 'accuracy'}"
        )
        seconds = time.perf_counter() - start
        rows.append(row(what, seconds, "s", "≤ 2" if n == 2 else "≤ 10"))
    return rows


def run(quick=False) -> list[dict]:
    """Rows {benchmark, measured, unit, target}."""
    return extraction_rows(quick) + search_rows(quick)
