"""Small stores of made-up logits: the costlier a model, the stronger its signal."""

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
    """A store of models m0, m1 … on k samples.

    classes: their number, or their names; signal: of the first model, each further one has 1 more;
    ease: mean of what multiplies it, by sample (None: all are alike); step: of the grid that
    logits lie on, so that confidences tie; costs: by default 10, 100, 1000 …; about: more arguments
    of ``from_arrays``.
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
    """A store whose samples all differ in ease, of a split named after the seed; ids tell the
    samples of one seed from those of another."""
    if ids:
        about["sample_ids"] = [f"{seed}-{row}" for row in range(k)]
    about = {"classes": tuple("abcde"), "split": f"seed {seed}"} | about
    return noisy_store(seed, k, 3, ease=1.5, noise=noise, **about)


def three_scores(seed=0, k=400):
    """A ScoreTable of the models a, b and c, with higher confidences for correct answers."""
    rng = np.random.default_rng(seed)
    correct = rng.random((3, k)) < [[0.7], [0.8], [0.9]]
    confidence = np.where(correct, 0.6, 0.3) + 0.4 * rng.random(correct.shape)
    return ScoreTable(correct, confidence, [1, 3, 9], "abc")
