"""Labelled inputs: images, texts and tensors, bundled or the user's own."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    bundled="SHIFTED fashion_mnist fashion_mnist_shifted reviews",
    glue_tasks="TASKS glue",
    imagenet_1k="descriptions hub_images imagenet imagenet_v2 synsets",
    images="Photographs image_folder",
    samples="Samples",
    texts="Texts table",
)
