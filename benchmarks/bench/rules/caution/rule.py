"""Select by ``pick`` with its default margin, on expected outcomes."""

from bench.task import Choice, Task

from cascadelib import pick, search

OURS = True
LEAGUE = "estimate"
ABOUT = "`cl.pick(cl.search(…, expected=True), loss=ε)`: the default of `pick`, an estimate"


def choose(task: Task) -> Choice:
    front = search(task.labelled, (1, 2), expected=True)
    return task.run(pick(front, loss=task.epsilon))
