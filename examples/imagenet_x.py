"""Pairs of networks on ImageNet's validation images, from the predictions of ImageNet-X.

The argument is a clone of github.com/facebookresearch/imagenetx, which is not bundled (CC BY-NC).
"""

import sys

import cascadelib as cl

# Assumed: ResNet-50 and ViT-B/16 at 224 pixels. The files state no architecture.
MACS = {"ResNet50": 4.11e9, "SimCLR": 4.11e9, "DINO": 17.58e9, "ViT": 17.58e9}
table = cl.ScoreTable.from_frame(
    cl.datasets.imagenet_x(sys.argv[1]), prediction="prediction", label="label", cost=MACS
)
chosen_on = table.take(slice(0, None, 2))
held_out = table.take(slice(1, None, 2))
front = cl.search(chosen_on, 2)
print(front)
point = cl.pick(front, "match_best")
result = cl.evaluate(held_out, point)
best = held_out.models["top1"].max()
print(" → ".join(point.models), f"on {len(held_out)} held-out images:")
print(
    f"{result.accuracy:.2%} correct ({best:.2%} for the best network), saving {result.saving:.2f} ×"
)
