"""A third of the labels fits the confidence. The others certify a ladder."""

from bench.task import Judge, Task

from cascadelib import Method, certify, ladder

OURS = True
ABOUT = 'the same ladder by `Method(confidence="auto")`, fitted on a third of the labels'
SHARE = 3  # one in so many labels is fitted on


def choose(task: Task) -> Judge:
    pair = [task.file.small, task.file.reference]
    first = task.labels // SHARE
    method = Method(confidence="auto").fit(task.labelled.take(slice(0, first)))
    rungs = ladder(task.unlabelled, pair, method)
    others = task.labelled.take(slice(first, None))
    certificate = certify(others, rungs, task.epsilon, task.delta, reference=task.file.reference)
    return task.run(certificate.point)
