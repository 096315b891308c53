"""Extraction: equality with a plain loop, resumption, failing models, plans, parts."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import (
    INPUTS,
    LABELS,
    PROBES,
    SMALL,
    C,
    Counting,
    K,
    Scaled,
    conv_net,
    models,
    run,
)
from torch import nn

from cascadelib import datasets
from cascadelib.extraction import extraction, inference, shards
from cascadelib.extraction.extraction import extract, plan_extraction
from cascadelib.extraction.shards import Shards
from cascadelib.origin import samples_in_common
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.model import Model


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
    assert [record[key] for key in ("batch_size", "amp", "device")] == [8, False, "cpu"]
    assert record["versions"]["torch"] == torch.__version__
    assert "samples" not in record, "the digests of all samples"
    assert not (tmp_path / "s" / ".partial").exists()
    store.verify()


def test_equal_transforms_run_once_per_batch(tmp_path):
    def calls(given, probes):
        Scaled.calls.clear()
        run(given, tmp_path / str(len(list(tmp_path.iterdir()))))
        return Scaled.calls[probes:]

    batches = [8, 8, 8, 8, 8, 8, 2]
    assert calls({f"m{n}": (conv_net(n), Scaled(0.5)) for n in (1, 2, 3)}, 1) == batches
    assert calls({f"m{n}": (conv_net(n), Scaled(0.1 * n)) for n in (1, 2)}, 2) == [
        b for b in batches for _ in range(2)
    ]


def test_the_store_has_the_origin_of_the_data_set(tmp_path):
    """Without ids, two data sets have equal row numbers, but share no samples."""
    ids = [f"image {row}" for row in range(K)]
    named = datasets.Samples(INPUTS, LABELS, ids, list("wxyz"), "toy", "test")
    data_sets = {"one": (INPUTS, LABELS), "other": (255 - INPUTS, LABELS), "named": named}
    one, other, store = (
        extract(models(), data_set, tmp_path / name, **SMALL)
        for name, data_set in data_sets.items()
    )
    assert (store.classes, store.dataset, store.split) == (tuple("wxyz"), "toy", "test")
    assert store.sample_ids[3] == "image 3" and store.origin.has_ids
    assert not one.origin.has_ids and samples_in_common(one.origin, other.origin) is None
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
    assert run(models(), tmp_path / "h", dtype="float16").logits("small").dtype == np.float16
    full = run(models(), tmp_path / "f").logits("small")
    for amp, recorded in ((True, "bfloat16"), ("float16", "float16")):
        mixed = run(models(), tmp_path / str(amp), amp=amp)
        assert mixed.metadata("small")["extraction"]["amp"] == recorded
        assert mixed.logits("small").dtype == np.float32
        assert 0 < abs(mixed.logits("small") - full).max() < 0.05


def test_a_compiled_module_is_a_model_like_any_other(tmp_path):
    module, transform = models()["small"]
    compiled = torch.compile(module, backend="eager", dynamic=True)  # without a C++ compiler
    store = run({"m": (compiled, transform)}, tmp_path / "c")
    plain = run({"m": (module, transform)}, tmp_path / "p")
    np.testing.assert_allclose(store.logits("m"), plain.logits("m"), atol=1e-5)
    assert store.models.macs["m"] == plain.models.macs["m"]
    assert len(run({"m": (compiled, transform)}, tmp_path / "p").models) == 1  # the same model


def damage(folder):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")


# What differs in the second call: a function of the module and the folder, a transform, options.
CHANGES = {
    "weights": (lambda module, _: nn.init.constant_(module.linear.bias, 1), None, {}),
    "transform": (lambda *_: None, lambda x: x.float(), {}),
    "batch size": (lambda *_: None, None, {"batch_size": 4, "shard_size": 16}),
    "dtype": (lambda *_: None, None, {"dtype": "float64"}),
    "damage": (lambda _, folder: damage(folder), None, {}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_shards_of_another_run_are_not_used(tmp_path, case):
    change, transform, options = CHANGES[case]
    with pytest.raises(KeyboardInterrupt):
        run({"m": Counting(PROBES + 6)}, tmp_path / "s")
    module = Counting()
    change(module, tmp_path / "s" / ".partial" / "m")
    store = run({"m": (module, transform)}, tmp_path / "s", **options)
    assert sum(module.batches[PROBES:]) == K
    fresh = run({"m": (module, transform)}, tmp_path / "fresh", **options)
    assert store.logits("m").tobytes() == fresh.logits("m").tobytes()


def test_another_process_may_change_the_store_during_an_extraction(tmp_path, monkeypatch):
    run({"m": Counting()}, tmp_path / "s")
    real = extraction._form_groups

    def replaced_meanwhile(*arguments):
        LogitStore(tmp_path / "s").add("m", np.ones((K, C)), macs=1, replace=True)
        return real(*arguments)

    monkeypatch.setattr(extraction, "_form_groups", replaced_meanwhile)
    store = run({"n": Counting()}, tmp_path / "s")
    assert {*store.models.index} == {"m", "n"}


def test_a_call_that_cannot_share_the_folder_is_refused_before_the_run(tmp_path, monkeypatch):
    module = Counting()
    with (
        Shards(tmp_path / "s").join({"batch_size": 3}),
        pytest.raises(ValueError, match="other settings .*batch_size 3 there, 8 here"),
    ):
        run({"m": module}, tmp_path / "s")
    monkeypatch.setattr(shards, "holds_locks", lambda path: False)
    with pytest.raises(ValueError, match=r"s/\.partial: its disk holds no locks\. .*part=.*merge"):
        run({"m": module}, tmp_path / "s")
    assert module.batches == [] and not (tmp_path / "s" / "manifest.json").exists()
    assert not [*(tmp_path / "s").glob(f".partial/{shards.PROCESSES}")]


REFUSED = {
    "too few classes": (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), "'bad'.*3 classes"),
    "uncountable": (nn.Sequential(nn.GRU(6, 4, batch_first=True)), "'bad'.*gru.*macs="),
    "no module": (lambda x: x, "'bad' must be a torch module"),
    "metadata": (Model("bad", Counting(), None, {"tags": {1, 2}}), "'bad': metadata 'tags' must"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_outputs_that_are_not_logits_are_refused(tmp_path, case):
    module, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        run({"good": Counting(), "bad": module}, tmp_path / "s")
    store = run({"good": Counting()}, tmp_path / "s")
    assert list(store.models.index) == ["good"]


def test_numbers_of_numpy_are_stored_as_plain_ones(tmp_path):
    facts = {"price": np.float32(0.5), "sizes": np.arange(3), "missing": float("nan")}
    models = {"m": Model("m", Counting(), None, facts)}
    store = run(models, tmp_path / "s", macs={"m": np.int64(7)}, batch_size=np.int64(4))
    metadata = store.metadata("m")
    assert (metadata["price"], metadata["sizes"], metadata["macs"]) == (0.5, [0, 1, 2], 7)
    assert np.isnan(metadata["missing"]) and metadata["extraction"]["batch_size"] == 4
    assert len(run(models, tmp_path / "s", batch_size=4).models) == 1  # the same model


def test_one_line_before_the_start_and_a_bar_in_a_terminal_only(tmp_path, capsys, monkeypatch):
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    size = 2 * K * C * 4 / 1000
    expected = f"2 models × {K} samples: less than 1 s, {size:g} kB on disk\n"
    assert capsys.readouterr() == (expected, "")
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    run(models(), tmp_path / "t")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(inference, "is_watched", lambda: True)
    extract(models(), (INPUTS, LABELS), tmp_path / "u", batch_size=8)
    err = capsys.readouterr().err
    assert "/100" in err and err.rsplit("\r", 1)[-1].strip() == ""


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
    net = nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten())
    models = {"net": (net, lambda image: torch.tensor(np.array(image)).view(-1, 8, 8) / 255)}
    with pytest.raises(ValueError, match=r'grey images, image_folder\(…, mode="L"\)'):
        extract(models, datasets.image_folder(tmp_path / "photos"), tmp_path / "rgb")
    grey = datasets.image_folder(tmp_path / "photos", mode="L")
    assert len(extract(models, grey, tmp_path / "grey").models) == 1


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


FAILURES = {
    "raises": (boom, r"KeyError\('boom'\)"),
    "nan": (lambda y: y * float("nan"), "nan or inf in the logits of row (8|40) "),
    "narrow": (lambda y: y[:, :3], r"returned \(8, 3\) for rows"),
}


@pytest.mark.parametrize(
    ("at", "names"), [(0, ["raises"]), (PROBES, [*FAILURES]), (PROBES + 4, [*FAILURES])]
)
def test_a_failing_model_does_not_stop_the_others(tmp_path, at, names):
    bad = {name: Failing(at, FAILURES[name][0]) for name in names}
    given = {"a": Counting()} | bad | {"b": Counting()}
    macs = dict.fromkeys(given, 1)
    with pytest.raises(ValueError, match=rf"{len(bad)} of {len(given)} models failed") as caught:
        run(given, tmp_path / "s", macs=macs)
    for name in names:
        (line,) = [line for line in str(caught.value).splitlines() if f"model '{name}'" in line]
        assert re.search(FAILURES[name][1], line)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    store = LogitStore(tmp_path / "s")
    alone = run({"a": Counting()}, tmp_path / "t")
    assert {*store.models.index} == {"a", "b"}
    assert store.logits("a").tobytes() == alone.logits("a").tobytes()
    healed = {name: Failing(99, boom) if name in bad else Counting() for name in given}
    assert len(run(healed, tmp_path / "s", macs=macs).models) == len(given)
    assert not list((tmp_path / "s").glob(".*"))


def test_files_of_a_killed_run_are_removed(tmp_path):
    run({"lock": Counting()}, tmp_path / "s")
    Shards(tmp_path / "s").write("lock", {}, (0, 2), np.eye(2, dtype=np.float32), [])
    (tmp_path / "s" / ".lock.safetensors.0123456789ab.cascadelib-tmp").write_bytes(b"half")
    store = run({"lock": Counting()}, tmp_path / "s")
    assert list(store.models.index) == ["lock"] and not list((tmp_path / "s").glob(".*"))


def test_a_plan_lists_the_groups_and_stores_nothing(tmp_path, capsys, monkeypatch):
    given = {f"m{width}": (conv_net(width), Scaled(0.01)) for width in (2, 20, 40)}
    options = SMALL | {"memory": 4e-5}
    call = (given, (INPUTS, LABELS), tmp_path / "s")
    first, *lines = plan_extraction(*call, **options).splitlines()
    size = f"3 models × {K} samples: less than 1 s, 2.4 kB on disk"
    assert len(lines) > 1 and first == f"{size}, {len(lines)} groups within 40 kB"
    line = re.compile(r"  group \d: (\d) models?, \d\d kB of memory, less than 1 s")
    assert sum(int(line.fullmatch(text)[1]) for text in lines) == 3
    with monkeypatch.context() as patched:
        patched.setattr(extraction, "_estimate_seconds", lambda *_: 30.0)
        assert f": about {30 * len(lines)} s," in plan_extraction(*call, **options)
    assert not (tmp_path / "s").exists()
    extract(*call, **options | {"progress": True})
    assert capsys.readouterr().out.splitlines()[1:] == lines
    assert plan_extraction(*call, **options) == f"{tmp_path / 's'} has all 3 models"


def test_existing_shards_cost_no_time_in_a_plan(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "format_duration", "{:.6f}".format)
    data = (INPUTS, LABELS)
    options = {"batch_size": 5, "shard_size": 25, "progress": False, "macs": {"m": 1}}

    def plan():
        text = plan_extraction({"m": Counting()}, data, tmp_path / "s", **options)
        return float(text.split(": ")[1].split(",")[0])

    monkeypatch.setattr("cascadelib.zoo.forward.time.perf_counter", iter(range(10**6)).__next__)
    whole = plan()
    with pytest.raises(KeyboardInterrupt):
        extract({"m": Counting(2 + 7)}, data, tmp_path / "s", **options)  # one of two shards
    assert plan() == pytest.approx(whole / 2)


def test_parts_of_the_models_are_merged_into_one_store(tmp_path):
    given = {f"m{width}": (conv_net(width), Scaled(0.01)) for width in (1, 2, 3, 4, 5)}
    whole = run(given, tmp_path / "whole")
    parts = [run(given, tmp_path / str(part), part=(part, 3)) for part in range(3)]
    assert [sorted(part.models.index) for part in parts] == [["m1", "m4"], ["m2", "m5"], ["m3"]]
    merged = LogitStore.merge([tmp_path / str(part) for part in range(3)], tmp_path / "merged")
    merged.verify()
    assert merged.models.macs.to_dict() == whole.models.macs.to_dict()
    for name in given:
        assert merged.logits(name).tobytes() == whole.logits(name).tobytes()
        recorded = [store.metadata(name)["extraction"] for store in (merged, whole)]
        assert recorded[0] == recorded[1]
    assert len(run(given, tmp_path / "merged").models) == 5  # nothing is computed again
