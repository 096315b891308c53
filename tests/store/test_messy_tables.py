"""No messy file gives a false certificate, and the printed lines of pandas repair many of them."""

import re
import zlib

import numpy as np
import pandas as pd
import pytest
from messy_tables import FILES, SUFFIXES, numbered, outcome_of, planted, world_of

import cascadelib as cl

EPSILON = 0.03
NAMED = {"prediction": "prediction", "label": "label"}


def check_certificate(table, truth):
    """Check the loss of a certified cascade on the planted truth."""
    selection, certification = (table.take(slice(part, None, 2)) for part in range(2))
    certificate = cl.certify(certification, cl.search(selection), EPSILON, reference="large")
    assert certificate.point.models == ("small", "large")
    point = cl.evaluate(truth.table(), certificate.point)
    loss = np.mean(truth.answers["large"] == truth.labels) - point.accuracy
    assert loss <= EPSILON and point.saving > 1.3


def repair(frame, message):
    """Return a frame after each line of pandas of a message."""
    lines = re.findall(r"^    (frame.*)$", message, re.MULTILINE)
    variables = {"frame": frame}
    for line in lines:
        exec(line, variables)
    return variables["frame"] if lines else None


def refusal_of(source):
    """Return the table of a file or frame, or the text of its refusal."""
    try:
        return cl.ScoreTable.from_frame(source, **NAMED)
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("share", [0.1, 1.0])
@pytest.mark.parametrize("name", FILES)
def test_a_messy_file_is_refused_or_gives_a_true_certificate(name, share, tmp_path):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    truth = world_of(name)(rng)
    path = tmp_path / f"table{SUFFIXES.get(name, '.csv')}"
    path.write_bytes(FILES[name](truth, rng, share))
    found = refusal_of(path)
    assert isinstance(found, str) == (outcome_of(name) != "read"), found
    if outcome_of(name) == "repaired":
        found = refusal_of(repair(pd.read_csv(path, dtype=str, keep_default_na=False), found))
    if outcome_of(name) != "refused":
        check_certificate(found, truth)
        return
    if path.suffix == ".csv" and (lines := re.findall(r"^    frame.*$", found, re.MULTILINE)):
        frame = repair(pd.read_csv(path, dtype=str, keep_default_na=False), lines[-1])
        assert isinstance(refusal_of(frame), str) or name == "two readings"


@pytest.mark.parametrize("world", [planted, numbered(str), numbered("city {}".format)])
def test_clean_originals_are_read(world, tmp_path):
    truth = world(np.random.default_rng(0))
    pd.DataFrame(truth.rows()).to_csv(tmp_path / "t.csv", index=False)
    check_certificate(refusal_of(tmp_path / "t.csv"), truth)
