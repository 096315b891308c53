"""Make the table of pretrained ImageNet models: timm's published accuracies and speeds, and MACs counted by fvcore.

    python data/imagenet-1k/tables.py                       the paper's 668 models → the table in cascadelib/studies
    python data/imagenet-1k/tables.py --tables FOLDER       from local copies of timm's three files
    python data/imagenet-1k/tables.py --tables FOLDER --benchmark benchmark-infer-….csv --out models-today.csv
        newer tables, another GPU (--results and --v2 where those are called otherwise too)

Without ``--tables`` the three files of 2022-07-27 are downloaded from that commit and checked against pinned SHA-256
sums. What a table says of its source follows from the sums of the files; of files that neither of two known commits
of timm has, it must be stated with ``--source``. The table is written last, once all of it and the report are there.
Counts go into ``build/macs.jsonl`` one by one: interrupted, it goes on where it stopped.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

os.environ["TIMM_FUSED_ATTN"] = "0"  # before timm is imported: what is fused, fvcore does not see

import numpy as np
import pandas as pd
import pooch
import timm
import torch
from timm.models import get_arch_name
from tqdm import tqdm

from cascadelib import published
from cascadelib.zoo.forward import kept_memory
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.timm_models import WITHDRAWN, build_timm_model, current_name, family

HERE = Path(__file__).parent
COMMIT = "e987e29036"
BASE = f"https://raw.githubusercontent.com/huggingface/pytorch-image-models/{COMMIT}/results/"
RESULTS, V2 = "results-imagenet.csv", "results-imagenetv2-matched-frequency.csv"
BENCHMARK = "benchmark-infer-amp-nhwc-pt112-cu113-rtx3090.csv"
FILES = {
    RESULTS: "9fedcb2ad4f9f4dda893643144e31e00efbae8253c087905b9fc216710ff4813",
    V2: "95c001155827b444bd28eff7d260eb166b077e2e0a994400402c40b5a8fb45e5",
    BENCHMARK: "60de666305eaff54ae6add74063dab948ed298c6b0e800b940a1b61a4ebf8ef8",
}
OF_2022 = f"timm results/ at {COMMIT} (2022-07-27)"
SOURCES = {
    OF_2022: set(FILES.values()),
    "timm results/ at 90cae8c5 (2026-01-06)": {
        "30972bf7c7ab451bbd4480ec6116b13d0a84441c57bbc946896fd312264acfcd",
        "1d066d8897c40224b14f3cf1d02029c49ebdc56b761ba9a3841bd3bdd3bd0a8e",
        "6e1260e7fa846cb43cd928c1a5a02ea798fb579ecca7042d099c29ee031f3f2a",  # RTX 5090
        "0ee56fb006cad780c5931d314422874777502d408f734273bcac4c74d5e3c67a",  # RTX 3090
    },
}  # a commit's files by their SHA-256
OWN = published.TABLE
GIGA = 1e9
# What went by this name in 2022 is called otherwise now, and another network has taken the name.
THEN = {"tnt_s_patch16_224": "tnt_s_legacy_patch16_224.in1k"}


def paths_of(folder, results, v2, benchmark) -> list[Path]:
    """The three files, in a folder or downloaded."""
    names = (results, v2, benchmark)
    if folder is None:
        progress = sys.stderr.isatty()
        return [Path(pooch.retrieve(BASE + n, known_hash=FILES[n], progressbar=progress)) for n in names]
    paths = [Path(folder) / name for name in names]
    for path in paths:
        if not path.is_file():
            raise SystemExit(f"no {path}; expected timm's results/{path.name}")
    return paths


def source_of(paths, stated=None) -> str:
    """Where files come from by their SHA-256: the commit that has all of them, else what is stated of them.

    SystemExit where nothing is stated, naming the files that no known commit has, or where it is stated of a known
    commit's files that they come from elsewhere.
    """
    sums = {path.name: pooch.file_hash(str(path)) for path in paths}
    found = next((source for source, known in SOURCES.items() if known.issuperset(sums.values())), None)
    if found is not None and stated not in (None, found):
        raise SystemExit(f"these files are those of {found!r}, not of {stated!r}: leave --source out")
    if found is None and stated is None:
        unknown = [name for name, digest in sums.items() if not any(digest in known for known in SOURCES.values())]
        why = f"no known commit has {', '.join(unknown)}" if unknown else "they are of several commits"
        raise SystemExit(f"where do these files come from? {why}: state it with --source")
    return found or stated


def read_table(path) -> pd.DataFrame:
    """A table of timm's; numbers from a thousand on may have separators ("1,014.45")."""
    return pd.read_csv(path, thousands=",")


def macs_of(name: str, size: int) -> tuple[int, int]:
    """(MACs an image, parameters) of a timm model with random weights at ``size`` pixels."""
    module = build_timm_model(THEN.get(name, name), size)
    return count_macs(module, torch.zeros(1, 3, size, size)), sum(p.numel() for p in module.parameters())


def counted(models, cache: Path) -> pd.DataFrame:
    """Counts of (name, size) pairs, kept in ``cache``; columns macs, parameters. Prints what could not be counted."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    done = {}
    if cache.is_file():
        rows = map(json.loads, cache.read_text(encoding="utf-8").splitlines())
        done = {(r["model"], r["size"]): r for r in rows if r["timm"] == timm.__version__}
    with open(cache, "a", encoding="utf-8") as file, kept_memory():
        for name, size in tqdm(models, disable=not sys.stderr.isatty(), unit="model"):
            if (name, size) in done:
                continue
            start = time.perf_counter()
            try:
                macs, parameters = macs_of(name, size)
            except (ValueError, RuntimeError) as error:
                print(f"{name} at {size}: {error}", file=sys.stderr, flush=True)
                macs, parameters = None, None
            row = {"model": name, "size": size, "macs": macs, "parameters": parameters, "timm": timm.__version__}
            done[name, size] = row | {"counting_s": round(time.perf_counter() - start, 2)}
            file.write(json.dumps(done[name, size]) + "\n")
            file.flush()
    return pd.DataFrame([done[key] for key in models], columns=["model", "size", "macs", "parameters", "counting_s"])


def seconds_of(results, benchmark) -> np.ndarray:
    """Seconds an image, float [rows of results]: the benchmark's row of that name and size, with or without the tag."""
    speed = {(m, s): v for m, s, v in benchmark[["model", "infer_img_size", "infer_samples_per_sec"]].to_numpy()}
    keys = zip(results["model"], results["img_size"])
    found = [speed.get((m, s), speed.get((get_arch_name(m), s), np.nan)) for m, s in keys]
    return 1 / np.array(found, float)


def table_of(results, v2, benchmark, cache, source) -> pd.DataFrame:
    """The derived table, in the order of ``results``; columns: ``published.models``."""
    twice = results["model"].duplicated(keep=False)
    names = [f"{m}@{s}" if t else m for m, s, t in zip(results["model"], results["img_size"], twice)]
    counts = counted(list(zip(results["model"], results["img_size"].tolist())), cache)
    v2_top1 = {(m, s): v for m, s, v in v2[["model", "img_size", "top1"]].to_numpy()}
    return pd.DataFrame(
        {
            "model": names,
            "top1": (results["top1"] / 100).round(5),
            "top5": (results["top5"] / 100).round(5),
            "imagenetv2_top1": [
                round(v2_top1.get((m, s), np.nan) / 100, 5) for m, s in zip(results["model"], results["img_size"])
            ],
            "image_size": results["img_size"],
            "parameters": counts["parameters"].astype("Int64"),
            "macs": counts["macs"].astype("Int64"),
            "seconds": [float(f"{s:.6g}") for s in seconds_of(results, benchmark)],
            "family": [family(m) for m in results["model"]],
            "current": [today(m) for m in results["model"]],
            "source": source,
        }
    )


def today(name: str) -> str:
    """Today's name of a model of the table; empty where timm no longer has that checkpoint."""
    return "" if name in WITHDRAWN else current_name(THEN.get(name, name))


def report(table, results, benchmark) -> None:
    """Print the check against timm's own numbers, and the fronts."""
    rows = table.assign(arch=[get_arch_name(m) for m in results["model"]], millions=results["param_count"])
    off = rows[(rows["parameters"] / 1e6 - rows["millions"]).abs() > 0.0051]
    print(
        f"{len(table)} models, {table['macs'].isna().sum()} without MACs, {table['seconds'].isna().sum()} without time"
    )
    print(f"parameters other than timm's: {off['model'].tolist()}")
    gmacs = {(m, s): g for m, s, g in benchmark[["model", "infer_img_size", "infer_gmacs"]].to_numpy()}
    keys = list(zip(results["model"], rows["arch"], results["img_size"]))
    rows["published"] = [gmacs.get((m, s), gmacs.get((a, s), np.nan)) for m, a, s in keys]
    rows["ratio"] = rows["macs"].astype(float) / GIGA / rows["published"]
    same = (rows["macs"].astype(float) / GIGA - rows["published"]).abs() <= 0.0051
    print(
        f"of {rows['published'].notna().sum()} published GMACs, {same.sum()} agree to their two decimals; the others:"
    )
    others = rows[rows["published"].notna() & ~same]
    print(others[["model", "image_size", "macs", "published", "ratio"]].to_string(index=False))
    indexed = table.set_index("model")
    for cost in ("macs", "seconds"):
        front = published.singles(indexed, cost)
        print(f"front in {cost}: {front['on_front'].sum()} models: {', '.join(front.index[front['on_front']])}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=Path, help="folder with timm's files (default: download those of 2022-07-27)")
    parser.add_argument("--results", default=RESULTS)
    parser.add_argument("--v2", default=V2)
    parser.add_argument("--benchmark", default=BENCHMARK)
    parser.add_argument("--out", type=Path, help="default, for the files of 2022 only: the package's own")
    parser.add_argument("--source", help="what the table says of files that no known commit of timm has")
    parser.add_argument("--counts", type=Path, default=HERE.parents[1] / "build" / "macs.jsonl")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.tables is None and {options.results, options.v2, options.benchmark} != set(FILES):
        parser.error("other files than those of 2022-07-27 are read from a folder: --tables FOLDER")
    paths = paths_of(options.tables, options.results, options.v2, options.benchmark)
    source = source_of(paths, options.source)
    if options.out is None and source != OF_2022:
        parser.error(f"{OWN.name} is for the files of 2022-07-27; say where these go: --out FILE")
    torch.set_num_threads(options.threads)
    results, v2, benchmark = map(read_table, paths)
    table = table_of(results, v2, benchmark, options.counts, source)
    report(table, results, benchmark)
    write(table, options.out or OWN)


def write(table, path) -> None:
    """Write the table as a whole: a reader, or an interrupted run, never leaves half of it."""
    fresh = path.with_name(f".{path.name}.new")
    table.to_csv(fresh, index=False, lineterminator="\n")
    os.replace(fresh, path)


if __name__ == "__main__":
    main()
