"""Thresholds from unlabelled rows. All labels certify."""

from bench.task import Judge, Task

from cascadelib import certify, ladder

OURS = True
ABOUT = "`cl.certify(labelled, cl.ladder(unlabelled, pair), ε)`: all labels certify"


def choose(task: Task) -> Judge:
    pair = [task.file.small, task.file.reference]
    rungs = ladder(task.unlabelled, pair)
    certificate = certify(
        task.labelled, rungs, task.epsilon, task.delta, reference=task.file.reference
    )
    return task.run(certificate.point)
