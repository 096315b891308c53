"""``caution`` on all models of a file, with predicted labels read where they say more."""

from bench.task import Judge, Task

from cascadelib import pick, search

OURS = True
TITLE = "all models"
LEAGUE = "all models"
ABOUT = "`caution` among all models of the file, up to three in a row"


def choose(task: Task) -> Judge:
    lengths = tuple(range(1, min(3, len(task.file.table.names)) + 1))
    front = search(task.labelled_of_all, lengths, expected=True)
    return task.run(pick(front, loss=task.epsilon))
