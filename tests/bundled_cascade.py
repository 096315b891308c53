"""A pair of models that is selected on the bundled images, and 600 images of the test split."""

from cascadelib import LogitStore, datasets, pick, search

VAL, TEST = (LogitStore(f"data/fashion-mnist/{split}") for split in ("val", "test"))
SMALL = ["mlp@28", "lenet@28"]
POINT = pick(search(VAL, 2, models=SMALL), accuracy=0.91, caution=0)
IMAGES = datasets.fashion_mnist("test").batch(0, 600)
