"""Arguments of an extraction, and models that the store has."""

import os
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import INPUTS, LABELS, SMALL, C, Counting, K, Scaled, conv_net, models, run
from torch import nn

from cascadelib import datasets
from cascadelib.extraction.extraction import extract
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.model import Model


def sized(size):
    return {"small": Model("small", conv_net(2), Scaled(0.01), {"image_size": size})}


# What differs in the second call: (message, models, inputs, options).
DIFFERENT = {
    "weights": ("weights_sha256: ", {"small": (conv_net(3), Scaled(0.01))}, INPUTS, {}),
    "transform": ("transform: ", {"small": (conv_net(2), Scaled(0.02))}, INPUTS, {}),
    "inputs": ("inputs: ", models(), 255 - INPUTS, {}),
    "amp": ("amp: False stored, 'bfloat16' requested", models(), INPUTS, {"amp": "bfloat16"}),
    "amp=True": ("amp: False stored, 'bfloat16'", models(), INPUTS, {"amp": True}),
    "image_size": ("image_size: 6 stored, 8 requested", sized(8), INPUTS, {}),
}


@pytest.mark.parametrize("case", DIFFERENT)
def test_another_model_of_the_same_name_is_refused_unless_it_may_be_replaced(tmp_path, case):
    message, given, inputs, changed = DIFFERENT[case]
    options = SMALL | {"device": "cpu", "amp": False}
    store = extract(models(), (INPUTS, LABELS), tmp_path / "s", **options)
    before = store.logits("small").tobytes()
    again = (given, (inputs, LABELS), tmp_path / "s")
    with pytest.raises(ValueError, match=f"another 'small' .*{message}.*replace=True"):
        extract(*again, **options | changed)
    assert LogitStore(tmp_path / "s").logits("small").tobytes() == before
    store = extract(*again, **options | changed, replace=True)
    assert case == "image_size" or store.logits("small").tobytes() != before
    assert len(store.models) == 2
    extract(*again, **options | changed)  # the same again


def test_the_default_of_amp_accepts_either_setting(tmp_path):
    run(models(), tmp_path / "s", amp="bfloat16")
    done = Counting()
    store = run({"m": done}, tmp_path / "s", amp="bfloat16")
    ran = len(done.batches)
    run({"m": done}, tmp_path / "s")
    assert len(done.batches) == ran and store.metadata("m")["extraction"]["amp"] == "bfloat16"


def test_a_store_of_another_split_is_refused(tmp_path):
    run(models(), tmp_path / "s")
    before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    for inputs, labels in ((INPUTS[1:], LABELS[1:]), (INPUTS, (LABELS + 1) % C)):
        with pytest.raises(ValueError, match="another split"):
            extract(models(), (inputs, labels), tmp_path / "s", **SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == before


def test_macs_can_be_passed(tmp_path):
    class Table(nn.Module):
        def forward(self, x):
            return x[:, 0, :C]

    with pytest.raises(ValueError, match="'m'.*0 MACs.*macs="):
        run({"m": Table()}, tmp_path / "s")
    store = run({"m": Table()}, tmp_path / "s", macs={"m": 12})
    assert store.costs("macs").tolist() == [12]
    for wrong, message in (({"n": 1}, "unknown model in macs 'n'"), ({"m": -1}, "'m'.*positive")):
        with pytest.raises(ValueError, match=message):
            run({"m": Table()}, tmp_path / "s", macs=wrong)


FIVE_CLASSES = datasets.Samples(INPUTS, LABELS, classes=list("vwxyz"))


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"amp": "float8"}, "unknown amp 'float8'; nearest: .*'float16'"),
        ({"models": {}}, "no models"),
        ({"models": ["linear@28", "linear@28"]}, "more than once"),
        ({"models": {"": conv_net(2)}}, "name"),
        ({"dataset": (INPUTS, LABELS[1:])}, "50 inputs for 49 labels"),
        ({"dataset": FIVE_CLASSES}, "'m' gives 4 classes. The data set has 5"),
        ({"dataset": torch.utils.data.DataLoader([1, 2])}, "DataLoader"),
        ({"models": ["lenet28"]}, "unknown model 'lenet28'"),
        ({"workers": -1}, "workers must be a whole number"),
        ({"memory": 0}, "memory must be a positive number of GB"),
        (
            {"memory": 1e-7},
            "memory=1e-07 GB is too small for model 'm', whose weights have 5.92e-07 GB",
        ),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, keywords, message):
    given = {"models": {"m": Counting()}, "dataset": (INPUTS, LABELS)} | keywords
    with pytest.raises(ValueError, match=message):
        extract(path=tmp_path / "s", **given)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.fixture
def read_only():
    """Return a function that makes a folder read-only for this user. Root becomes another user
    until the test ends."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)

        def close(folder):
            for path in (*folder.iterdir(), folder):
                path.chmod(0o555)
            if root:
                os.seteuid(65534)

        yield Path(base) / "s", close
        if root:
            os.seteuid(0)
        (Path(base) / "s").chmod(0o755)


def test_a_read_only_store_is_read_and_not_written(read_only):
    folder, close = read_only
    run({"a": Counting()}, folder)
    (folder / ".a.safetensors.0123456789ab.cascadelib-tmp").write_bytes(b"half")
    close(folder)
    again = run({"a": Counting()}, folder)
    assert list(again.models.index) == ["a"]
    for given, options in (({"b": Counting()}, {}), ({"a": Counting()}, {"replace": True})):
        with pytest.raises(OSError, match=re.escape(str(folder))):
            run(given, folder, **options)
    with pytest.raises(OSError, match=re.escape(str(folder))):
        again.add("b", np.zeros((K, C)))
    assert list(again.models.index) == list(LogitStore(folder).models.index) == ["a"]


def test_a_model_with_a_damaged_file_is_extracted_again(tmp_path):
    store = run(models(), tmp_path / "s")
    before = store.logits("small").tobytes()
    (tmp_path / "s" / "small.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="small"):
        store = run(models(), tmp_path / "s")
    assert store.logits("small").tobytes() == before
