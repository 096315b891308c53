"""A running cascade's throughput beside the ideal, Σ C_i · reach_i from each model's own measured time; decision time.

``python benchmarks/run.py cascade [--quick]``. See :func:`cascadelib.deployment.timing.time_cascade`.
"""

from measuring import RUNS, row

from cascadelib import Cascade, LogitStore, datasets, pick, search
from cascadelib.deployment.cascade import same_decisions
from cascadelib.deployment.timing import pieces_of, time_cascade

BATCH = 64


def points(store, quick):
    """{label: Point}: as accurate as the best single model, or nearly so."""
    found = {"two models": pick(search(store, 2), "match_best")}
    if not quick:
        found["three models"] = pick(search(store, 3, models="pareto"), "match_best")
        found["mean logits"] = pick(search(store, 2, "max_softmax_mean_logits_ts"), accuracy=0.94)
    return found


def rows_of(label, cascade, images, batch_size, repeats):
    """Rows of one cascade at one batch size; targets are for full batches."""
    table, at = time_cascade(cascade, images, batch_size, repeats), f"{label}, batch {batch_size}"
    whole, decision = table.loc["cascade"], table.loc["exit decisions"]
    wanted = batch_size == BATCH
    values = [
        ("throughput ÷ ideal, stream", table.loc["cascade, stream", "throughput_to_ideal"], "ratio", "≥ 0.85"),
        ("throughput ÷ ideal, batch by batch", whole["throughput_to_ideal"], "ratio", ""),
        ("exit decisions ÷ time of the cascade", decision["seconds"] / whole["seconds"], "share", "≤ 0.02"),
        ("exit decision, a stage and batch", decision["decision_seconds"] * 1e6, "µs", ""),
        ("samples a second, stream", 1 / table.loc["cascade, stream", "seconds"], "1/s", ""),
        ("… of the last model alone", 1 / table.loc[cascade.members[-1].name, "seconds"], "1/s", ""),
    ]
    return [
        row(f"{at}: {what}", value, unit, target if wanted else "", runs=repeats)
        for what, value, unit, target in values
    ]


def cascade(quick=False):
    """Rows of the table: cascades of the bundled zoo on its test images."""
    store, test = LogitStore("data/fashion-mnist/val"), LogitStore("data/fashion-mnist/test")
    images, rows = datasets.fashion_mnist("test").batch(0, 320 if quick else 1_280), []
    for label, point in points(store, quick).items():
        running = Cascade.from_point(point, store=store)
        rows += rows_of(label, running, images, BATCH, 1 if quick else 7)
        if label == "two models":
            rows += rows_of(label, running, images[:256], 1, 1 if quick else RUNS)
        counts = same_decisions(running.run(pieces_of(images, BATCH)), test.take(slice(0, len(images))), point)
        rows.append(row(f"{label}: decisions unlike the evaluator's, near a threshold", counts["near"], "samples"))
        rows.append(row(f"{label}: decisions unlike the evaluator's otherwise", counts["other"], "samples", "≤ 0"))
    return rows


JOBS = {"cascade": cascade}
