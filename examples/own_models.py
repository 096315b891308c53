"""Use your torch models: extract their logits once, search, pick, and run the cascade."""

import torch
from torch import nn

import cascadelib as cl

data = cl.datasets.fashion_mnist("val")  # stands for your own (inputs [k, …], labels int [k])
train = data.take(slice(0, 8000))
val = data.take(slice(8000, 10_000))
small = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
large = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
for module in (small, large):  # stands for your own training
    optimizer = torch.optim.Adam(module.parameters(), 1e-3)
    for step in range(300):
        seeded = torch.Generator().manual_seed(step)
        rows = torch.randint(0, len(train), (128,), generator=seeded)
        inputs = torch.as_tensor(train.inputs)[rows] / 255
        labels = torch.as_tensor(train.labels)[rows]
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(inputs), labels).backward()
        optimizer.step()


def scaled(batch: torch.Tensor) -> torch.Tensor:
    """Return pixels from 0 to 1."""
    return batch / 255


models = {"small": (small, scaled), "large": (large, scaled)}
store = cl.extract(models, val, "build/my-logits", replace=True)
point = cl.pick(cl.search(store), "max_improvement")
decisions = cl.Cascade.from_point(point, models, store=store)(val.batch(0, 64))
print(point.models, point.thresholds, f"{(decisions.exit_stage == 0).mean():.0%} left early")
