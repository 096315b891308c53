"""Apply ``caution`` to all models of a file."""

from bench.task import Choice, File, Task

from cascadelib import pick, search

OURS = True
TITLE = "all models"
LEAGUE = "all models"
ABOUT = "`caution` among all models of the file: pairs, or up to triples of four models"
MOST_MODELS = 4  # of which triples are searched


def fits(file: File) -> bool:
    return file.curve is not None  # the league has no other peer


def choose(task: Task) -> Choice:
    count = len(task.file.table.names)
    lengths = (1, 2, 3) if 2 < count <= MOST_MODELS else (1, 2)
    front = search(task.labelled_of_all, lengths, expected=True)
    return task.run(pick(front, loss=task.epsilon))
