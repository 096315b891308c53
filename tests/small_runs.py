"""Tiny models and inputs, and a short extraction of them in several shards."""

from dataclasses import dataclass

import torch
from torch import nn

from cascadelib.extraction.extraction import extract

K = 50
C = 4


torch.manual_seed(0)


INPUTS = torch.randint(0, 256, (K, 6, 6), dtype=torch.uint8)
LABELS = torch.randint(0, C, (K,))
SMALL = {"batch_size": 8, "progress": False}  # a last batch of two


def run(models, path, **options):
    """Extract logits of INPUTS, in shards of two batches below tests/extraction."""
    return extract(models, (INPUTS, LABELS), path, **SMALL | options)


@dataclass(frozen=True)
class Scaled:
    """Transform that equals others with its factor and counts the calls of all instances."""

    factor: float
    calls = []

    def __call__(self, images):
        self.calls.append(len(images))
        return images.unsqueeze(1).float() * self.factor


def conv_net(width):
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(16 * width, C)
    )


def models():
    return {"small": (conv_net(2), Scaled(0.01)), "timm/large.v1@6": (conv_net(5), Scaled(0.01))}


class Counting(nn.Module):
    """Model that counts its batches and raises from batch ``fail_at`` on (from 0, with trace and
    probes)."""

    def __init__(self, fail_at=None, error=KeyboardInterrupt):
        super().__init__()
        self.linear = nn.Linear(36, C)
        self.batches = []
        self.fail_at = fail_at
        self.error = error
        nn.init.constant_(self.linear.weight, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        if len(self.batches) == self.fail_at:
            raise self.error
        self.batches.append(len(x))
        return self.linear(x.flatten(1)) * x[:, 0, :4]


PROBES = 3  # one trace, one warm-up, one timed
