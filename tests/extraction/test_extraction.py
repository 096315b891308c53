"""Extraction: equality with a plain loop, resumption, failing models, full disks."""

import errno
import re
from pathlib import Path

import numpy as np
import pytest
import torch
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
from cascadelib.extraction import extraction, inference, planning
from cascadelib.extraction.extraction import extract
from cascadelib.origin import samples_in_common
from cascadelib.store.logit_store import LogitStore
from cascadelib.zoo.loaders import Source
from cascadelib.zoo.model import Model


def test_logits_equal_those_of_a_plain_loop(tmp_path):
    given = models()
    given["small"][0].train()
    store = run(given, tmp_path / "s", batch_size=np.int64(8))
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


def test_amp_is_applied_and_recorded(tmp_path):
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
    "batch size": (lambda *_: None, None, {"batch_size": 4}),
    "amp": (lambda *_: None, None, {"amp": True}),
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
    real = extraction.run_group

    def replaced_meanwhile(*arguments):
        LogitStore(tmp_path / "s").add("m", np.ones((K, C)), macs=1, replace=True)
        return real(*arguments)

    monkeypatch.setattr(extraction, "run_group", replaced_meanwhile)
    store = run({"n": Counting()}, tmp_path / "s")
    assert {*store.models.index} == {"m", "n"}


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


def test_a_line_after_each_group_and_a_bar_in_a_terminal_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(extraction.time, "perf_counter", iter(range(0, 10**6, 41)).__next__)
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    out, err = capsys.readouterr()
    assert re.fullmatch(r"2 of 2 models after \d+ s\n", out) and err == ""
    extract(models(), (INPUTS, LABELS), tmp_path / "s", batch_size=8)
    run(models(), tmp_path / "t")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(inference, "is_watched", lambda: True)
    extract(models(), (INPUTS, LABELS), tmp_path / "u", batch_size=8)
    err = capsys.readouterr().err
    assert "2 of 2 models after" in err and "/100" in err
    assert err.rsplit("\r", 1)[-1].strip() == ""


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
    "nan": (lambda y: y * float("nan"), "nan or inf in the logits of row (8|40)\\b"),
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


def test_a_store_of_models_with_other_settings_is_not_overwritten(tmp_path, monkeypatch):
    """Another process may store a model with other settings after this one has started."""
    real = extraction.run_group

    def stored_meanwhile(*arguments):
        monkeypatch.setattr(extraction, "run_group", real)
        run({"m": Counting()}, tmp_path / "s", batch_size=4)
        return real(*arguments)

    monkeypatch.setattr(extraction, "run_group", stored_meanwhile)
    with pytest.raises(ValueError, match="has another 'm', which another process stored"):
        run({"m": Counting()}, tmp_path / "s")
    assert LogitStore(tmp_path / "s").metadata("m")["extraction"]["batch_size"] == 4


def sources(loaded, bias=0.0):
    """Return the sources of two models, which record when they are loaded."""

    def load(name):
        loaded.append(name)
        module = Counting()
        nn.init.constant_(module.linear.bias, bias)
        return Model(name, module)

    return [Source(name, lambda name=name: load(name)) for name in "ab"]


def test_stored_models_are_loaded_only_to_verify_them(tmp_path):
    loaded = []
    first, second = sources(loaded)
    run([first], tmp_path / "s")
    loaded.clear()
    run([first, second], tmp_path / "s")
    assert loaded == ["b"]
    run([first, second], tmp_path / "s", verify=True)
    assert loaded == ["b", "a", "b"]
    changed = sources(loaded, bias=1.0)
    run(changed, tmp_path / "s")
    with pytest.raises(ValueError, match="2 of 2 models failed:\n.*another 'a' .*weights_sha256"):
        run(changed, tmp_path / "s", verify=True)


@pytest.fixture
def groups_of_one(monkeypatch):
    """Let a group have one model."""
    monkeypatch.setattr(planning, "FIRST_LOADING", 0.0)


def test_replacing_continues_after_an_interruption(tmp_path, groups_of_one):
    run({name: Counting() for name in "ab"}, tmp_path / "s")
    changed = {"a": Counting(), "b": Counting(PROBES + 4)}
    for module in changed.values():
        nn.init.constant_(module.linear.bias, 1.0)
    with pytest.raises(KeyboardInterrupt):
        run(changed, tmp_path / "s", replace=True)
    done = LogitStore(tmp_path / "s").logits("a").tobytes()
    changed["b"].fail_at = None
    ran = [len(module.batches) for module in changed.values()]
    store = run(changed, tmp_path / "s", replace=True)
    assert [len(module.batches) for module in changed.values()] == [ran[0], ran[1] + PROBES + 3]
    assert store.logits("a").tobytes() == store.logits("b").tobytes() == done
    assert not list((tmp_path / "s").glob(".*"))


def test_a_full_disk_is_explained_and_a_repeated_call_continues(
    tmp_path, monkeypatch, groups_of_one
):
    """The shards and the logits of one model exist at the same time."""
    given = {name: Counting() for name in "ab"}
    needed = 2 * K * C * 4
    usage = planning.shutil.disk_usage(tmp_path)
    frees = iter([needed, needed - 1])
    monkeypatch.setattr(
        planning.shutil, "disk_usage", lambda path: usage._replace(free=next(frees))
    )
    reason = "1.6e-06 GB are needed, 1.599e-06 GB are free"
    text = f"the disk of {tmp_path}/s is full ({reason}): 1 of 2 models"
    with pytest.raises(OSError, match=re.escape(text)) as caught:
        run(given, tmp_path / "s")
    assert caught.value.errno == errno.ENOSPC and "same call continues" in str(caught.value)
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: usage)

    def fill(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(OSError, match=r"is full \(No space left on device\): 1 of 2 models"):
            run(given, tmp_path / "s")
    assert len(run(given, tmp_path / "s").models) == 2
    assert not list((tmp_path / "s").glob(".*"))
