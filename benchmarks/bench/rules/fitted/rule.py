"""Fit the confidence on a third of the labels, and certify a ladder by the others."""

from bench.task import Choice, File, Task

from cascadelib import Method, certify, ladder

OURS = True
ABOUT = (
    'the same ladder by `Method(confidence="isotonic_by_label")`, fitted on a third of the labels'
)
FITS = 3  # one of this number of labels fits the confidence


def fits(file: File) -> bool:
    return file.table.has_predictions


def choose(task: Task) -> Choice:
    pair = [task.file.small, task.file.reference]
    first = task.labels // FITS
    method = Method(confidence="isotonic_by_label").fit(task.labelled.take(slice(0, first)))
    rungs = ladder(task.unlabelled, pair, method)
    others = task.labelled.take(slice(first, None))
    certificate = certify(
        others,
        rungs,
        task.epsilon,
        task.delta,
        reference=task.file.reference,
    )
    return task.run(certificate.point)
