"""Rows of a log for tests."""

import numpy as np
import pandas as pd

from cascadelib import Point, Policy
from cascadelib.policy import FAILURES

POLICY = Policy(Point(("small", "middle", "large"), (0.6, 0.5)))
PAIR = Policy(Point(("small", "large"), (0.5,)))


def row(number, policy=PAIR, confidences=(0.9,), answers=("yes",), **changes):
    """A row of an input without failures."""
    stages = len(confidences)
    return {
        "id": f"id {number}",
        "time": 1000.0 + number,
        "policy": policy.checksum,
        "stage": stages - 1,
        "models": list(policy.models[:stages]),
        "predictions": list(answers),
        "confidences": list(confidences),
        "failures": ["none"] * stages,
        "costs": [1.0, 3.0, 9.0][:stages],
        "audited": False,
        "reference": None,
    } | changes


def random_rows(count, seed, policy=POLICY):
    """Rows with every kind of failure, unknown costs, other models, audits and lost references.

    An input exits if a model of the policy answers with a confidence of at least the threshold.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        stages = []
        does_exit = False
        while not does_exit and len(stages) < len(policy.models):
            stages.append(random_stage(rng, policy.models[len(stages)]))
            threshold = [*policy.thresholds, 0][len(stages) - 1]
            is_own = stages[-1]["models"] == policy.models[len(stages) - 1]
            does_exit = is_own and (stages[-1]["confidences"] or 0) >= threshold
        is_audited = bool(rng.random() < 0.4)
        reference = str(rng.choice(["yes", "no"])) if is_audited and rng.random() < 0.8 else None
        changes = {name: [each[name] for each in stages] for name in stages[0]}
        changes |= {"audited": is_audited, "reference": reference}
        rows.append(row(number, policy, changes.pop("confidences"), **changes))
    return rows


def random_stage(rng, model):
    """The answer of a model, or of another one, or a failure, and perhaps a cost."""
    failure = str(rng.choice(FAILURES, p=[0.8, 0.05, 0.05, 0.05, 0.05]))
    confidence, cost = rng.random(2).round(3).tolist()
    return {
        "models": model if rng.random() < 0.9 else "spare",
        "predictions": str(rng.choice(["yes", "no", ""])) if failure == "none" else None,
        "confidences": confidence if failure == "none" else None,
        "failures": failure,
        "costs": cost if rng.random() < 0.9 else None,
    }


def disagreeing(count=300, each=3, reference="yes"):
    """A log of audited inputs. The cascade's answer is "no" for one in ``each``."""
    answers = ["no" if number % each == 0 else "yes" for number in range(count)]
    rows = enumerate(answers)
    return pd.DataFrame([row(n, answers=[a], audited=True, reference=reference) for n, a in rows])
