"""Make the table of pretrained ImageNet models: timm's published accuracies and speeds, and MACs
counted by fvcore.

    tables.py                             the paper's 668 models → the table in cascadelib
    tables.py --tables FOLDER             from local copies of timm's three files
    tables.py --tables FOLDER --near 1.1 --out models-today.csv
                                          newer tables (--results, --v2 and --benchmark if those
                                          have other names, or for another GPU)

Without ``--tables`` the files of 2022-07-27, or with ``--today`` those of 2026-01-06, are
downloaded from that commit and checked against pinned SHA-256 sums. The source of a table follows
from the sums of the files. For files of neither of two known commits of timm, it must be stated
with ``--source``. The table is written after the report. Rows are printed and omitted if this timm
lacks their model, or if the checkpoint has other classes than ImageNet's 1,000.

Each count is written to ``build/macs.jsonl``, so an interrupted run resumes. With ``--near``, only
rows that can be on a front are counted. The models of the bundled table are counted in their
training form, as in the paper. All others are counted in their deployed form, with branches and
norms folded if timm can.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

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

    Raises SystemExit if no known commit has the files and nothing is stated.
    """
    sums = {pooch.file_hash(str(path)) for path in paths}
    for source, known in SOURCES.items():
        if known >= sums:
            return source
    if stated is None:
        raise SystemExit("no known commit has these files: state their source with --source")
    return stated


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


def rows_of(cache: Path) -> list[dict]:
    """Return the counts of earlier runs with this timm. An incomplete last line is removed."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    text = cache.read_text(encoding="utf-8") if cache.is_file() else ""
    if text and not text.endswith("\n"):
        whole, _, _ = text.rpartition("\n")
        text = whole + "\n" if whole else ""
        cache.write_text(text, encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if row["timm"] == timm.__version__]


def counted(models: Iterable[tuple], cache: Path, trained: bool) -> pd.DataFrame:
    """Return counts of (name, size) pairs, stored in ``cache``: macs and parameters, or nan.

    A pair that could not be counted is printed, and tried again in the next run.
    """
    models = list(models)
    done = {
        (row["model"], row["size"]): row
        for row in rows_of(cache)
        if row["macs"] and row.get("trained", True) == trained
    }
    left = [model for model in models if model not in done]
    with open(cache, "a", encoding="utf-8") as file:
        for name, size in tqdm(left, disable=not is_watched()):
            try:
                macs, parameters = macs_of(name, size, trained)
            except (ValueError, RuntimeError) as error:
                print(f"{name} at {size}: {error}", file=sys.stderr, flush=True)
                continue
            row = {"model": name, "size": size, "macs": macs, "parameters": parameters}
            done[name, size] = row | {"timm": timm.__version__, "trained": trained}
            print(json.dumps(done[name, size]), file=file, flush=True)
    found = [done.get(key, {}) for key in models]
    return pd.DataFrame(found, columns=["macs", "parameters"], dtype="Int64")


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


def report(table: pd.DataFrame, gmacs: np.ndarray) -> None:
    """Print counts that differ from timm's own, and the fronts. gmacs: of timm, float [rows]."""
    rows = table.assign(published=gmacs, counted=table["macs"].astype(float) / GIGA)
    others = rows[(rows["counted"] - rows["published"]).abs() > ROUNDING + 1e-4]
    print(f"of {len(rows)} models, {len(others)} have other GMACs than timm publishes:")
    print(others[["model", "image_size", "macs", "published"]].to_string(index=False))
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
    parser.add_argument("--counts", type=Path, default=HERE.parents[1] / "build" / "macs.jsonl")
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
    results, v2, benchmark = map(read_table, paths)
    results = kept(results)
    seconds = 1 / measured(results, benchmark, "infer_samples_per_sec")
    gmacs = gmacs_of(
        results, [benchmark, *map(read_table, sorted(folder.glob("benchmark-infer-*.csv")))]
    )
    counts = counts_of(results, seconds, gmacs, options, source == OF_2022)
    table = table_of(results, v2, seconds, counts, source)
    report(table, gmacs)
    if options.out is None and table["macs"].isna().any():
        parser.error(f"{OWN.name} needs all counts; some are missing")
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
    found = counted(models, options.counts, trained)
    return found.set_axis(order).reindex(range(len(results)))


def write(table: pd.DataFrame, path: Path) -> None:
    """Write the table as a whole: a reader, or an interrupted run, never leaves half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as fresh:
        table.to_csv(fresh, index=False, lineterminator="\n")


if __name__ == "__main__":
    main()
