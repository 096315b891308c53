"""Damage stores, cascade files, studies and tables at random: reading one raises an error that
names the file, or returns the same data. CSV and parquet have no checksum, so there another table
may be read.

``python tests/fuzz.py --minutes 10`` (``make fuzz``) tries more cases than the tests.
"""

import argparse
import io
import json
import os
import secrets
import shutil
import struct
import tempfile
import time
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.files import file_name
from cascadelib.policy.form import text_of

JUNK = [None, True, -1, 0, 1.5, 10**400, float("inf"), "", "x" * 5000, [], {}, [[]], {"a": None}]
JUNK += ["1", [1, 2, 3], 2**63]
DEEP = "[" * 100_000 + "]" * 100_000


def flipped(content, rng):
    """Flip one bit."""
    data = bytearray(content)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def lengthened(content, rng):
    return content + rng.bytes(int(rng.integers(1, 50)))


def spliced(content, rng):
    """Replace some bytes by others."""
    at = int(rng.integers(len(content)))
    return (
        content[:at] + rng.bytes(int(rng.integers(0, 9))) + content[at + int(rng.integers(0, 9)) :]
    )


def noise(content, rng):
    return rng.bytes(int(rng.integers(0, 300)))


def places(value, path=()):
    """Every place in a JSON value, as the keys that lead there."""
    yield path
    inside = ()
    if isinstance(value, dict):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    for key, inner in inside:
        yield from places(inner, (*path, key))


def edited(value, rng):
    """Text of a JSON value with one place deleted, doubled, replaced, or nested too deeply."""
    value = json.loads(json.dumps(value))
    where = list(places(value))
    path = where[rng.integers(len(where))]
    if not path:
        return json.dumps(JUNK[rng.integers(len(JUNK))])
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    kind = rng.integers(5)
    if kind == 0:
        del inside[path[-1]]
    elif kind == 1 and isinstance(inside, dict):
        inside["unknown"] = inside[path[-1]]
    elif kind == 2:
        inside[path[-1]] = "DEEP"
        return json.dumps(value).replace('"DEEP"', DEEP)
    else:
        inside[path[-1]] = JUNK[rng.integers(len(JUNK))]
    return json.dumps(value)


def edited_json(content, rng):
    try:
        return edited(json.loads(content), rng).encode()
    except ValueError:
        return flipped(content, rng)


def edited_header(content, rng):
    """A safetensors file with an edited header, and its length or an absurd one."""
    length = int.from_bytes(content[:8], "little")
    header = edited(json.loads(content[8 : 8 + length]), rng).encode()
    stated = len(header) if rng.random() < 0.8 else int(rng.integers(2**62))
    return struct.pack("<Q", stated) + header + content[8 + length :]


def edited_npz(content, rng):
    """labels.npz with another shape or type in the headers of its arrays."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            data = archive.read(name)
            if rng.random() < 0.6:
                kind = str(rng.choice(["<i8", "|O", "<U4", "<f8", "V9", "?"]))
                shape = [(40,), (10**15,), (), (2**62, 2**62), (-1,), (0,)][rng.integers(6)]
                header = {"descr": kind, "fortran_order": False, "shape": shape}
                text = str(header).encode().ljust(117) + b"\n"
                data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data[128:]
            new.writestr(name if rng.random() < 0.9 else "other.npy", data)
    return out.getvalue()


ANY = [flipped, flipped, truncated, lengthened, spliced, noise]


def damage_bytes(path, rng):
    """Damage the content of a file by a method for its format."""
    suited = {".json": edited_json, ".safetensors": edited_header, ".npz": edited_npz}
    own = suited.get(path.suffix, spliced)
    how = [*ANY, own, own][rng.integers(len(ANY) + 2)]
    path.write_bytes(how(path.read_bytes(), rng))
    return f"{how.__name__} {path.name}"


def damage_place(path, rng):
    """Replace a file by nothing, a folder, a pipe, a link, or another file of the folder."""
    content = path.read_bytes()
    others = [p for p in sorted(path.parent.iterdir()) if p.is_file() and p != path]
    other = others[rng.integers(len(others))]
    kind = int(rng.integers(7))
    path.unlink()
    if kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.symlink_to("/dev/zero")
    elif kind == 4:
        path.symlink_to(path.name)
    elif kind >= 5:
        path.write_bytes(other.read_bytes())
    if kind == 6:  # the two files change places
        other.write_bytes(content)
    return f"place {kind} {path.name}"


def make_store(folder):
    """Write a small store with three models."""
    rng = np.random.default_rng(0)
    ids = [f"{row}.png" for row in range(40)]
    store = cl.LogitStore.create(folder, rng.integers(0, 4, 40), ids, "abcd", "toy", "val")
    for i, name in enumerate(("small", "a/b@224", "large")):
        costs = {"macs": 10**i, "seconds": 0.1 * 10**i}
        logits = rng.normal(size=(40, 4))
        store.add(name, logits, **costs, family="net", extraction={"amp": False})


def read_all(folder):
    """Return all data of a store by name, and the warnings and errors about its models."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = cl.LogitStore(folder)
    found = {"labels": store.labels.tolist(), "ids": store.sample_ids.tolist()}
    found |= {"classes": store.classes, "len": len(store)}
    found["origin"] = (store.dataset, store.split, store.origin.fingerprint)
    failures = [str(w.message) for w in caught]
    for name in store.models.index:
        try:
            values = store.logits(name).tolist()
        except (ValueError, OSError) as error:
            failures.append(str(error))
            continue
        found[name] = values, store.models.loc[name].dropna().to_dict(), store.metadata(name)
    return found, failures


def check_store(whole, folder, what):
    """Check that a damaged store has the same data, or errors that name its files."""
    try:
        found, failures = read_all(folder)
    except (ValueError, OSError) as error:
        check_error(error, folder.name, what, IsADirectoryError)
        return
    lost = whole.keys() - found.keys()
    unnamed = [name for name in lost if not any(file_name(name) in text for text in failures)]
    assert not unnamed, (what, unnamed)
    assert repr(found) == repr({key: whole[key] for key in found}), what


def check_error(error, name, what, *more):
    """Check that an error names the file, and is not of a more special type than is documented."""
    assert type(error) in (ValueError, FileNotFoundError, OSError, *more), (what, repr(error))
    assert name in str(error), (what, str(error))


def model_of(name):
    """Return a model that looks up the logits of rows."""
    noise = np.random.default_rng(len(name)).normal(size=(40, 4))
    table = 2 * np.eye(4)[np.arange(40) % 4] + noise
    return lambda rows: table[np.asarray(rows)]


def make_cascades(folder):
    """Write two cascades of three models."""
    folder.mkdir()
    logits = {name: model_of(name)(range(40)) for name in ("m", "mm", "mmm")}
    costs = {name: 10 ** len(name) for name in logits}
    store = cl.LogitStore.from_arrays(np.arange(40) % 4, logits, macs=costs, dataset="toy")
    for file, method in (("a.json", "entropy"), ("b.json", "max_softmax_mean_logits_ts")):
        point = cl.pick(cl.search(store, 3, method), "match_best", caution=0)
        cl.Policy.from_point(point, store).save(folder / file)


def read_cascade(path):
    """Return text of the decisions and the data of a cascade file."""
    models = {name: model_of(name) for name in cl.Policy.load(path).models if set(name) == {"m"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cascade = cl.Cascade.load(path, models)
    again = path.with_name("again.json")
    cascade.save(again)
    assert text_of(cl.Policy.load(again).point) == text_of(cascade.point)
    again.unlink()
    decisions = cascade(np.arange(40))
    found = [repr(cascade), text_of(cascade.point)]
    return repr([*found, decisions.exit_stage.tolist(), decisions.confidence.tolist()])


def make_tables(folder):
    """Write two tables of scores, each as CSV, gzipped CSV and parquet."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, k in (("a", 30), ("b", 40)):
        columns = {
            "sample": np.tile([f"{row:04d}" for row in range(k)], 2),
            "model": np.repeat(["small", "large"], k),
            "label": np.tile(rng.choice(["01", "02"], k), 2),
            "prediction": rng.choice(["01", "02", "77"], 2 * k),
            "confidence": rng.random(2 * k),
            "cost": np.repeat([1, 10], k),
        }
        frame = pd.DataFrame(columns)
        frame.to_csv(folder / f"{name}.csv", index=False)
        frame.to_csv(folder / f"{name}.csv.gz", index=False)
        frame.to_parquet(folder / f"{name}.parquet")


def read_scores(path):
    """Return text of all data of a table."""
    table = cl.ScoreTable.from_frame(path, label="label", prediction="prediction")
    parts = (table.sample_ids, table.labels, table.predictions, table.confidence, table.cost)
    return repr([table.names, *(part.tolist() for part in parts)])


def fuzz(make, read, seed, cases=None, seconds=60.0):
    """Damage copies of the files that ``make`` writes. Return the number of damaged copies."""
    rng = np.random.default_rng(seed)
    tried = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        folder = Path(base) / "damaged"
        make(whole)
        names = sorted(path.name for path in whole.iterdir())
        expected = read_all(whole)[0] if read is None else {read(whole / name) for name in names}
        while time.monotonic() < end and (cases is None or tried < cases):
            shutil.copytree(whole, folder)
            path = folder / names[rng.integers(len(names))]
            how = damage_place if rng.random() < 0.15 else damage_bytes
            what = f"seed {seed}, case {tried}: {how(path, rng)}"
            if read is None:
                check_store(expected, folder, what)
            else:
                check_file(expected, path, read, what)
            shutil.rmtree(folder)
            tried += 1
    return tried


def check_file(expected, path, read, what):
    """Check that a damaged file has the data of one of the files, or an error that names it."""
    try:
        found = read(path)
    except (ValueError, OSError) as error:
        check_error(error, path.name, what)
        return
    has_no_study = found == "None" and not os.path.lexists(path)
    assert path.suffix in (".csv", ".parquet") or has_no_study or found in expected, what


ATTACKS = {
    "stores": (make_store, None),
    "cascade files and studies": (make_cascades, read_cascade),
    "tables": (make_tables, read_scores),
}
fuzz_stores, fuzz_cascades, fuzz_tables = (partial(fuzz, *attack) for attack in ATTACKS.values())

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    for name, attack in ATTACKS.items():
        count = fuzz(*attack, options.seed, seconds=20 * options.minutes)
        print(f"{count} damaged {name}: no silent change, each error names its file")
