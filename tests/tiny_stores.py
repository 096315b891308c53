"""Small stores of synthetic logits. A more expensive model has a stronger signal."""

import numpy as np

from cascadelib import LogitStore, ScoreTable


def noisy_store(
    seed=0,
    k=500,
    models=4,
    classes=5,
    signal=1.0,
    ease=1.0,
    noise=1.0,
    step=None,
    costs=None,
    **about,
):
    """Return a store of models m0, m1, … on k samples.

    classes: number or names. signal: of the first model. Each further model has 1 more.
    ease: mean factor of the signal, which differs by sample. None: 1 for all samples.
    step: logits are multiples of it, so that confidences tie. costs: default 10, 100, 1000, …
    about: more arguments of ``from_arrays``.
    """
    rng = np.random.default_rng(seed)
    names = None if isinstance(classes, int) else classes
    count = classes if names is None else len(names)
    labels = rng.integers(0, count, k)
    eased = 1.0 if ease is None else ease + rng.normal(size=(k, 1))
    truth = np.eye(count)[labels]
    logits = {}
    for i in range(models):
        z = (signal + i) * truth * eased + noise * rng.normal(size=(k, count))
        logits[f"m{i}"] = z if step is None else np.round(z / step) * step
    about["classes"] = names
    costs = [10.0 ** (i + 1) for i in range(models)] if costs is None else map(float, costs)
    return LogitStore.from_arrays(labels, logits, macs=dict(zip(logits, costs)), **about)


def three_models(seed=0, k=600, noise=1.0, ids=True, **about):
    """Return a store of three models and a split named after the seed.

    Samples of different seeds have different ids.
    """
    if ids:
        about["sample_ids"] = [f"{seed}-{row}" for row in range(k)]
    about = {"classes": tuple("abcde"), "split": f"seed {seed}"} | about
    return noisy_store(seed, k, 3, ease=1.5, noise=noise, **about)


def three_scores(seed=0, k=400):
    """Return a table of the models a, b and c with higher confidences for correct answers."""
    rng = np.random.default_rng(seed)
    correct = rng.random((3, k)) < [[0.7], [0.8], [0.9]]
    confidence = np.where(correct, 0.6, 0.3) + 0.4 * rng.random(correct.shape)
    return ScoreTable(correct, confidence, [1, 3, 9], "abc")
