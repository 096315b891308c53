"""The default: expected outcomes, half a standard error inside the loss."""

from bench.task import Judge, Task

from cascadelib import pick, search

OURS = True
LEAGUE = "estimate"
ABOUT = "`cl.pick(cl.search(…, expected=True), loss=ε)`: the default of `pick`, an estimate"


def choose(task: Task) -> Judge:
    front = search(task.labelled, (1, 2), expected=True)
    return task.run(pick(front, loss=task.epsilon))
