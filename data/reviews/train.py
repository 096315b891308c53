"""Train the bundled zoo: ``python data/reviews/train.py --encoder FOLDER`` (the pretrained MiniLM;
see README.md here).

Works model by model down ``zoo.json``; several of these may run at once (each takes the next model
that is neither finished nor locked). State is saved after every epoch: a killed run costs one epoch
at most.
"""

import argparse
import csv
import fcntl
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn
from torch.nn import functional

from cascadelib.files import replace_atomically
from cascadelib.zoo.bundled import SCALE_SUFFIX, build_text_classifier, read_weights

HERE = Path(__file__).parent
STATE = HERE / ".training"
COLUMNS = ["model", "epoch", "loss", "val_top1", "seconds"]
Split = tuple[list[torch.Tensor], torch.Tensor]  # ids of each text, and the labels


def encoded(split: str, tokenizer: Tokenizer, longest: int) -> Split:
    """(list of int64 [length], labels int64 [k]) of a split."""
    frame = pd.read_parquet(HERE / f"{split}.parquet")
    tokenizer.enable_truncation(longest)
    ids = [torch.tensor(one.ids) for one in tokenizer.encode_batch(frame.text.tolist())]
    return ids, torch.from_numpy(frame.label.to_numpy(np.int64))


def batches(
    ids: list[torch.Tensor], size: int, rng: torch.Generator | None = None
) -> list[torch.Tensor]:
    """Rows of each batch, of similar lengths; in random order and with random neighbours where
    ``rng`` is given."""
    lengths = torch.tensor([len(one) for one in ids], dtype=torch.float32)
    if rng is not None:
        lengths = lengths + 4 * torch.rand(len(ids), generator=rng)
    rows = list(torch.argsort(lengths).split(size))
    return [rows[i] for i in torch.randperm(len(rows), generator=rng)] if rng is not None else rows


def padded(ids: list[torch.Tensor], rows: torch.Tensor) -> dict[str, torch.Tensor]:
    x = torch.nn.utils.rnn.pad_sequence([ids[i] for i in rows], batch_first=True)
    return {"input_ids": x, "attention_mask": (x != 0).long()}


def logits_of(model: nn.Module, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    output = model(**inputs)
    return getattr(output, "logits", output)


def start(
    entry: dict, zoo: dict, encoder: dict[str, torch.Tensor], embeddings: torch.Tensor
) -> nn.Module:
    """A model before training: the encoder's first layers where the recipe says so, shared
    embeddings frozen."""
    model = build_text_classifier(entry, zoo)
    if entry["recipe"].get("pretrained"):
        weights = {f"bert.{key}": value for key, value in encoder.items()}
        own = model.state_dict()
        fitting = {
            k: v[: len(own[k])]
            for k, v in weights.items()
            if k in own and "word_embeddings" not in k
        }
        model.load_state_dict(fitting, strict=False)
    if entry["shared_embeddings"]:
        table = model.get_input_embeddings()
        table.weight.data.copy_(embeddings)
        table.weight.requires_grad_(False)
    return model


def optimizer_and_schedule(
    model: nn.Module, recipe: dict, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe["weight_decay"]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe["lr"])
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe["lr"],
        total_steps=steps,
        pct_start=0.1,
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def train_epoch(
    model: nn.Module,
    ids: list[torch.Tensor],
    labels: torch.Tensor,
    recipe: dict,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    rng: torch.Generator,
) -> float:
    model.train()
    total = 0.0
    rows = batches(ids, recipe["batch"], rng)
    for chosen in rows:
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.get("bfloat16", False)):
            logits = logits_of(model, padded(ids, chosen))
        loss = functional.cross_entropy(logits.float(), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / len(rows)


@torch.inference_mode()
def accuracy(model: nn.Module, ids: list[torch.Tensor], labels: torch.Tensor) -> float:
    model.eval()
    correct = sum(
        (logits_of(model, padded(ids, r)).argmax(1) == labels[r]).sum().item()
        for r in batches(ids, 128)
    )
    return correct / len(labels)


def train(name: str, zoo: dict, parts: tuple, data: Split, held_out: Split) -> None:
    """Train one model to the end, from its last finished epoch; write its weights and its part of
    the log."""
    entry = zoo["models"][name]
    ids, labels = data
    recipe = entry["recipe"]
    state_file = STATE / f"{name}.pt"
    seed = list(zoo["models"]).index(name)
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = start(entry, zoo, *parts)
    steps = recipe["epochs"] * len(batches(ids, recipe["batch"]))
    optimizer, schedule = optimizer_and_schedule(model, recipe, steps)
    log = []
    state_of = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        log = state["log"]
        for key, part in state_of.items():
            part.load_state_dict(state[key])
        torch.set_rng_state(state["torch_rng"])
        rng.set_state(state["rng"])
    for epoch in range(len(log), recipe["epochs"]):
        begin = time.perf_counter()
        loss = train_epoch(model, ids, labels, recipe, optimizer, schedule, rng)
        top1 = accuracy(model, *held_out)
        log.append(
            [name, epoch + 1, round(loss, 4), round(top1, 4), round(time.perf_counter() - begin, 1)]
        )
        print(*log[-1], flush=True)
        state = {key: part.state_dict() for key, part in state_of.items()}
        state |= {"log": log, "rng": rng.get_state(), "torch_rng": torch.get_rng_state()}
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
    with open(STATE / f"{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows(log)
    shared = {id(model.get_input_embeddings().weight)} if entry["shared_embeddings"] else set()
    kept = {key: value for key, value in model.named_parameters() if id(value) not in shared}
    write_weights(HERE / "weights" / f"{name}.safetensors", kept, model=name)


def write_weights(path: Path, state: dict[str, torch.Tensor], **metadata: str) -> None:
    """Write weights for ``read_weights``, whole or not at all: matrices as int8 and scales, the
    others in float16."""
    tensors = {}
    for name, value in state.items():
        value = value.detach().float()
        if value.ndim == 2:
            scale = value.abs().amax(1).clamp_min(1e-12) / 127
            tensors[name] = (value / scale[:, None]).round().to(torch.int8)
            tensors[name + SCALE_SUFFIX] = scale
        else:
            tensors[name] = value.half()
    with replace_atomically(path) as new:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, new, metadata)
        new.chmod(0o644)  # safetensors makes files that only their owner reads


def write_log(zoo: dict) -> None:
    """Join the logs of all finished models, in the order of zoo.json, into training-log.csv."""
    files = [STATE / f"{name}.csv" for name in zoo["models"] if (STATE / f"{name}.csv").exists()]
    rows = pd.concat([pd.read_csv(file, names=COLUMNS) for file in files])
    rows.to_csv(HERE / "training-log.csv", index=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--encoder", type=Path, required=True, help="folder with the pretrained model.safetensors"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("names", nargs="*", help="models of zoo.json (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    zoo = json.loads((HERE / "zoo.json").read_text())
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizer.json"))
    data, held_out = (encoded(split, tokenizer, zoo["max_length"]) for split in ("train", "val"))
    encoder = load_file(args.encoder / "model.safetensors")
    shared = HERE / "weights" / "embeddings.safetensors"
    shared.parent.mkdir(exist_ok=True)
    if not shared.exists():
        pieces = json.loads((STATE / "pieces.json").read_text())
        write_weights(shared, {"embeddings": encoder["embeddings.word_embeddings.weight"][pieces]})
    parts = encoder, read_weights(shared)["embeddings"]
    for name in args.names or zoo["models"]:
        with open(STATE / f"{name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another run is at it
            if not (HERE / "weights" / f"{name}.safetensors").exists():
                train(name, zoo, parts, data, held_out)
    write_log(zoo)


if __name__ == "__main__":
    main()
