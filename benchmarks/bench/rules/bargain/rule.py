"""BARGAIN's accuracy target on the pool. It decides how many labels it buys."""

import numpy as np
from bench.task import Choice, Task

NEEDS = "BARGAIN"
TITLE = "BARGAIN"
ABOUT = "BARGAIN, `BARGAIN_A`, target 1 − ε on the pool; it chooses its number of labels"
OWN_LABELS = True


def choose(task: Task) -> Choice:
    from BARGAIN import BARGAIN_A, Oracle, Proxy

    class Small(Proxy):
        def proxy_func(self, record: int) -> tuple[bool, float]:
            return True, task.confidence[record]

    class Reference(Oracle):
        """Answer True if the small model's answer is good enough."""

        def oracle_func(self, record: int, answer: object) -> tuple[bool, bool]:
            if isinstance(answer, str):  # a request for the answer of a row that is not kept
                return True, False
            is_accepted = not task.lost([record])[0]
            return is_accepted, is_accepted

    small = Small(verbose=False, max_workers=1)
    reference = Reference(verbose=False, max_workers=1)
    target = 1 - task.epsilon
    rule = BARGAIN_A(small, reference, target, task.delta, verbose=False, seed=task.seed)
    _, asked = rule.process(np.arange(len(task.confidence)), return_oracle_usage=True)
    deferred = np.asarray(asked)
    deferred[list(task.bought)] = False
    border = task.confidence[deferred].max(initial=-np.inf)
    return task.keep(lambda confidence, predictions: confidence > border)
