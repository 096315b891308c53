"""Make the table of pretrained ImageNet models: timm's published accuracies and speeds, and MACs
counted by fvcore.

    python data/imagenet-1k/tables.py                       the paper's 668 models → the table in
    cascadelib python data/imagenet-1k/tables.py --tables FOLDER       from local copies of
    timm's three files python data/imagenet-1k/tables.py --tables FOLDER --near 1.1 --out
    models-today.csv
        newer tables (--results, --v2 and --benchmark where those are called otherwise, or for
        another GPU)

Without ``--tables`` the files of 2022-07-27, or with ``--today`` those of 2026-01-06, are
downloaded from that commit and checked against pinned SHA-256 sums. The source of a table follows
from the sums of the files. For files of neither of two known commits of timm, it must be stated
with ``--source``. The table is written after the report. Rows are printed and omitted if this timm
lacks their model, or if the checkpoint has other classes than ImageNet's 1,000.

Each model is counted in its own process with a limit of ``--limit`` seconds. Each count is written
to ``build/macs.jsonl``, so an interrupted run resumes. With ``--near``, only rows that can be on a
front are counted. The models of the bundled table are counted in their training form, as in the
paper. All others are counted in their deployed form, with branches and norms folded if timm can.
"""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

os.environ["TIMM_FUSED_ATTN"] = "0"  # before timm is imported: what is fused, fvcore does not see

import numpy as np
import pandas as pd
import pooch
import timm
import torch
from timm.models import get_arch_name, get_pretrained_cfg
from timm.utils.model import reparameterize_model
from tqdm import tqdm

from cascadelib import published
from cascadelib.figures.front_end import is_watched
from cascadelib.files import replace_atomically
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.timm_models import (
    build_timm_model,
    find_current_name,
    find_family,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "notebooks"))
from tools.claims.published_models import singles  # noqa: E402 - beside the notebooks

HERE = Path(__file__).parent
COMMIT = "e987e29036"
TODAY = "90cae8c5"
BASE = "https://raw.githubusercontent.com/huggingface/pytorch-image-models/{commit}/results/{name}"
RESULTS = "results-imagenet.csv"
V2 = "results-imagenetv2-matched-frequency.csv"
BENCHMARK = "benchmark-infer-amp-nhwc-pt112-cu113-rtx3090.csv"
AGAIN = "benchmark-infer-amp-nhwc-pt240-cu124-rtx3090.csv"  # the same card and layout in 2024
FILES = {
    RESULTS: "9fedcb2ad4f9f4dda893643144e31e00efbae8253c087905b9fc216710ff4813",
    V2: "95c001155827b444bd28eff7d260eb166b077e2e0a994400402c40b5a8fb45e5",
    BENCHMARK: "60de666305eaff54ae6add74063dab948ed298c6b0e800b940a1b61a4ebf8ef8",
}
FILES_TODAY = {
    RESULTS: "30972bf7c7ab451bbd4480ec6116b13d0a84441c57bbc946896fd312264acfcd",
    V2: "1d066d8897c40224b14f3cf1d02029c49ebdc56b761ba9a3841bd3bdd3bd0a8e",
    AGAIN: "0ee56fb006cad780c5931d314422874777502d408f734273bcac4c74d5e3c67a",
    "benchmark-infer-amp-nchw-pt291-cu130-5090.csv": (
        "6e1260e7fa846cb43cd928c1a5a02ea798fb579ecca7042d099c29ee031f3f2a"
    ),
}
OF_2022 = f"timm results/ at {COMMIT} (2022-07-27)"
# A commit's files by their SHA-256.
SOURCES = {
    OF_2022: set(FILES.values()),
    f"timm results/ at {TODAY} (2026-01-06)": set(FILES_TODAY.values()),
}
OWN = published.TABLE
GIGA = 1e9
ROUNDING = 0.005  # timm writes GMACs with two decimals
# What went by this name in 2022 is called otherwise now, and another network has taken the name.
# {checkpoint that timm no longer has: (current name, options) of the same network}
WITHDRAWN = {
    "gluon_xception65": ("xception65", {}),
    "ig_resnext101_32x48d": ("resnext101_32x8d", {"base_width": 48}),
    "vit_base_patch16_224_sam": ("vit_base_patch16_224", {}),
    "vit_base_patch32_224_sam": ("vit_base_patch32_224", {}),
}
THEN = {"tnt_s_patch16_224": "tnt_s_legacy_patch16_224.in1k"}


def downloaded(today: bool) -> Path:
    """Return the folder with timm's files of 2022-07-27, or with those of 2026-01-06."""
    commit, files = (TODAY, FILES_TODAY) if today else (COMMIT, FILES)
    folder = pooch.os_cache("pooch") / commit
    progress = is_watched()
    for name, digest in files.items():
        url = BASE.format(commit=commit, name=name)
        pooch.retrieve(url, known_hash=digest, fname=name, path=folder, progressbar=progress)
    return folder


def paths_of(
    folder: Path, results: Path | None, v2: Path | None, benchmark: Path | None
) -> list[Path]:
    """The three files in ``folder``; of benchmarks that of the paper's card and layout, unless
    another is named."""
    benchmark = benchmark or next(
        (name for name in (BENCHMARK, AGAIN) if (folder / name).is_file()), BENCHMARK
    )
    paths = [folder / name for name in (results, v2, benchmark)]
    for path in paths:
        if not path.is_file():
            raise SystemExit(f"no {path}; expected timm's results/{path.name}")
    return paths


def source_of(paths: list[Path], stated: str | None = None) -> str:
    """Return the source of files by their SHA-256: the commit that has all of them, or ``stated``.

    Raises SystemExit if nothing is stated, with the files that no known commit has, or if another
    source is stated for the files of a known commit.
    """
    sums = {path.name: pooch.file_hash(str(path)) for path in paths}
    found = next(
        (source for source, known in SOURCES.items() if known.issuperset(sums.values())), None
    )
    if found is not None and stated not in (None, found):
        raise SystemExit(
            f"these files are those of {found!r}, not of {stated!r}: leave --source out"
        )
    if found is None and stated is None:
        unknown = [
            name
            for name, digest in sums.items()
            if not any(digest in known for known in SOURCES.values())
        ]
        why = (
            f"no known commit has {', '.join(unknown)}"
            if unknown
            else "they are of several commits"
        )
        raise SystemExit(f"where do these files come from? {why}: state it with --source")
    return found or stated


def read_table(path: Path) -> pd.DataFrame:
    """A table of timm's; numbers from a thousand on may have separators ("1,014.45")."""
    return pd.read_csv(path, thousands=",")


def lacks(name: str) -> str | None:
    """Return the reason to omit a row, or None."""
    if name in WITHDRAWN:
        return None
    try:
        config = get_pretrained_cfg(find_current_name(THEN.get(name, name)))
    except RuntimeError:  # the model without this tag
        config = None
    if config is None:
        return f"not in timm {timm.__version__}"
    return (
        None
        if config.num_classes == 1000
        else f"its checkpoint has {config.num_classes} classes, not 1,000"
    )


def kept(results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of models with ImageNet's classes, and print the others."""
    reasons = {name: lacks(name) for name in results["model"].unique()}
    for name, reason in reasons.items():
        if reason:
            print(f"left out: {name}: {reason}", flush=True)
    return results[results["model"].map(reasons).isna()].reset_index(drop=True)


def macs_of(name: str, size: int, trained: bool = False) -> tuple[int, int]:
    """(MACs an image, parameters) of a timm model with random weights at ``size`` pixels, as
    deployed or as trained."""
    current, options = WITHDRAWN.get(name, (THEN.get(name, name), {}))
    module = build_timm_model(current, size, **options)
    if not trained:
        reparameterize_model(module, inplace=True)
    return count_macs(module, torch.zeros(1, 3, size, size)), sum(
        p.numel() for p in module.parameters()
    )


def count_alone(pipe: Connection, *model: Any, **form: bool) -> None:
    """Send (MACs, parameters) from a process, or the reason why there are none."""
    try:
        pipe.send(macs_of(*model, **form))
    except (ValueError, RuntimeError) as error:
        pipe.send(str(error))


def counts(models: Iterable[tuple], limit: float, processes: int, form: dict) -> Iterator[tuple]:
    """((name, size), (MACs, parameters) or why there are none, seconds) as they come, each from its
    own process.

    After ``limit`` seconds a process is ended, and counts as "not within … s".
    """
    fork = multiprocessing.get_context("fork")
    waiting = list(models)[::-1]
    running = {}
    while waiting or running:
        while waiting and len(running) < processes:
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(
                target=count_alone, args=(there, *waiting[-1]), kwargs=form, daemon=True
            )
            process.start()
            there.close()  # so that a process that ends without an answer is seen
            running[here] = waiting.pop(), process, time.monotonic()
        first = min(start for _, _, start in running.values())
        answered = wait(running, max(0, first + limit - time.monotonic()))
        for pipe, (model, process, start) in list(running.items()):
            seconds = time.monotonic() - start
            answer = f"not within {limit:g} s"
            if pipe in answered:
                try:
                    answer = pipe.recv()
                except EOFError:
                    answer = "its process was ended (out of memory?)"
            elif seconds < limit:
                continue
            process.kill()
            process.join()
            del running[pipe]
            yield model, answer, seconds


def rows_of(cache: Path) -> list[dict]:
    """Return the counts of earlier runs with this timm. An incomplete last line is removed."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    text = cache.read_text(encoding="utf-8") if cache.is_file() else ""
    if text and not text.endswith("\n"):
        whole, _, _ = text.rpartition("\n")
        text = whole + "\n" if whole else ""
        cache.write_text(text, encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if row["timm"] == timm.__version__]


def counted(
    models: Iterable[tuple], cache: Path, limit: float, processes: int, trained: bool
) -> pd.DataFrame:
    """Return counts of (name, size) pairs, stored in ``cache``: macs and parameters, or nan.

    A pair that could not be counted is printed, and tried again in the next run.
    """
    done = {
        (r["model"], r["size"]): r
        for r in rows_of(cache)
        if r["macs"] and r.get("trained", True) == trained
    }
    left = [model for model in models if model not in done]
    with (
        open(cache, "a", encoding="utf-8") as file,
        tqdm(total=len(left), disable=not is_watched()) as bar,
    ):
        for (name, size), answer, seconds in counts(
            left, limit, processes, {"trained": True} if trained else {}
        ):
            bar.update()
            if isinstance(answer, str):
                print(f"{name} at {size}: {answer}", file=sys.stderr, flush=True)
                continue
            macs, parameters = answer
            row = {
                "model": name,
                "size": size,
                "macs": macs,
                "parameters": parameters,
                "timm": timm.__version__,
            }
            done[name, size] = row | {"trained": trained, "counting_s": round(seconds, 2)}
            file.write(json.dumps(done[name, size]) + "\n")
            file.flush()
    return pd.DataFrame(
        [done.get(key, {}) for key in models], columns=["macs", "parameters"], dtype="Int64"
    )


def measured(results: pd.DataFrame, benchmark: pd.DataFrame, column: str) -> np.ndarray:
    """A benchmark's column, float [rows of results]: found by name and size, with or without the
    tag; else nan."""
    known = {(m, s): v for m, s, v in benchmark[["model", "infer_img_size", column]].to_numpy()}
    keys = zip(results["model"], results["img_size"])
    return np.array(
        [known.get((m, s), known.get((get_arch_name(m), s), np.nan)) for m, s in keys], float
    )


def gmacs_of(results: pd.DataFrame, benchmarks: Iterable[pd.DataFrame]) -> np.ndarray:
    """Return timm's GMACs, float [rows of results], nan if no benchmark has them.

    The smallest value counts, since some benchmarks ran models in their training form.
    """
    return np.fmin.reduce([measured(results, benchmark, "infer_gmacs") for benchmark in benchmarks])


def near_a_front(
    top1: np.ndarray, gmacs: np.ndarray, seconds: np.ndarray, factor: float
) -> np.ndarray:
    """Return the rows whose count matters, bool [rows].

    They are on the front in seconds, or no row of at least the same accuracy has fewer published
    GMACs by more than ``factor``, up to rounding. Rows without GMACs count.
    """
    top1 = np.asarray(top1, float)
    most = np.where(np.isnan(gmacs), np.inf, gmacs + ROUNDING)
    least = np.array([most[top1 >= accuracy].min() for accuracy in top1])
    on_front = front_of(pd.DataFrame({"top1": top1, "seconds": seconds}), "seconds")
    return ~(gmacs - ROUNDING > factor * least) | np.isin(range(len(top1)), on_front)


def front_of(table: pd.DataFrame, cost: str) -> pd.Index:
    """Return the models of a table on its front, none if it has no such costs."""
    if table[cost].isna().all():
        return table.index[:0]
    rows = singles(table, cost)
    return rows.index[rows["on_front"]]


def table_of(
    results: pd.DataFrame,
    v2: pd.DataFrame,
    seconds: np.ndarray,
    counts: pd.DataFrame,
    source: str,
) -> pd.DataFrame:
    """The derived table, in the order of ``results``; columns: ``published.models``."""
    twice = results["model"].duplicated(keep=False)
    names = [
        f"{m}@{s}" if t else m for m, s, t in zip(results["model"], results["img_size"], twice)
    ]
    v2_top1 = {(m, s): v for m, s, v in v2[["model", "img_size", "top1"]].to_numpy()}
    return pd.DataFrame(
        {
            "model": names,
            "top1": (results["top1"] / 100).round(5),
            "top5": (results["top5"] / 100).round(5),
            "imagenetv2_top1": [
                round(v2_top1.get((m, s), np.nan) / 100, 5)
                for m, s in zip(results["model"], results["img_size"])
            ],
            "image_size": results["img_size"],
            "parameters": counts["parameters"],
            "macs": counts["macs"],
            "seconds": [float(f"{s:.6g}") for s in seconds],
            "family": [find_family(WITHDRAWN.get(m, (m,))[0]) for m in results["model"]],
            "current": [today(m) for m in results["model"]],
            "source": source,
        }
    )


def today(name: str) -> str:
    """Today's name of a model of the table; empty where timm no longer has that checkpoint."""
    return "" if name in WITHDRAWN else find_current_name(THEN.get(name, name))


def report(table: pd.DataFrame, results: pd.DataFrame, gmacs: np.ndarray) -> None:
    """Print the check against timm's own numbers, and the fronts. gmacs: of timm, float [rows]."""
    rows = table.assign(published=gmacs, counted=table["macs"].astype(float) / GIGA)
    rows["ratio"] = rows["counted"] / rows["published"]
    print(
        f"{len(table)} models, {table['seconds'].isna().sum()} without time, "
        f"{table['macs'].isna().sum()} without MACs"
    )
    off = (table["parameters"].astype(float) / 1e6 - results["param_count"]).abs() > 0.0051
    print(f"parameters other than timm's: {table['model'][off].tolist()}")
    both = rows[rows["ratio"].notna()]
    others = both[(both["counted"] - both["published"]).abs() > ROUNDING + 1e-4]
    least, most = both["ratio"][both["published"] >= 1].agg(["min", "max"])
    print(
        f"of {len(both)} published GMACs, {len(both) - len(others)} agree to their two decimals; "
        "the others:"
    )
    print(others[["model", "image_size", "macs", "published", "ratio"]].to_string(index=False))
    print(f"of one GMAC and more, counts are {least:.4f} to {most:.4f} of timm's")
    indexed = table.set_index("model")
    for cost in ("macs", "seconds"):
        front = front_of(indexed, cost)
        print(f"front in {cost}: {len(front)} models: {', '.join(front)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tables",
        type=Path,
        help="folder with timm's files (default: download those of 2022-07-27)",
    )
    parser.add_argument("--today", action="store_true", help="download those of 2026-01-06")
    parser.add_argument("--results", default=RESULTS)
    parser.add_argument("--v2", default=V2)
    parser.add_argument("--benchmark", help="for the seconds (default: the RTX 3090's)")
    parser.add_argument(
        "--out", type=Path, help="default, for the files of 2022 only: the package's own"
    )
    parser.add_argument(
        "--source", help="what the table says of files that no known commit of timm has"
    )
    parser.add_argument(
        "--near",
        type=float,
        metavar="FACTOR",
        help="count only rows so near a front in timm's GMACs",
    )
    parser.add_argument("--limit", type=float, default=300, help="seconds that one count may take")
    parser.add_argument("--counts", type=Path, default=HERE.parents[1] / "build" / "macs.jsonl")
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="models that are counted at a time"
    )
    parser.add_argument("--threads", type=int, default=1, help="of each")
    options = parser.parse_args()
    files = FILES_TODAY if options.today else FILES
    if options.tables is None and {options.results, options.v2, options.benchmark or RESULTS} - set(
        files
    ):
        parser.error(f"other files than {', '.join(files)} are read from a folder: --tables FOLDER")
    folder = options.tables or downloaded(options.today)
    paths = paths_of(folder, options.results, options.v2, options.benchmark)
    source = source_of(paths, options.source)
    if options.out is None and source != OF_2022:
        parser.error(f"{OWN.name} is for the files of 2022-07-27; say where these go: --out FILE")
    torch.set_num_threads(options.threads)
    results, v2, benchmark = map(read_table, paths)
    results = kept(results)
    seconds = 1 / measured(results, benchmark, "infer_samples_per_sec")
    gmacs = gmacs_of(
        results, [benchmark, *map(read_table, sorted(folder.glob("benchmark-infer-*.csv")))]
    )
    counts = counts_of(results, seconds, gmacs, options, source == OF_2022)
    table = table_of(results, v2, seconds, counts, source)
    report(table, results, gmacs)
    if options.out is None and table["macs"].isna().any():
        parser.error(f"{OWN.name} needs all counts; some are missing: more time is --limit SECONDS")
    write(table, options.out or OWN)


def counts_of(
    results: pd.DataFrame,
    seconds: np.ndarray,
    gmacs: np.ndarray,
    options: argparse.Namespace,
    trained: bool,
) -> pd.DataFrame:
    """Counts of the rows that the options ask for, the cheapest first; a row a row of results."""
    chosen = np.ones(len(results), bool)
    if options.near:
        chosen = near_a_front(results["top1"], gmacs, seconds, options.near)
        print(f"{chosen.sum()} of {len(results)} rows are near a front and counted", flush=True)
    order = np.flatnonzero(chosen)[np.argsort(gmacs[chosen], kind="stable")]
    models = list(zip(results["model"].iloc[order], results["img_size"].iloc[order].tolist()))
    found = counted(models, options.counts, options.limit, options.processes, trained)
    return found.set_axis(order).reindex(range(len(results)))


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the table as a whole: a reader, or an interrupted run, never leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as fresh:
        table.to_csv(fresh, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
