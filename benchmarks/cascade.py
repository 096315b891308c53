"""A running cascade's throughput beside the ideal, Σ C_i · reach_i from each model's own measured time; decision time.

``python benchmarks/cascade.py [--quick]``. A model's own time is that of preprocessing, forward pass and copy of its
logits to numpy, on full batches of the same images. Models and cascade alternate in one run, so that whatever else the
machine does weighs on all; the ratio of medians counts.
"""

import argparse
import statistics
import time

import numpy as np
import torch

from cascadelib import Cascade, LogitStore, datasets, pick, same_decisions, search

BATCH = 64


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


@torch.inference_mode()
def alone(member, batches):
    for batch in batches:
        member.logits(batch)


def one_by_one(cascade, batches):
    for batch in batches:
        cascade(batch)


def measured(cascade, images, batch_size, repeats):
    """{what: seconds of one pass}: each model alone, the cascade batch by batch and as a stream."""
    batches = list(torch.as_tensor(images).split(batch_size))
    calls = {m.name: (lambda m=m: alone(m, batches)) for m in cascade.members}
    calls |= {"batches": lambda: one_by_one(cascade, batches), "stream": lambda: cascade.run(batches, batch_size)}
    times = {name: [seconds(call)] for name, call in calls.items()}  # the first pass warms up
    cascade.running.reset()
    for _ in range(repeats):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def row(benchmark, value, unit, target=""):
    return {"benchmark": benchmark, "measured": float(value), "unit": unit, "target": target}


def rows_of(label, cascade, images, batch_size, repeats):
    """Rows of one cascade at one batch size."""
    times = measured(cascade, images, batch_size, repeats)
    reach = 1 - np.concatenate([[0], np.cumsum(cascade.running.exit_rates)[:-1]])
    ideal = sum(times[m.name] * share for m, share in zip(cascade.members, reach))
    calls = 2 * repeats * -(-len(images) // batch_size)
    decision, total = cascade.running.seconds[:, 1].sum(), cascade.running.seconds.sum()
    at = f"{label}, batch {batch_size}"
    rows = [
        row(
            f"{at}: stream, throughput ÷ ideal",
            ideal / times["stream"],
            "ratio",
            "≥ 0.85" if batch_size == BATCH else "",
        ),
        row(f"{at}: batch by batch, throughput ÷ ideal", ideal / times["batches"], "ratio"),
        row(f"{at}: exit decision, a stage and batch", decision / calls / len(cascade.members) * 1e6, "µs"),
        row(
            f"{at}: exit decisions ÷ time of the cascade",
            decision / total,
            "share",
            "≤ 0.02" if batch_size == BATCH else "",
        ),
        row(f"{at}: images a second, stream", len(images) / times["stream"], "1/s"),
        row(f"{at}: … the last model alone", len(images) / times[cascade.members[-1].name], "1/s"),
    ]
    return rows


def run(quick=False):
    """Rows of the benchmark table: the cascades that match the best single model of the bundled zoo."""
    store, test, data = (
        LogitStore("data/fashion-mnist/val"),
        LogitStore("data/fashion-mnist/test"),
        datasets.fashion_mnist("test"),
    )
    count, repeats, rows = (640, 1, []) if quick else (3_200, 7, [])
    images = data.inputs[:count]
    for label, point in points(store, quick).items():
        cascade = Cascade.from_point(point, store=store)
        rows += rows_of(label, cascade, images, BATCH, repeats)
        if label == "two models":
            rows += rows_of(label, cascade, images[:400], 1, max(1, repeats // 2))
        counts = same_decisions(cascade.run(torch.as_tensor(images).split(BATCH)), test.take(slice(0, count)), point)
        rows.append(row(f"{label}: decisions unlike the evaluator's, near a threshold", counts["near"], "samples"))
        rows.append(row(f"{label}: … for another reason", counts["other"], "samples", "≤ 0"))
    return rows


def points(store, quick):
    """{label: Point}: as accurate as the best single model, or nearly so."""
    pairs = search(store, 2)
    found = {"two models": pick(pairs, "match_best")}
    if not quick:
        found["three models"] = pick(search(store, 3, models="pareto"), "match_best")
        found["mean logits"] = pick(search(store, 2, "max_softmax_mean_logits_ts"), accuracy=0.94)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="640 images, two models")
    for line in run(parser.parse_args().quick):
        print(f"{line['benchmark']:70} {line['measured']:10.4g} {line['unit']:8} {line['target']}")


if __name__ == "__main__":
    main()
