"""Train the bundled zoo: ``python data/fashion-mnist/train.py --raw FOLDER`` (four IDX files; see README.md here).

Works model by model down ``zoo.json``; several of these may run at once (each takes the next model that is
neither finished nor locked). State is saved after every epoch: a killed run costs one epoch at most.
"""

import argparse
import csv
import fcntl
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from split import read_split
from torch.nn import functional

from cascadelib.zoo.bundled import image_classifier
from cascadelib.zoo.transforms import GreyImages

HERE = Path(__file__).parent
STATE = HERE / ".training"
BATCH = 128


def augment(images, rng, erase):
    """Per-sample flip, shift by up to 2 pixels and (with probability ``erase``) an erased box; uint8 [B, 28, 28]."""
    n, side, grid = len(images), images.shape[-1], torch.arange(images.shape[-1])
    flip = torch.rand(n, 1, generator=rng) < 0.5
    columns = torch.where(flip, side - 1 - grid, grid) + torch.randint(0, 5, (n, 1), generator=rng)
    rows = grid + torch.randint(0, 5, (n, 1), generator=rng)
    padded = functional.pad(images, (2, 2, 2, 2))
    out = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    size = torch.randint(4, 15, (n, 2), generator=rng)
    corner = (torch.rand(n, 2, generator=rng) * (side - size + 1)).long()
    inside = (grid >= corner[:, :, None]) & (grid < (corner + size)[:, :, None])
    box = inside[:, 0, :, None] & inside[:, 1, None, :] & (torch.rand(n, 1, 1, generator=rng) < erase)
    return out.masked_fill(box, 73)  # the training mean, 0.2860 * 255


def sizes_by_epoch(recipe):
    return [size for size, epochs in recipe["sizes"] for _ in range(epochs)]


def optimizer_and_schedule(model, recipe, steps):
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": recipe["weight_decay"]},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.get("optimizer") == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=recipe["lr"])
    else:
        optimizer = torch.optim.SGD(groups, lr=recipe["lr"], momentum=0.9, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe["lr"], total_steps=steps, pct_start=0.2, cycle_momentum=False
    )


def train_epoch(model, images, labels, size, zoo, recipe, optimizer, schedule, rng):
    model.train()
    transform, total = GreyImages(size, zoo["mean"], zoo["std"]), 0.0
    order = torch.randperm(len(images), generator=rng)
    for batch in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
        x = images[batch]
        if recipe.get("augment", True):
            x = augment(x, rng, recipe.get("erase", 0.5))
        logits = model(transform(x).contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits, labels[batch], label_smoothing=recipe.get("label_smoothing", 0.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / (len(order) // BATCH)


@torch.inference_mode()
def accuracy(model, images, labels, transform):
    model.eval()
    right = sum((model(transform(x)).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500)))
    return right / len(labels)


def train(name, zoo, data, held_out):
    """Train one model to the end, from its last finished epoch; write weights (float16) and the log."""
    entry, (images, labels) = zoo["models"][name], data
    recipe, state_file = entry["recipe"], STATE / f"{name}.pt"
    sizes = sizes_by_epoch(recipe)
    torch.manual_seed(list(zoo["models"]).index(name))
    rng = torch.Generator().manual_seed(list(zoo["models"]).index(name))
    model = image_classifier(entry, len(zoo["classes"])).to(memory_format=torch.channels_last)
    optimizer, schedule = optimizer_and_schedule(model, recipe, len(sizes) * (len(images) // BATCH))
    log, parts = [], {"model": model, "optimizer": optimizer, "schedule": schedule}
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        log = state["log"]
        for key, part in parts.items():
            part.load_state_dict(state[key])
        torch.set_rng_state(state["torch_rng"])
        rng.set_state(state["rng"])
    for epoch in range(len(log), len(sizes)):
        start = time.perf_counter()
        loss = train_epoch(model, images, labels, sizes[epoch], zoo, recipe, optimizer, schedule, rng)
        transform = GreyImages(sizes[epoch], zoo["mean"], zoo["std"])
        top1 = accuracy(model, *held_out, transform)
        log.append([name, epoch + 1, sizes[epoch], round(loss, 4), top1, round(time.perf_counter() - start, 1)])
        print(*log[-1], flush=True)
        state = {key: part.state_dict() for key, part in parts.items()}
        state |= {"log": log, "rng": rng.get_state(), "torch_rng": torch.get_rng_state()}
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
    with open(STATE / f"{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows(log)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    weights = {k: v.contiguous() for k, v in weights.items() if not k.endswith("num_batches_tracked")}
    (HERE / "weights").mkdir(exist_ok=True)
    save_file(weights, STATE / f"{name}.safetensors", {"model": name})
    (STATE / f"{name}.safetensors").chmod(0o644)
    (STATE / f"{name}.safetensors").replace(HERE / "weights" / f"{name}.safetensors")


def write_log(zoo):
    """Join the logs of all finished models, in the order of zoo.json, into training-log.csv."""
    with open(HERE / "training-log.csv", "w", newline="") as file:
        file.write("model,epoch,image_size,loss,validation_top1,seconds\n")
        for name in zoo["models"]:
            if (STATE / f"{name}.csv").exists():
                file.write((STATE / f"{name}.csv").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raw", required=True, help="folder with the four IDX files of Fashion-MNIST")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("names", nargs="*", help="models of zoo.json (default: all)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    zoo = json.loads((HERE / "zoo.json").read_text())
    data, held_out = (
        tuple(torch.from_numpy(a.astype(t)) for a, t in zip(read_split(args.raw, split), (np.uint8, np.int64)))
        for split in ("train", "val")
    )
    STATE.mkdir(exist_ok=True)
    for name in args.names or [n for n, entry in zoo["models"].items() if "recipe" in entry]:
        with open(STATE / f"{name}.lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another run is at it
            if not (HERE / "weights" / f"{name}.safetensors").exists():
                train(name, zoo, data, held_out)
    write_log(zoo)


if __name__ == "__main__":
    main()
