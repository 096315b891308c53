"""Damage to files, seeded: what is read of a damaged store, cascade, study or table is a
named error or the very same data (of a CSV or parquet table, which has no checksum: a whole one).

``python tests/fuzz.py --minutes 10`` looks for longer than the tests do (``make fuzz``).
"""

import argparse
import io
import json
import os
import secrets
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.files import digest_of, file_name
from cascadelib.policy.form import PARTS, text_of
from cascadelib.serve import Monitor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "notebooks"))
from tools.study import Images, Study, read_study  # noqa: E402

JUNK = [
    None,
    True,
    -1,
    0,
    1.5,
    10**400,
    float("inf"),
    "",
    "x" * 5000,
    [],
    {},
    [[]],
    {"a": None},
    "1",
    [1, 2, 3],
    2**63,
]
DEEP = "[" * 100_000 + "]" * 100_000


def flipped(content, rng):
    """One bit."""
    data = bytearray(content)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return bytes(data)


def truncated(content, rng):
    return content[: rng.integers(len(content))]


def lengthened(content, rng):
    return content + rng.bytes(int(rng.integers(1, 50)))


def spliced(content, rng):
    """Some bytes taken out, others put in."""
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
    """A JSON value with one place that holds something else, lacks, is there twice, or is too deep:
    its text."""
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
    """A safetensors file whose header says something else, with the length that fits it, or an
    absurd one."""
    length = int.from_bytes(content[:8], "little")
    header = edited(json.loads(content[8 : 8 + length]), rng).encode()
    stated = len(header) if rng.random() < 0.8 else int(rng.integers(2**62))
    return struct.pack("<Q", stated) + header + content[8 + length :]


def edited_npz(content, rng):
    """labels.npz whose arrays claim another shape or type than they have."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as new:
        for name in archive.namelist():
            data = archive.read(name)
            if rng.random() < 0.6:
                head = str(
                    {
                        "descr": str(rng.choice(["<i8", "|O", "<U4", "<f8", "V9", "?"])),
                        "fortran_order": False,
                    }
                )
                shape = [(40,), (10**15,), (), (2**62, 2**62), (-1,), (0,)][rng.integers(6)]
                text = (head[:-1] + f", 'shape': {shape}}}").encode().ljust(117) + b"\n"
                data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data[128:]
            new.writestr(name if rng.random() < 0.9 else "other.npy", data)
    return out.getvalue()


ANY = [flipped, flipped, truncated, lengthened, spliced, noise]


def damage_bytes(path, rng):
    """Damage what a file holds, in a manner that suits it."""
    suited = {".json": edited_json, ".safetensors": edited_header, ".npz": edited_npz}
    own = suited.get(path.suffix, spliced)
    how = [*ANY, own, own][rng.integers(len(ANY) + 2)]
    path.write_bytes(how(path.read_bytes(), rng))
    return f"{how.__name__} {path.name}"


def damage_place(path, rng):
    """Put something else in a file's place: nothing, a folder, a pipe, a link, another file of the
    store."""
    content = path.read_bytes()
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
    elif kind == 5:
        others = [p for p in sorted(path.parent.iterdir()) if p.is_file()]
        path.write_bytes(others[rng.integers(len(others))].read_bytes())
    elif kind == 6:  # and that one in its place
        other = sorted(
            p
            for p in path.parent.iterdir()
            if p.suffix == path.suffix or p.suffix == ".safetensors"
        )[0]
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
    return f"place {kind} {path.name}"


def make_store(folder):
    """A small store with three models; returns all that can be read from it."""
    rng = np.random.default_rng(0)
    store = cl.LogitStore.create(
        folder, rng.integers(0, 4, 40), [f"{i}.png" for i in range(40)], "abcd", "toy", "val"
    )
    for i, name in enumerate(("small", "a/b@224", "large")):
        store.add(
            name,
            rng.normal(size=(40, 4)),
            macs=10**i,
            seconds=0.1 * 10**i,
            family="net",
            extraction={"amp": False},
        )
    return read_all(folder)


def read_all(folder):
    """{what: value} of a store, and the failures of models that it names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = cl.LogitStore(folder)
    found = {
        "labels": store.labels.tolist(),
        "ids": store.sample_ids.tolist(),
        "classes": store.classes,
    }
    found |= {"origin": (store.dataset, store.split, store.fingerprint), "len": len(store)}
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
    """Raise AssertionError where a damaged store gives other data, or a traceback that names no
    file."""
    try:
        found, failures = read_all(folder)
    except (ValueError, OSError) as error:
        assert type(error) in (ValueError, FileNotFoundError, OSError, IsADirectoryError), (
            what,
            repr(error),
        )
        assert folder.name in str(error), (what, str(error))
        return
    lost = whole.keys() - found.keys()
    assert lost <= {name for name in lost if any(file_name(name) in text for text in failures)}, (
        what,
        lost,
    )
    for key, value in found.items():
        assert key in whole and repr(value) == repr(whole[key]), (what, key)


def fuzz_stores(seed, cases=None, seconds=60.0):
    """Damage copies of a store, so many or for so long: how many were tried."""
    rng = np.random.default_rng(seed)
    tried = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as base:
        whole, _ = make_store(Path(base) / "whole")
        names = sorted(path.name for path in (Path(base) / "whole").iterdir())
        while time.monotonic() < end and (cases is None or tried < cases):
            folder = Path(base) / "damaged"
            shutil.copytree(Path(base) / "whole", folder)
            path = folder / names[rng.integers(len(names))]
            how = damage_place if rng.random() < 0.15 else damage_bytes
            what = f"seed {seed}, case {tried}: {how(path, rng)}"
            check_store(whole, folder, what)
            shutil.rmtree(folder)
            tried += 1
    return tried


def resealed(path, rng):
    """Edit a cascade or a study, and let its checksum fit again: what it says then is another
    thing, or an error."""
    text = edited(json.loads(path.read_text()), rng)
    try:
        content = json.loads(text)
        if "format" in content:
            content["checksum"] = digest_of(
                {part: content[part] for part in PARTS if part in content}
            )
        else:
            content["sha256"] = digest_of(
                {key: content[key] for key in content.keys() - {"sha256"}}
            )
        text = json.dumps(content)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass  # as it is
    path.write_text(text)
    return f"resealed {path.name}"


def rows_of(name):
    """A model that looks the logits of rows up."""
    table = 2 * np.eye(4)[np.arange(40) % 4] + np.random.default_rng(len(name)).normal(size=(40, 4))
    return lambda rows: table[np.asarray(rows)]


def make_cascades(folder):
    """Two cascades of three models and a study in a folder."""
    folder.mkdir()
    labels = np.arange(40) % 4
    names = ("m", "mm", "mmm")
    store = cl.LogitStore.from_arrays(
        labels,
        {n: rows_of(n)(range(40)) for n in names},
        macs={n: 10 ** len(n) for n in names},
        dataset="toy",
    )
    for file, method in (("a.json", "entropy"), ("b.json", "max_softmax_mean_logits_ts")):
        point = cl.pick(cl.search(store, 3, method), "match_best", caution=0)
        cl.Policy.from_point(point, store).save(folder / file)
    Study({"val": Images("image_folder", "/there", every=3)}, ("resnet18",), "/weights").save(
        folder
    )


def used(path):
    """All that can be read from a cascade or a study, each made use of; text that tells two of them
    apart."""
    if path.name == "study.json":
        return repr(read_study(path.parent))
    policy = cl.Policy.load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cascade = cl.Cascade.load(
            path, {name: rows_of(name) for name in policy.models if set(name) == {"m"}}
        )
    return cascade


def run(cascade, path):
    """What a loaded cascade decides and says; no error, but where a model has other classes than
    the file has."""
    again = path.with_name("again.json")
    cascade.save(again)
    assert text_of(cl.Policy.load(again).point) == text_of(cascade.point)
    again.unlink()
    try:
        decisions = cascade(np.arange(40))
    except ValueError as error:
        assert "classes" in str(error), error
        return ""
    monitor = Monitor(cascade)
    monitor.observe(decisions)
    said = [monitor.table.to_string(), repr(cascade)]
    said += [repr(monitor.drift().tests)] if cascade.point.expected else []
    return repr(
        [
            said,
            text_of(cascade.point),
            decisions.exit_stage.tolist(),
            decisions.confidence.tolist(),
        ]
    )


def read_whole(path):
    """What is read of a cascade or a study and comes of its use: text."""
    found = used(path)
    return found if isinstance(found, str) else run(found, path)


def fuzz_cascades(seed, cases=None, seconds=60.0):
    """Damage cascade files and studies, so many or for so long: how many were tried."""
    rng = np.random.default_rng(seed)
    tried = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        folder = Path(base) / "damaged"
        make_cascades(whole)
        names = sorted(path.name for path in whole.iterdir())
        known = {name: read_whole(whole / name) for name in names}
        while time.monotonic() < end and (cases is None or tried < cases):
            shutil.copytree(whole, folder)
            path = folder / names[rng.integers(len(names))]
            kind = rng.random()
            how = damage_bytes
            if kind < 0.15:
                how = damage_place
            elif kind < 0.5:
                how = resealed
            what = f"seed {seed}, case {tried}: {how(path, rng)}"
            try:
                found = used(path)
            except (ValueError, OSError) as error:
                assert type(error) in (ValueError, FileNotFoundError, OSError), (what, repr(error))
                assert path.name in str(error), (what, str(error))
                found = None
            if found is not None:
                found = found if isinstance(found, str) else run(found, path)
                gone = found == "None" and not os.path.lexists(path)
                assert how is resealed or gone or found in known.values(), what
            shutil.rmtree(folder)
            tried += 1
    return tried


def make_tables(folder):
    """Two tables of scores, each as CSV, gzipped CSV and parquet."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, k in (("a", 30), ("b", 40)):
        frame = pd.DataFrame(
            {
                "sample": np.tile([f"{row:04d}" for row in range(k)], 2),
                "model": np.repeat(["small", "large"], k),
                "label": np.tile(rng.choice(["01", "02"], k), 2),
                "prediction": rng.choice(["01", "02", 'say "x"'], 2 * k),
                "confidence": rng.random(2 * k),
                "cost": np.repeat([1, 10], k),
            }
        )
        frame.to_csv(folder / f"{name}.csv", index=False)
        frame.to_csv(folder / f"{name}.csv.gz", index=False)
        frame.to_parquet(folder / f"{name}.parquet")


def read_scores(path):
    """All that is read of a table: text that tells two of them apart."""
    table = cl.ScoreTable.from_frame(path, label="label", prediction="prediction")
    parts = (table.sample_ids, table.labels, table.predictions, table.confidence, table.cost)
    return repr([table.names, *(part.tolist() for part in parts)])


def fuzz_tables(seed, cases=None, seconds=60.0):
    """Damage tables of scores, so many or for so long: how many were tried.

    A gzipped file has a checksum: what is read of it is what was written. CSV and parquet have
    none: there another table may be read, but a whole one, and never is the error raw.
    """
    rng = np.random.default_rng(seed)
    tried = 0
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as base:
        whole = Path(base) / "whole"
        folder = Path(base) / "damaged"
        make_tables(whole)
        names = sorted(path.name for path in whole.iterdir())
        known = {read_scores(whole / name) for name in names}
        while time.monotonic() < end and (cases is None or tried < cases):
            shutil.copytree(whole, folder)
            path = folder / names[rng.integers(len(names))]
            how = damage_place if rng.random() < 0.15 else damage_bytes
            what = f"seed {seed}, case {tried}: {how(path, rng)}"
            try:
                found = read_scores(path)
            except (ValueError, OSError) as error:
                assert type(error) in (ValueError, FileNotFoundError, OSError), (what, repr(error))
                assert path.name in str(error), (what, str(error))
                found = None
            assert found is None or path.suffix != ".gz" or found in known, what
            shutil.rmtree(folder)
            tried += 1
    return tried


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    attacks = {
        "stores": fuzz_stores,
        "cascade files and studies": fuzz_cascades,
        "tables": fuzz_tables,
    }
    for what, fuzz in attacks.items():
        print(
            f"{fuzz(options.seed, seconds=20 * options.minutes)} damaged {what}: no silent change, "
            "no raw error"
        )
