"""Select the cheapest cascade within the loss on the labelled rows, without a margin."""

from bench.task import Choice, Task

from cascadelib import pick, search

OURS = True
LEAGUE = "estimate"
ABOUT = "`cl.pick(front, loss=ε, caution=0)`: the raw front, no guarantee"


def choose(task: Task) -> Choice:
    front = search(task.labelled, (1, 2))
    return task.run(pick(front, loss=task.epsilon, caution=0))
