"""Monitor the decisions of any engine: here a batch job that writes one JSON line per input.

    .venv/bin/python examples/monitor_batch_job.py policy.json answers.jsonl monitor.json

A line has the input's id, and the answer, confidence and cost of each model that was called:
{"id": "q1", "answers": ["yes"], "confidences": [0.93], "costs": [0.001]}. A failed call has null.
Running the job again, or on a longer file, counts each input once.
"""

import json
import sys
from pathlib import Path

import cascadelib as cl
from cascadelib.serve import Monitor, Record


def record_of(line: str, models: tuple[str, ...]) -> Record:
    """Return the record of a line."""
    fields = json.loads(line)
    record = Record(fields["id"])
    for answer, *rest in zip(fields["answers"], fields["confidences"], fields["costs"]):
        confidence, cost = rest
        record.add(answer, confidence, "error" if answer is None else "none", cost, None)
    record.finish(models, latency=None)
    return record


if __name__ == "__main__":
    policy, log, state = map(Path, sys.argv[1:])
    monitor = Monitor.load(state) if state.exists() else Monitor(cl.Policy.load(policy))
    monitor.observe(record_of(line, monitor.models) for line in log.read_text().splitlines())
    monitor.save(state)
    print(monitor.table, monitor.failing(most=0.05), monitor.cost(), sep="\n\n")
