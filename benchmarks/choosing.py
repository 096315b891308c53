"""Measure what choosing on few labels costs and loses: the default of ``pick`` per pool of samples.

``python benchmarks/choosing.py [--data FOLDER] [--draws N] [--pool NAME …] [--file DRAWS.jsonl]``
adds missing draws to a file and fills the table of docs/choosing.md from it.

A cascade is selected on a draw of n labels and evaluated on the samples after the draw. Pools are
the bundled images and reviews (at most 16 models), the bundled answers of language models, and
yes-no queries. The folder of ``--data``, or of the environment variable ``DATA``, may have the
markets of FrugalML, as frugalml/NAME.parquet. A cell is a pool, n, and the lengths of cascades.

*excess*: accuracy lost to the best model of the selection, minus the requested loss, in points, a
mean over draws and losses. *saving*: mean cost of that model ÷ mean cost of the cascades. A cascade
*falls back* if it is that model.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib import LogitStore, Method, ScoreTable, evaluate, pick, search

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
PAGE = ROOT / "docs" / "choosing.md"
MARKETS = ("rafdb", "ferplus", "waimai", "digit")
QUERIES = ("sst2", "arxiv", "boolq")
MOST_MODELS = 16
MOST_SAMPLES = 20_000
LABELS = (500, 2_000)
LENGTHS = {"pairs": (1, 2), "triples": (1, 2, 3)}
KINDS = ("observed", "expected")
LOSSES = (0.0, 0.005, 0.01)
DRAWS = 400
FIRST_SEED = 91_000  # the margins were set on draws from 90,000 on
CELL = ["pool", "lengths", "labels", "kind"]
DRAW = ("pool", "labels", "lengths", "draw")  # what a draw of :func:`draw_all` is known by


def table_of(splits: list[LogitStore]) -> ScoreTable:
    """Return several splits of one store as a table of at most 16 models, evenly spaced in cost."""
    names = list(splits[0].models.index)
    at = np.unique(np.linspace(0, len(names) - 1, min(MOST_MODELS, len(names))).round().astype(int))
    chosen = [names[i] for i in at]
    parts = []
    for store in splits:
        stage = store.outcome(chosen, Method(), "top1")
        confidence = np.array([stage((model,))[1] for model in range(len(chosen))])
        parts.append((confidence, np.array([store.predicted(name) for name in chosen])))
    confidence, predictions = (np.hstack(arrays) for arrays in zip(*parts))
    labels = np.concatenate([store.labels for store in splits])
    costs = splits[0].select(chosen).costs("macs")
    return ScoreTable(None, confidence, costs, chosen, predictions=predictions, labels=labels)


def queries(name: str) -> ScoreTable:
    """Return yes-no queries: a small model whose answers are compared with a large one's."""
    frame = pd.read_parquet(DATA / "semantic-sql" / f"{name}.parquet")
    p = frame["proxy_pred_true_prob"].to_numpy()
    correct = (p >= 0.5) == frame["oracle_pred"].to_numpy()
    confidence = np.maximum(p, 1 - p)
    both = np.array([correct, np.ones(len(p), bool)])
    return ScoreTable(both, np.array([confidence, confidence]), [1.0, 9.0], ["small", "large"])


def bundled(data: str) -> ScoreTable:
    """Return all bundled samples of a data set, with their answers."""
    return table_of([LogitStore(DATA / data / split) for split in ("val", "test")])


def pools(folder: str | None, names: Iterable[str] = ()) -> Iterator[tuple[str, ScoreTable]]:
    """Yield (name, table) of all available data, or of the pools of these names."""
    readers: dict[str, Callable[[], ScoreTable]] = {
        "images": partial(bundled, "fashion-mnist"),
        "reviews": partial(bundled, "reviews"),
    }
    named = {"label": "label", "prediction": "prediction"}
    answers = cl.datasets.llm_answers
    readers["language models"] = lambda: ScoreTable.from_frame(answers(), **named)
    readers |= {name: partial(queries, name) for name in QUERIES}
    for name in MARKETS if folder else ():
        path = Path(folder or "", "frugalml", f"{name}.parquet")
        columns = named | {"model": "service", "cost": "price"}
        readers[name] = partial(ScoreTable.from_frame, path, **columns)
    for name, read in readers.items():
        if not names or name in names:
            pool = read()
            if len(pool) > MOST_SAMPLES:
                pool = pool.take(np.random.default_rng(0).permutation(len(pool))[:MOST_SAMPLES])
            yield name, pool


def one_draw(pool: ScoreTable, count: int, lengths: tuple[int, ...], seed: int) -> Iterator[dict]:
    """Choose on the labels of a draw, and evaluate on the samples that follow."""
    order = np.random.default_rng(seed).permutation(len(pool))
    others = pool.take(order[count:])
    for kind in KINDS:
        front = search(pool.take(order[:count]), lengths, expected=kind == "expected")
        reference = front.reference
        chosen = [pick(front, loss=loss) for loss in LOSSES]
        alone, *runs = evaluate(others, [reference, *chosen])
        for loss, point, run in zip(LOSSES, chosen, runs, strict=True):
            yield {
                "kind": kind,
                "excess": 100 * (alone.accuracy - run.accuracy - loss),
                "cost": run.cost,
                "reference": alone.cost,
                "falls_back": point.models == reference.models,
            }


def draw_all(
    path: Path | None = None,
    folder: str | None = None,
    names: Iterable[str] = (),
    draws: int = DRAWS,
    labels: Iterable[int] = LABELS,
    lengths: Iterable[str] = tuple(LENGTHS),
) -> pd.DataFrame:
    """Return a row per pool, n, lengths, draw, outcomes and loss.

    Draws in the file are not computed again, and new ones are added to it.
    """
    rows = read_rows(path) if path and path.exists() else []
    done = {tuple(each[name] for name in DRAW) for each in rows}
    for name, pool in pools(folder, names):
        for length, count, draw in product(lengths, labels, range(draws)):
            cell = (name, count, length, FIRST_SEED + draw)
            if cell in done or len(pool.models) < max(LENGTHS[length]) or 2 * count > len(pool):
                continue
            start = dict(zip(DRAW, cell))
            found = [start | each for each in one_draw(pool, count, LENGTHS[length], cell[-1])]
            rows += found
            if path:
                append_rows(path, found)
    return pd.DataFrame(rows)


def read_rows(path: Path) -> list[dict]:
    """Return the rows of a file with a JSON object per line."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def append_rows(path: Path, rows: Iterable[dict]) -> None:
    """Append rows to a file with a JSON object per line."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in rows)


def upper_end(values: pd.Series) -> float:
    """Return the upper 95% end of a mean."""
    return float(values.mean() + 1.96 * values.std() / np.sqrt(values.count()))


def cells_of(found: pd.DataFrame) -> pd.DataFrame:
    """Return a row per cell: excess, its upper end, saving, share of fallbacks."""
    columns = ["excess", "cost", "reference", "falls_back"]
    rows = []
    by_draw = found.groupby([*CELL, "draw"])[columns].mean()
    for cell, part in by_draw.groupby(level=CELL):
        part = part.droplevel(CELL)
        result = dict(zip(CELL, cell)) | {
            "draws": len(part),
            "excess": part["excess"].mean(),
            "high": upper_end(part["excess"]),
            "saving": saving_of(part),
            "falls_back": part["falls_back"].mean(),
        }
        rows.append(result)
    return pd.DataFrame(rows)


def saving_of(draws: pd.DataFrame) -> float:
    """Return the mean cost of the reference ÷ the mean cost of the cascades."""
    return float(draws["reference"].mean() / draws["cost"].mean())


def as_markdown(cells: pd.DataFrame) -> str:
    """Return the table of docs/choosing.md: a row per cell."""
    head = ["cascades", "outcomes", "pool", "draws", "excess", "saving", "falls back"]
    lines = [head, ["---"] * 3 + ["---:"] * 4]
    shown = cells[cells["labels"] == LABELS[0]]
    shown = shown.sort_values(["lengths", "kind", "pool"], ascending=[False, True, True])
    for _, found in shown.iterrows():
        excess, high = (f"{found[name]:+.2f}".replace("-", "−") for name in ("excess", "high"))
        values = [found["lengths"], found["kind"], found["pool"], str(found["draws"])]
        values += [f"{excess} ({high})", f"{found['saving']:.2f}", f"{found['falls_back']:.0%}"]
        lines.append(values)
    return "\n".join(f"|{'|'.join(line)}|" for line in lines)


def main() -> None:
    """Add missing draws to a file, and fill the table of docs/choosing.md from it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with frugalml/NAME.parquet")
    parser.add_argument("--pool", nargs="*", default=(), help="names of pools, default: all")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--labels", type=int, nargs="*", default=LABELS)
    parser.add_argument("--lengths", nargs="*", default=tuple(LENGTHS), choices=LENGTHS)
    parser.add_argument("--file", type=Path, default=ROOT / "build" / "choosing.jsonl")
    options = parser.parse_args()
    options.file.parent.mkdir(exist_ok=True)
    found = draw_all(
        options.file, options.data, options.pool, options.draws, options.labels, options.lengths
    )
    text = PAGE.read_text(encoding="utf-8")
    table = f"<!-- draws -->\n{as_markdown(cells_of(found))}\n<!-- /draws -->"
    filled = re.sub(r"<!-- draws -->.*<!-- /draws -->", lambda _: table, text, flags=re.DOTALL)
    PAGE.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
