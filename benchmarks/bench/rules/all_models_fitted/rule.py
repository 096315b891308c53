"""Search all models of a file by fitted confidences, which use the predictions."""

from bench.task import Choice, File, Task

from cascadelib import pick, search

OURS = True
TITLE = "all models, fitted"
LEAGUE = "all models"
ABOUT = '`cl.pick(cl.search(all models, (1, 2, 3), "isotonic_by_label"), loss=ε)`'


def fits(file: File) -> bool:
    return file.curve is not None and len(file.table.names) > 2


def choose(task: Task) -> Choice:
    front = search(task.labelled_of_all, (1, 2, 3), "isotonic_by_label")
    return task.run(pick(front, loss=task.epsilon))
