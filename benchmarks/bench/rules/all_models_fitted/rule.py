"""Search all models of a file by fitted confidences, which use the predictions."""

from bench.task import Choice, File, Task

from cascadelib import pick, search

OURS = True
TITLE = "all models, fitted"
LEAGUE = "all models"
ABOUT = '`cl.pick(cl.search(all models, (1, 2, 3), "auto"), loss=ε)`, files of up to four models'
MOST_MODELS = 4  # fits grow with the square of their number


def fits(file: File) -> bool:
    return file.curve is not None and 2 < len(file.table.names) <= MOST_MODELS


def choose(task: Task) -> Choice:
    front = search(task.labelled_of_all, (1, 2, 3), "auto")
    return task.run(pick(front, loss=task.epsilon))
