"""A running cascade's throughput beside the ideal, Σ C_i · reach_i from each model's own measured
time; and decision time.

``python benchmarks/run.py cascade [--quick]``. See ``benchmarks/cascade_runs.py``.
"""

import numpy as np
from cascade_runs import same_decisions, time_cascade
from measuring import RUNS, row

from cascadelib import Cascade, LogitStore, Point, datasets, pick, search

BATCH = 64
SMALL_BATCH = 8


def points(store: LogitStore, quick: bool) -> dict[str, Point]:
    """{label: Point}: as accurate as the best single model, or nearly so."""
    found = {"two models": pick(search(store, 2), "match_best", caution=0)}
    if not quick:
        found["three models"] = pick(search(store, 3, models="pareto"), "match_best", caution=0)
        found["mean logits"] = pick(
            search(store, 2, "max_softmax_mean_logits_ts"), accuracy=0.94, caution=0
        )
    return found


def rows_of(
    label: str, cascade: Cascade, images: np.ndarray, batch_size: int, repeats: int
) -> list[dict]:
    """Rows of one cascade at one batch size."""
    table = time_cascade(cascade, images, batch_size, repeats)
    at = f"{label}, batch {batch_size}"
    whole = table.loc["cascade"]
    decision = table.loc["exit decisions"]
    wanted = batch_size == BATCH
    values = [
        ("throughput ÷ ideal", whole["throughput_to_ideal"], "ratio", ""),
        (
            "exit decisions ÷ time of the cascade",
            decision["seconds"] / whole["seconds"],
            "share",
            "≤ 0.02" if wanted else "",
        ),
        ("exit decision, a stage and batch", decision["decision_seconds"] * 1e6, "µs", ""),
        ("samples a second", 1 / whole["seconds"], "1/s", ""),
        (
            "… of the last model alone",
            1 / table.loc[cascade.members[-1].name, "seconds"],
            "1/s",
            "",
        ),
    ]
    return [
        row(f"{at}: {what}", value, unit, target, runs=repeats)
        for what, value, unit, target in values
    ]


def cascade(quick: bool = False) -> list[dict]:
    """Rows of the table: cascades of the bundled zoo on its test images."""
    store = LogitStore("data/fashion-mnist/val")
    test = LogitStore("data/fashion-mnist/test")
    images = datasets.fashion_mnist("test").batch(0, 320 if quick else 1_280)
    rows = []
    for label, point in points(store, quick).items():
        running = Cascade.from_point(point, store=store)
        rows += rows_of(label, running, images, BATCH, 1 if quick else 7)
        if label == "two models":
            for size in (SMALL_BATCH, 1):
                rows += rows_of(label, running, images[:256], size, 1 if quick else RUNS)
        counts = same_decisions(
            test.take(slice(0, len(images))), point, running.run(images.split(BATCH))
        )
        rows.append(
            row(
                f"{label}: decisions unlike the evaluator's, near a threshold",
                counts["near"],
                "samples",
            )
        )
        rows.append(
            row(
                f"{label}: decisions unlike the evaluator's otherwise",
                counts["other"],
                "samples",
                "≤ 0",
            )
        )
    return rows


JOBS = {"cascade": cascade}
