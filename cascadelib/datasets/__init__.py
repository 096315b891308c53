"""Labelled inputs: images, texts and tensors, bundled or the user's own."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    answer_logs="chat_completions",
    bundled="fashion_mnist reviews",
    glue_tasks="TASKS glue",
    image_predictions="image_factors imagenet_x",
    imagenet_1k="descriptions hub_images imagenet imagenet_v2 synsets",
    images="Photographs image_folder",
    language_models="llm_answers",
    samples="Samples",
    texts="Texts table",
)
