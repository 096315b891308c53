"""Tiny torch modules, and the normalisation of their inputs."""

import torch

MEAN = (0.5, 0.4, 0.3)
STD = (0.2, 0.2, 0.3)


def head(seed, size=16):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, 4))
