"""The repr of an object is short for any number of samples, models and classes."""

import numpy as np
import pandas as pd

import cascadelib as cl

MOST = 2000  # characters
SAMPLES = 600
MODELS = 120
CLASSES = 300


def objects():
    """Public objects by name, of many samples, models and classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, SAMPLES)
    ids = [f"a rather long sample id {row}" for row in range(SAMPLES)]
    names = [f"model {number}" for number in range(MODELS)]
    outputs = rng.random((SAMPLES, CLASSES), dtype=np.float32)
    logits = {name: outputs + number for number, name in enumerate(names)}
    store = cl.LogitStore.from_arrays(
        labels,
        logits,
        sample_ids=ids,
        classes=[f"class {number}" for number in range(CLASSES)],
        macs={name: number + 1 for number, name in enumerate(names)},
    )
    correct = rng.random((MODELS, SAMPLES)) < 0.8
    table = cl.ScoreTable(correct, rng.random(correct.shape), np.arange(1, MODELS + 1), names)
    front = cl.search(table.select(names[:9]), (1, 2))
    point = cl.pick(front, "max_improvement")
    policy = cl.Policy.from_point(point, table)
    predicted = np.array([f"class {number}" for number in rng.integers(0, CLASSES, 2 * SAMPLES)])
    frame = pd.DataFrame(
        {
            "sample": ids * 2,
            "model": np.repeat(names[:2], SAMPLES),
            "prediction": predicted,
            "label": np.tile(predicted[:SAMPLES], 2),
            "confidence": rng.random(2 * SAMPLES),
            "cost": np.repeat([1.0, 2.0], SAMPLES),
        }
    )
    answers = cl.ScoreTable.from_frame(frame, label="label", prediction="prediction")
    fitted = cl.Method(confidence="isotonic_by_label").fit(answers)
    return {
        "store": store,
        "table": table,
        "front": front,
        "run": cl.evaluate(table, point),
        "policy": policy,
        "origin": store.origin,
        "method": fitted,
        "baseline": front.baseline,
        "decisions": policy.decide([table.confidence[0]] * len(point.models)),
        "samples": cl.datasets.Samples(outputs, labels, ids),
    }


def test_a_repr_is_short():
    for name, each in objects().items():
        assert len(repr(each)) <= MOST, name
