"""Train the bundled zoo: ``python data/fashion-mnist/train.py --raw FOLDER`` (four IDX files; see
README.md here).

Works model by model down ``zoo.json``; several of these may run at once (each takes the next model
that is neither finished nor locked). State is saved after every epoch: a killed run costs one epoch
at most.

A recipe with a ``teacher`` learns from that model's logits as well as from the labels (Hinton et
al., 2015, arXiv:1503.02531). The teacher sees a few fixed augmented views of the training images
once, for all students: they learn from one view in turn (the first ``fixed_views`` epochs), then
from images augmented afresh and its mean logits. ``restarts``: epochs at which the learning rate
rises again, each time to half of its peak before.
"""

import argparse
import csv
import fcntl
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from split import read_split
from torch import Tensor, nn
from torch.nn import functional

from cascadelib.zoo.bundled import build_image_classifier, load_bundled
from cascadelib.zoo.transforms import GreyImages

HERE = Path(__file__).parent
STATE = HERE / ".training"
BATCH = 128
Labelled = tuple[Tensor, Tensor]  # images uint8 [k, 28, 28], labels int64 [k]


def augment(images: Tensor, rng: torch.Generator, erase: float) -> Tensor:
    """Per-sample flip, shift by up to 2 pixels and (with probability ``erase``) an erased box;
    uint8 [B, 28, 28]."""
    n = len(images)
    side = images.shape[-1]
    grid = torch.arange(images.shape[-1])
    flip = torch.rand(n, 1, generator=rng) < 0.5
    columns = torch.where(flip, side - 1 - grid, grid) + torch.randint(0, 5, (n, 1), generator=rng)
    rows = grid + torch.randint(0, 5, (n, 1), generator=rng)
    padded = functional.pad(images, (2, 2, 2, 2))
    out = padded[torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    size = torch.randint(4, 15, (n, 2), generator=rng)
    corner = (torch.rand(n, 2, generator=rng) * (side - size + 1)).long()
    inside = (grid >= corner[:, :, None]) & (grid < (corner + size)[:, :, None])
    box = (
        inside[:, 0, :, None] & inside[:, 1, None, :] & (torch.rand(n, 1, 1, generator=rng) < erase)
    )
    return out.masked_fill(box, 73)  # the training mean, 0.2860 * 255


def fixed_view(images: Tensor, number: int, erase: float) -> Tensor:
    """The same augmented images [n, 28, 28] for a teacher and all of its students."""
    rng = torch.Generator().manual_seed(number)
    return torch.cat([augment(part, rng, erase) for part in images.split(1000)])


@torch.inference_mode()
def teacher_logits(teacher: str, number: int, erase: float, images: Tensor) -> Tensor:
    """[n, classes] of a trained model on one fixed view; computed once, kept in the state folder as
    float16."""
    path = STATE / f"{teacher}-view{number}-erase{erase}.npy"
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            model = load_bundled(teacher, HERE)
            module = model.module.to(memory_format=torch.channels_last)
            parts = [
                module(model.transform(part))
                for part in fixed_view(images, number, erase).split(500)
            ]
            with open(path.with_suffix(".new"), "wb") as file:
                np.save(file, torch.cat(parts).half().numpy())
            path.with_suffix(".new").replace(path)
    return torch.from_numpy(np.load(path)).float()


def lesson(images: Tensor, epoch: int, recipe: dict) -> tuple[Tensor, Tensor | None]:
    """(images to learn from, the teacher's logits or None): of one fixed view in turn, or their
    mean over all views."""
    if "teacher" not in recipe:
        return images, None
    erase = recipe.get("erase", 0.5)
    views = range(recipe["views"])
    if epoch < recipe.get("fixed_views", 0):
        view = views[epoch % len(views)]
        return fixed_view(images, view, erase), teacher_logits(
            recipe["teacher"], view, erase, images
        )
    return images, sum(
        teacher_logits(recipe["teacher"], view, erase, images) for view in views
    ) / len(views)


def distilled_loss(logits: Tensor, labels: Tensor, taught: Tensor, recipe: dict) -> Tensor:
    """Cross-entropy plus the divergence from the teacher's softened probabilities, weighted by
    ``teacher_weight``."""
    t = recipe.get("temperature", 2.0)
    weight = recipe.get("teacher_weight", 0.8)
    student, teacher = (functional.log_softmax(scores / t, 1) for scores in (logits, taught))
    divergence = functional.kl_div(student, teacher, reduction="batchmean", log_target=True) * t**2
    return (1 - weight) * functional.cross_entropy(logits, labels) + weight * divergence


def sizes_by_epoch(recipe: dict) -> list[int]:
    return [size for size, epochs in recipe["sizes"] for _ in range(epochs)]


def optimizer_and_schedule(
    model: nn.Module, recipe: dict, cycles: list[int], epoch: int, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.OneCycleLR]:
    """Of the cycle that ``epoch`` is in; cycles: the epochs at which they start, and the end. Each
    peaks at half the learning rate of the one before; steps: batches an epoch.
    """
    cycle = max(i for i, start in enumerate(cycles[:-1]) if start <= epoch)
    lr = recipe["lr"] / 2**cycle
    steps = (cycles[cycle + 1] - cycles[cycle]) * steps
    groups = [
        {
            "params": [p for p in model.parameters() if p.ndim > 1],
            "weight_decay": recipe["weight_decay"],
        },
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if recipe.get("optimizer") == "adamw":
        optimizer = torch.optim.AdamW(groups, lr=lr)
    else:
        optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
    return optimizer, torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )


def train_epoch(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    taught: Tensor | None,
    augmented: bool,
    size: int,
    zoo: dict,
    recipe: dict,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    rng: torch.Generator,
) -> float:
    """One pass over shuffled images; taught: the teacher's logits [n, classes], or None."""
    model.train()
    transform = GreyImages(size, zoo["mean"], zoo["std"])
    total = 0.0
    order = torch.randperm(len(images), generator=rng)
    for batch in order[: len(order) // BATCH * BATCH].view(-1, BATCH):
        x = images[batch]
        if augmented:
            x = augment(x, rng, recipe.get("erase", 0.5))
        x = transform(x).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.get("bfloat16", False)):
            logits = model(x).float()
        if taught is None:
            loss = functional.cross_entropy(
                logits, labels[batch], label_smoothing=recipe.get("label_smoothing", 0.0)
            )
        else:
            loss = distilled_loss(logits, labels[batch], taught[batch], recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total += loss.item()
    return total / (len(order) // BATCH)


@torch.inference_mode()
def accuracy(
    model: nn.Module, images: Tensor, labels: Tensor, transform: Callable[[Tensor], Tensor]
) -> float:
    model.eval()
    correct = sum(
        (model(transform(x)).argmax(1) == y).sum().item()
        for x, y in zip(images.split(500), labels.split(500))
    )
    return correct / len(labels)


def train(name: str, zoo: dict, data: Labelled, held_out: Labelled) -> None:
    """Train one model to the end, from its last finished epoch; write weights (float16) and the
    log."""
    entry = zoo["models"][name]
    images, labels = data
    recipe = entry["recipe"]
    state_file = STATE / f"{name}.pt"
    sizes = sizes_by_epoch(recipe)
    torch.manual_seed(recipe["seed"])
    rng = torch.Generator().manual_seed(recipe["seed"])
    model = build_image_classifier(entry, len(zoo["classes"])).to(memory_format=torch.channels_last)
    cycles = [0, *recipe.get("restarts", []), len(sizes)]
    steps = len(images) // BATCH
    state = torch.load(state_file, weights_only=True) if state_file.exists() else None
    log = state["log"] if state else []
    optimizer, schedule = optimizer_and_schedule(model, recipe, cycles, max(len(log) - 1, 0), steps)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    if state:
        for key, part in parts.items():
            part.load_state_dict(state[key])
        torch.set_rng_state(state["torch_rng"])
        rng.set_state(state["rng"])
    for epoch in range(len(log), len(sizes)):
        start = time.perf_counter()
        if epoch in cycles[1:]:
            optimizer, schedule = optimizer_and_schedule(model, recipe, cycles, epoch, steps)
            parts |= {"optimizer": optimizer, "schedule": schedule}
        seen, taught = lesson(images, epoch, recipe)
        augmented = recipe.get("augment", True) and epoch >= recipe.get("fixed_views", 0)
        loss = train_epoch(
            model,
            seen,
            labels,
            taught,
            augmented,
            sizes[epoch],
            zoo,
            recipe,
            optimizer,
            schedule,
            rng,
        )
        transform = GreyImages(sizes[epoch], zoo["mean"], zoo["std"])
        top1 = accuracy(model, *held_out, transform)
        log.append(
            [
                name,
                epoch + 1,
                sizes[epoch],
                round(loss, 4),
                top1,
                round(time.perf_counter() - start, 1),
            ]
        )
        print(*log[-1], flush=True)
        state = {key: part.state_dict() for key, part in parts.items()}
        state |= {"log": log, "rng": rng.get_state(), "torch_rng": torch.get_rng_state()}
        torch.save(state, state_file.with_suffix(".new"))
        state_file.with_suffix(".new").replace(state_file)
    with open(STATE / f"{name}.csv", "w", newline="") as file:
        csv.writer(file).writerows(log)
    weights = {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    weights = {
        k: v.contiguous() for k, v in weights.items() if not k.endswith("num_batches_tracked")
    }
    weights_folder = HERE / "weights"
    weights_folder.mkdir(exist_ok=True)
    written = STATE / f"{name}.safetensors"
    save_file(weights, written, {"model": name})
    written.chmod(0o644)
    written.replace(weights_folder / written.name)


def write_log(zoo: dict) -> None:
    """Put the logs of the models trained here into training-log.csv, in the order of zoo.json;
    other rows stay."""
    path = HERE / "training-log.csv"
    rows = path.read_text().splitlines()[1:] if path.exists() else []
    logs = {name: [row for row in rows if row.startswith(f"{name},")] for name in zoo["models"]}
    for name in zoo["models"]:
        if (STATE / f"{name}.csv").exists():
            logs[name] = (STATE / f"{name}.csv").read_text().splitlines()
    lines = [
        "model,epoch,image_size,loss,validation_top1,seconds",
        *(row for log in logs.values() for row in log),
    ]
    path.write_text("\n".join(lines) + "\n")


def tensors(raw: Path, split: str) -> Labelled:
    """(images uint8 [k, 28, 28], labels int64 [k]) of a split."""
    images, labels = read_split(raw, split)
    return torch.from_numpy(images.copy()), torch.from_numpy(labels.astype(np.int64))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--raw", type=Path, required=True, help="folder with the four IDX files of Fashion-MNIST"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("names", nargs="*", help="models to train (default: those of zoo.json)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    zoo = json.loads((HERE / "zoo.json").read_text())
    data = tensors(args.raw, "train")
    held_out = tensors(args.raw, "val")
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
