"""Take thresholds from unlabelled rows, and certify them by all labels."""

from bench.task import Choice, Task

from cascadelib import certify, ladder

OURS = True
ABOUT = "`cl.certify(labelled, cl.ladder(unlabelled, pair), ε)`: all labels certify"


def choose(task: Task) -> Choice:
    pair = [task.file.small, task.file.reference]
    rungs = ladder(task.unlabelled, pair)
    certificate = certify(
        task.labelled,
        rungs,
        task.epsilon,
        task.delta,
        reference=task.file.reference,
    )
    return task.run(certificate.point)
