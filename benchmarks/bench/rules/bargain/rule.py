"""BARGAIN's accuracy target on the pool. It decides how many labels it buys."""

import numpy as np
from bench.task import Judge, Task

NEEDS = "BARGAIN"
TITLE = "BARGAIN"
ABOUT = "BARGAIN, `BARGAIN_A`, target 1 − ε on the pool; it chooses its number of labels"
OWN_LABELS = True


def choose(task: Task) -> Judge:
    from BARGAIN import BARGAIN_A, Oracle, Proxy

    class Small(Proxy):
        def proxy_func(self, record: int) -> tuple[bool, float]:
            return True, task.confidence[record]

    class Reference(Oracle):
        """``True`` if the small model's answer is accepted."""

        def oracle_func(self, record: int, answer: object) -> tuple[bool, bool]:
            if isinstance(answer, str):  # it asks for the answers of the rows that are not kept
                return True, False
            will_do = not task.lost([record])[0]
            return will_do, will_do

    small = Small(verbose=False, max_workers=1)
    reference = Reference(verbose=False, max_workers=1)
    target = 1 - task.epsilon
    rule = BARGAIN_A(small, reference, target, task.delta, verbose=False, seed=task.draw)
    _, asked = rule.process(np.arange(len(task.confidence)), return_oracle_usage=True)
    passed_on = np.asarray(asked)
    passed_on[list(task.bought)] = False
    border = task.confidence[passed_on].max(initial=-np.inf)
    return task.keep(lambda confidence, predictions: confidence > border)
