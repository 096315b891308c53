"""Extraction: equality with a plain loop, shared transforms, resumption, refusals, estimates."""

import functools
import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cascadelib import datasets
from cascadelib.extraction import extraction, inference
from cascadelib.extraction.extraction import extract
from cascadelib.extraction.shards import Shards, shard_bounds
from cascadelib.origin import samples_in_common
from cascadelib.store import formats
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo import loaders
from cascadelib.zoo.forward import retain_freed_memory
from cascadelib.zoo.model import Model

K = 50
C = 4


torch.manual_seed(0)


INPUTS = torch.randint(0, 256, (K, 6, 6), dtype=torch.uint8)
LABELS = torch.randint(0, C, (K,))
SMALL = {
    "batch_size": 8,
    "shard_size": 17,
    "progress": False,
}  # shards of two batches; a last batch of two


def run(models, path, **options):
    """Extract logits of INPUTS in small shards."""
    return extract(models, (INPUTS, LABELS), path, **SMALL | options)


@dataclass(frozen=True)
class Scaled:
    """Transform that equals others with its factor and counts the calls of all instances."""

    factor: float
    calls = []

    def __call__(self, images):
        self.calls.append(len(images))
        return images.unsqueeze(1).float() * self.factor


def conv_net(width):
    torch.manual_seed(width)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(16 * width, C)
    )


def models():
    return {"small": (conv_net(2), Scaled(0.01)), "timm/large.v1@6": (conv_net(5), Scaled(0.01))}


class Counting(nn.Module):
    """Model that counts its batches and raises on batch ``fail_at`` (from 0, with trace and
    probes)."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.linear = nn.Linear(36, C)
        self.batches = []
        self.fail_at = fail_at
        nn.init.constant_(self.linear.weight, 0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        if len(self.batches) == self.fail_at:
            raise KeyboardInterrupt
        self.batches.append(len(x))
        return self.linear(x.flatten(1)) * x[:, 0, :4]


PROBES = 3  # one trace, one warm-up, one timed


def test_logits_equal_those_of_a_plain_loop(tmp_path):
    given = models()
    given["small"][0].train()
    store = run(given, tmp_path / "s")
    assert given["small"][0].training and not given["small"][0][1].num_batches_tracked
    for name, (module, transform) in given.items():
        with torch.inference_mode():
            expected = torch.cat([module.eval()(transform(x)) for x in INPUTS.split(8)]).numpy()
        np.testing.assert_allclose(store.logits(name), expected, atol=1e-5)
        row = store.models.loc[name]
        assert row.top1 == (expected.argmax(1) == LABELS.numpy()).mean()
        assert row.seconds > 0 and row.image_size == 6
        assert row.parameters == sum(p.numel() for p in module.parameters())
    assert list(store.models.macs) == [9 * 2 * 16 + 2 * 32 + 32 * C, 9 * 5 * 16 + 2 * 80 + 80 * C]
    record = store.metadata("small")["extraction"]
    assert (record["batch_size"], record["amp"], record["device"]) == (8, False, "cpu") and record[
        "versions"
    ]["torch"]
    np.testing.assert_array_equal(store.labels, LABELS)
    assert not (tmp_path / "s" / ".partial").exists()
    store.verify()


def test_a_module_is_restored_after_the_extraction(tmp_path):
    module = conv_net(3)
    strides = module[0].weight.stride()
    weights = {k: v.clone() for k, v in module.state_dict().items()}
    run({"a": (module, Scaled(0.5))}, tmp_path / "s")
    assert module[0].weight.stride() == strides and all(m.training for m in module.modules())
    assert all(torch.equal(v, weights[k]) for k, v in module.state_dict().items())


def test_equal_transforms_run_once_per_batch(tmp_path):
    def calls(given):
        Scaled.calls.clear()
        run(given, tmp_path / str(len(list(tmp_path.iterdir()))))
        return Scaled.calls[len(given) :]  # without one probe per model

    batches = [8, 8, 8, 8, 8, 8, 2]
    assert calls({f"m{n}": (conv_net(n), Scaled(0.5)) for n in (1, 2, 3)}) == batches
    assert calls({f"m{n}": (conv_net(n), Scaled(0.1 * n)) for n in (1, 2)}) == [
        b for b in batches for _ in range(2)
    ]


def test_bundled_models_are_extracted_by_name(tmp_path, monkeypatch):
    loaded = Model("lenet@28", conv_net(2), Scaled(0.1), {"family": "LeNet", "parameters": 7})
    monkeypatch.setattr(loaders, "load", {"lenet@28": loaded}.__getitem__)
    for asked in (["lenet@28"], "lenet@28"):
        store = run(asked, tmp_path / "s")
        assert (
            store.models.family["lenet@28"] == "LeNet" and store.models.parameters["lenet@28"] == 7
        )


def test_the_store_has_the_origin_of_the_data_set(tmp_path):
    samples = datasets.Samples(
        INPUTS, LABELS, [f"i{i}" for i in range(K)], list("wxyz"), "toy", "test"
    )
    store = extract(models(), samples, tmp_path / "s", **SMALL)
    assert (store.classes, store.dataset, store.split) == (tuple("wxyz"), "toy", "test")
    assert store.sample_ids[3] == "i3"


def test_row_numbers_are_not_ids_of_samples(tmp_path):
    """Without ids, two data sets have equal row numbers, but share no samples."""
    data_sets = {"one": (INPUTS, LABELS), "other": (255 - INPUTS, LABELS)}
    stores = [
        extract(models(), data_set, tmp_path / name, progress=False)
        for name, data_set in data_sets.items()
    ]
    assert [store.origin.has_ids for store in stores] == [False, False]
    assert samples_in_common(stores[0].origin, stores[1].origin) is None
    named = datasets.Samples(INPUTS, LABELS, [f"image {row}" for row in range(K)])
    store = extract(models(), named, tmp_path / "named", progress=False)
    assert store.origin.has_ids
    assert samples_in_common(store.origin, store.take([1, 2]).origin) == 2


def test_tuples_and_dicts_are_accepted_as_inputs_and_outputs(tmp_path):
    class Keywords(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(36, C)

        def forward(self, images, scale):
            class Output:
                logits = self.head(images.flatten(1)) * scale[:, None]

            return Output()

    def keywords(raw):
        return {"scale": torch.full((len(raw),), 2.0), "images": raw.float()}

    def positional(raw):
        return raw.float(), torch.full((len(raw),), 2.0)

    module = Keywords()
    store = run({"k": (module, keywords), "p": (module, positional)}, tmp_path / "s")
    expected = 2 * module.head(INPUTS.float().flatten(1))
    for name in "kp":
        np.testing.assert_allclose(store.logits(name), expected.detach(), rtol=1e-4, atol=1e-3)


def test_dtype_and_amp_are_applied_and_recorded(tmp_path):
    half = run(models(), tmp_path / "h", dtype="float16")
    assert half.logits("small").dtype == np.float16
    full = run(models(), tmp_path / "f")
    for amp, recorded in ((True, "bfloat16"), ("bfloat16", "bfloat16"), ("float16", "float16")):
        mixed = run(models(), tmp_path / str(amp), amp=amp)
        assert (
            mixed.metadata("small")["extraction"]["amp"] == recorded
            and mixed.logits("small").dtype == np.float32
        )
        assert 0 < abs(mixed.logits("small") - full.logits("small")).max() < 0.05


def test_compiled_models_agree_and_are_recorded(tmp_path, monkeypatch):
    compiled = []
    eager = functools.partial(
        torch.compile, backend="eager"
    )  # dynamo's tracing, without a C++ compiler
    monkeypatch.setattr(torch, "compile", lambda module: compiled.append(module) or eager(module))
    given = models()
    store = run(given, tmp_path / "c", compile=True)
    plain = run(given, tmp_path / "p")
    assert compiled == [module for module, _ in given.values()]
    for name in given:
        np.testing.assert_allclose(store.logits(name), plain.logits(name), atol=1e-5)
        assert [s.metadata(name)["extraction"]["compile"] for s in (store, plain)] == [True, False]
        assert (
            store.metadata(name)["extraction"]["weights_sha256"]
            == plain.metadata(name)["extraction"]["weights_sha256"]
        )


@pytest.mark.parametrize(
    ("count", "shard", "batch", "expected"),
    [
        (10, 4, 2, [(0, 4), (4, 8), (8, 10)]),
        (10, 5, 2, [(0, 4), (4, 8), (8, 10)]),
        (3, 1, 8, [(0, 3)]),
        (8, 8, 8, [(0, 8)]),
    ],
)
def test_shards_have_full_batches(count, shard, batch, expected):
    assert shard_bounds(count, shard, batch) == expected


@pytest.mark.parametrize("fail_at", [PROBES, PROBES + 1, PROBES + 3, PROBES + 6])
def test_an_interrupted_run_loses_at_most_one_shard(tmp_path, fail_at):
    whole = run({"m": Counting(), "n": Counting()}, tmp_path / "whole")
    interrupted = {"m": Counting(), "n": Counting(fail_at)}
    with pytest.raises(KeyboardInterrupt):
        run(interrupted, tmp_path / "s")
    assert all(m.training for m in interrupted.values())
    again = {"m": Counting(), "n": Counting()}
    store = run(again, tmp_path / "s")
    kept = (fail_at - PROBES) // 2  # shards of two batches
    for name, module in again.items():
        assert len(module.batches) == PROBES + 7 - 2 * kept
        assert store.logits(name).tobytes() == whole.logits(name).tobytes()
    assert not (tmp_path / "s" / ".partial").exists()


@pytest.mark.parametrize("change", ["weights", "transform", "batch_size", "dtype", "damage"])
def test_shards_of_another_run_are_not_used(tmp_path, change):
    with pytest.raises(KeyboardInterrupt):
        run({"m": Counting(PROBES + 6)}, tmp_path / "s")
    module = Counting()
    transform = None
    settings = dict(SMALL)
    if change == "weights":
        nn.init.constant_(module.linear.bias, 1)
    elif change == "transform":
        transform = Scaled(1.0)
        module = nn.Sequential(nn.Flatten(1, 2), module)
    elif change == "batch_size":
        settings |= {"batch_size": 4, "shard_size": 16}
    elif change == "dtype":
        settings |= {"dtype": "float64"}
    else:
        for path in (tmp_path / "s" / ".partial" / "m").iterdir():
            path.write_bytes(path.read_bytes()[:-1] + b"x")
    store = run({"m": (module, transform)}, tmp_path / "s", **settings)
    counter = module[1] if change == "transform" else module
    assert sum(counter.batches[PROBES:]) == K
    fresh = run({"m": (module, transform)}, tmp_path / "fresh", **settings)
    assert store.logits("m").tobytes() == fresh.logits("m").tobytes()


def test_finished_models_are_skipped_and_others_are_added(tmp_path):
    first = Counting()
    run({"a": first}, tmp_path / "s")
    done = len(first.batches)
    store = run({"a": first, "b": Counting()}, tmp_path / "s")
    assert len(first.batches) == done and set(store.models.index) == {"a", "b"}


def test_another_model_of_the_same_name_is_refused(tmp_path):
    store = run(models(), tmp_path / "s")
    before = store.logits("small").tobytes()
    other = {"small": (conv_net(3), Scaled(0.01))}
    with pytest.raises(ValueError, match="another 'small' .other weights_sha256.*replace=True"):
        run(other, tmp_path / "s")
    assert LogitStore(tmp_path / "s").logits("small").tobytes() == before
    store = run(other, tmp_path / "s", replace=True)
    assert store.logits("small").tobytes() != before and len(store.models) == 2


@pytest.mark.parametrize(
    ("setting", "value"), [("amp", "bfloat16"), ("amp", True), ("dtype", "float64")]
)
def test_logits_of_other_settings_are_refused(tmp_path, setting, value):
    store = run(models(), tmp_path / "s", amp=False, device="cpu")
    before = store.logits("small").tobytes()
    again = SMALL | {"device": "cpu", setting: value}
    with pytest.raises(ValueError, match=f"another '.*' .other {setting}: .*replace=True"):
        run(models(), tmp_path / "s", **again)
    assert LogitStore(tmp_path / "s").logits("small").tobytes() == before
    store = run(models(), tmp_path / "s", replace=True, **again)
    assert store.logits("small").tobytes() != before
    run(models(), tmp_path / "s", **again)


def test_compiled_logits_are_refused_for_an_uncompiled_model(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda module: module)
    run(models(), tmp_path / "s", compile=True)
    with pytest.raises(ValueError, match="other compile: True stored, False requested"):
        run(models(), tmp_path / "s")


def test_the_default_of_amp_accepts_either_setting(tmp_path):
    run(models(), tmp_path / "s", amp="bfloat16")
    done = Counting()
    store = run({"m": done}, tmp_path / "s", amp="bfloat16")
    ran = len(done.batches)
    run({"m": done}, tmp_path / "s")
    assert len(done.batches) == ran and store.metadata("m")["extraction"]["amp"] == "bfloat16"


def test_another_image_size_of_the_same_transform_is_refused(tmp_path):
    def at(size):
        return {"m": Model("m", Counting(), None, {"image_size": size})}

    run(at(6), tmp_path / "s")
    with pytest.raises(ValueError, match="other image_size: 6 stored, 8 requested"):
        run(at(8), tmp_path / "s")


def test_models_with_colliding_file_names_are_refused_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "ignores_case", lambda there: there.exists())
    module = Counting()
    with pytest.raises(ValueError, match="'M' and 'm'.*ignores case"):
        run({"m": module, "M": Counting()}, tmp_path / "s")
    run({"m": module}, tmp_path / "s")
    ran = len(module.batches)
    with pytest.raises(ValueError, match="'M' and 'm'.*ignores case"):
        run({"M": module}, tmp_path / "s")
    assert len(module.batches) == ran


def test_another_process_may_change_the_store_during_an_extraction(tmp_path, monkeypatch):
    run({"m": Counting()}, tmp_path / "s")
    real = extraction.probe_models

    def replaced_meanwhile(*arguments):
        LogitStore(tmp_path / "s").add("m", np.ones((K, C)), macs=1, replace=True)
        return real(*arguments)

    monkeypatch.setattr(extraction, "probe_models", replaced_meanwhile)
    store = run({"n": Counting()}, tmp_path / "s")
    assert {*store.models.index} == {"m", "n"}


def test_a_model_with_a_damaged_file_is_extracted_again(tmp_path):
    store = run(models(), tmp_path / "s")
    before = store.logits("small").tobytes()
    (tmp_path / "s" / "small.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="small"):
        store = run(models(), tmp_path / "s")
    assert store.logits("small").tobytes() == before


def test_a_store_of_another_split_is_refused(tmp_path):
    run(models(), tmp_path / "s")
    before = {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()}
    for inputs, labels in ((INPUTS[1:], LABELS[1:]), (INPUTS, (LABELS + 1) % C)):
        with pytest.raises(ValueError, match="another split"):
            extract(models(), (inputs, labels), tmp_path / "s", **SMALL)
    assert {p.name: p.read_bytes() for p in (tmp_path / "s").iterdir()} == before


class Constant(nn.Module):
    def __init__(self, output):
        super().__init__()
        self.linear = nn.Linear(6, 6)
        self.output = output

    def forward(self, x):
        return self.output(self.linear(x))


REFUSED = {
    "too few classes": (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), "'bad'.*3 classes"),
    "not two-dimensional": (Constant(lambda x: x), r"'bad' returned \(\d+, 6, 6\)"),
    "other batch": (Constant(lambda x: x[:1, 0, :4]), r"'bad' returned \(1, 4\)"),
    "no tensor": (Constant(lambda x: (x, x)), "'bad' returned tuple"),
    "nan": (Constant(lambda x: x[:, 0, :4] * float("nan")), "'bad'.*nan or inf.*row 0"),
    "uncountable": (nn.Sequential(nn.GRU(6, 4, batch_first=True)), "'bad'.*gru.*macs="),
    "no module": (lambda x: x, "'bad' must be a torch module"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_outputs_that_are_not_logits_are_refused(tmp_path, case):
    module, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        run({"good": Counting(), "bad": module}, tmp_path / "s")
    store = run({"good": Counting()}, tmp_path / "s")
    assert list(store.models.index) == ["good"]


def test_models_need_the_classes_of_the_data_set(tmp_path):
    samples = datasets.Samples(INPUTS, LABELS, classes=list("vwxyz"))
    with pytest.raises(ValueError, match="'m' gives 4 classes, the data set has 5"):
        extract({"m": Counting()}, samples, tmp_path / "s", **SMALL)


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


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"shard_size": 2.5}, "shard_size"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"amp": "float8"}, "unknown amp 'float8'; nearest: .*'float16'"),
        ({"models": {}}, "no models"),
        ({"models": ["linear@28", "linear@28"]}, "more than once"),
        ({"models": {"": conv_net(2)}}, "name"),
        ({"dataset": (INPUTS, LABELS[1:])}, "50 inputs for 49 labels"),
        ({"dataset": torch.utils.data.DataLoader([1, 2])}, "DataLoader"),
        ({"models": ["lenet28"]}, "unknown model 'lenet28'; nearest: .*'lenet@28'"),
        ({"workers": -1}, "workers must be a whole number"),
    ],
)
def test_invalid_arguments_are_refused(tmp_path, keywords, message):
    given = {"models": {"m": Counting()}, "dataset": (INPUTS, LABELS)} | keywords
    with pytest.raises(ValueError, match=message):
        extract(path=tmp_path / "s", **given)
    assert not (tmp_path / "s").exists()


def test_a_second_extraction_into_the_same_store_is_refused(tmp_path):
    with Shards(tmp_path / "s"), pytest.raises(ValueError, match="another process"):
        run({"m": Counting()}, tmp_path / "s")
    run({"m": Counting()}, tmp_path / "s")


def test_insufficient_disk_space_is_refused(tmp_path, monkeypatch):
    usage = extraction.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(extraction.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(ValueError, match="needed"):
        run({"m": Counting()}, tmp_path / "s")


def test_one_line_before_the_start_and_no_bar_without_a_terminal(tmp_path, capsys):
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    out, err = capsys.readouterr()
    assert (
        out.count("\n") == 1
        and out.startswith("2 models × 50 samples: less than 1 s, 0.0 MB")
        and err == ""
    )
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    run(models(), tmp_path / "t")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "less than 1 s"),
        (1.4, "about 1 s"),
        (119, "about 119 s"),
        (180, "about 3 min"),
        (9000, "about 2.5 h"),
    ],
)
def test_durations_are_formatted_with_a_unit(seconds, text):
    assert extraction.format_duration(seconds) == text


def test_the_error_of_a_grey_image_model_names_the_mode(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.new("L", (8, 8), 90).save(tmp_path / "photos" / name / "0.png")
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 8), torch.nn.Flatten())
    with pytest.raises(ValueError, match=r'grey images, image_folder\(…, mode="L"\)'):
        extract(
            {"net": (net, to_tensor)}, datasets.image_folder(tmp_path / "photos"), tmp_path / "rgb"
        )
    grey = datasets.image_folder(tmp_path / "photos", mode="L")
    assert len(extract({"net": (net, to_tensor)}, grey, tmp_path / "grey").models) == 1


def to_tensor(image):
    """Convert an image to channels first in [0, 1]."""
    values = np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)
    return torch.tensor(values / 255, dtype=torch.float32)


def test_the_progress_bar_in_a_terminal_is_removed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(inference, "is_watched", lambda: True)
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    err = capsys.readouterr().err
    assert "/100" in err and err.rsplit("\r", 1)[-1].strip() == ""


def test_shards_of_other_runs_or_damaged_ones_read_as_missing(tmp_path):
    with Shards(tmp_path) as shards, warnings.catch_warnings():
        warnings.simplefilter("error")
        shards.write("m/1", {"a": 1}, 0, 2, np.eye(2, dtype=np.float32), [0.5])
        assert (
            shards.read("m/1", {"a": 2}, 0, 2) is None
            and shards.read("m/1", {"a": 1}, 2, 4) is None
        )
        logits, seconds = shards.read("m/1", {"a": 1}, 0, 2)
        assert logits.tolist() == np.eye(2).tolist() and seconds == [0.5]
    assert sorted(p.name for p in (tmp_path / ".partial").iterdir()) == [".lock", "m%2F1"]


def test_changed_inputs_are_detected(tmp_path):
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 3)
    inputs = torch.randn(50, 4)
    labels = torch.arange(50) % 3
    extract({"a": module}, (inputs, labels), tmp_path / "s", progress=False)
    with pytest.raises(ValueError, match="inputs"):
        extract({"a": module}, (inputs * 9, labels), tmp_path / "s", progress=False)
    store = extract(
        {"a": module}, (inputs * 9, labels), tmp_path / "s", progress=False, replace=True
    )
    np.testing.assert_allclose(
        store.logits("a"), module(inputs * 9).detach().numpy(), rtol=1e-5, atol=1e-5
    )


class Failing(nn.Module):
    """Model that raises, or returns nan or another number of classes, from batch ``at`` on."""

    def __init__(self, at, fails):
        super().__init__()
        self.inner = Counting()
        self.at = at
        self.fails = fails
        self.batches = 0

    def forward(self, x):
        self.batches += 1
        return self.fails(self.inner(x)) if self.batches > self.at else self.inner(x)


def boom(_):
    raise KeyError("boom")


@pytest.mark.parametrize("at", [0, PROBES, PROBES + 4])
def test_a_failing_model_does_not_stop_the_others(tmp_path, at):
    bad = {
        "raises": (boom, r"KeyError\('boom'\)"),
        "nan": (lambda y: y * float("nan"), "nan or inf in the logits of row"),
        "narrow": (lambda y: y[:, :3], r"returned \(8, 3\) for rows"),
    }
    bad = {name: fails for name, fails in bad.items() if at or name == "raises"}
    given = (
        {"a": Counting()}
        | {name: Failing(at, fails) for name, (fails, _) in bad.items()}
        | {"b": Counting()}
    )
    macs = dict.fromkeys(given, 1)
    with pytest.raises(ValueError, match=rf"{len(bad)} of {len(given)} models failed") as caught:
        run(given, tmp_path / "s", macs=macs)
    for name, (_, message) in bad.items():
        assert (
            len([line for line in str(caught.value).splitlines() if f"model '{name}'" in line]) == 1
        )
        assert caught.match(f"model '{name}'.*{message}")
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    store = LogitStore(tmp_path / "s")
    assert set(store.models.index) == {"a", "b"}
    np.testing.assert_array_equal(
        store.logits("a"),
        run({"a": Counting()}, tmp_path / "t").logits("a"),
    )
    given = {name: Counting() if name in "ab" else Failing(99, boom) for name in given}
    assert len(run(given, tmp_path / "s", macs=macs).models) == len(given)
    assert not list((tmp_path / "s").glob(".*"))


def test_an_error_of_a_data_set_names_the_sample(tmp_path):
    class Broken(datasets.samples.Samples):
        def batch(self, start, stop):
            if start <= bad < stop:
                raise RuntimeError("the disk is gone")
            return super().batch(start, stop)

    samples = Broken(INPUTS, LABELS, [f"i{i}" for i in range(K)])
    for bad in (0, 3, 45):
        with pytest.raises(
            ValueError, match=rf"row {bad} \(i{bad}\): RuntimeError\('the disk is gone'\)"
        ):
            extract({"m": Counting()}, samples, tmp_path / "s", **SMALL)
    bad = K
    assert len(extract({"m": Counting()}, samples, tmp_path / "s", **SMALL).models) == 1


def test_files_of_a_killed_run_are_removed(tmp_path):
    run({"lock": Counting()}, tmp_path / "s")
    with Shards(tmp_path / "s") as shards:
        shards.write("lock", {"a": 1}, 0, 2, np.eye(2, dtype=np.float32), [0.5])
    (tmp_path / "s" / ".lock.safetensors.0123456789ab.cascadelib-tmp").write_bytes(b"half")
    store = run({"lock": Counting()}, tmp_path / "s")
    assert list(store.models.index) == ["lock"] and not list((tmp_path / "s").glob(".*"))


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
    for models, options in (({"b": Counting()}, {}), ({"a": Counting()}, {"replace": True})):
        with pytest.raises(OSError, match=re.escape(str(folder))):
            run(models, folder, **options)
    with pytest.raises(OSError, match=re.escape(str(folder))):
        again.add("b", np.zeros((K, C)))
    assert list(again.models.index) == list(LogitStore(folder).models.index) == ["a"]


@pytest.mark.parametrize("kinds", [[], pytest.param(["every"], marks=pytest.mark.soak)], ids=len)
def test_a_fault_at_any_call_loses_no_finished_model(tmp_path, kinds):
    script = Path(__file__).with_name("faults.py")
    environment = os.environ | {"PYTHONPATH": str(script.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), str(tmp_path), *kinds]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.removesuffix(" calls\n")) > 40


def page_faults(size=2**26):
    """Count the page faults of a tensor of ``size`` bytes that is filled and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(size, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc is not glibc's")
def test_freed_memory_is_reused_by_the_next_batch_and_then_released():
    with retain_freed_memory():
        first = page_faults()
        second = page_faults()
        assert second * 4 < first
    assert page_faults() > second * 4
