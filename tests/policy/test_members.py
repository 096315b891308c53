"""Compiled and traced members make equal decisions, and a file names the weights of its members."""

import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import cascadelib as cl
from cascadelib import Cascade, Method, Point
from cascadelib.policy import members
from cascadelib.policy.policy import Policy
from cascadelib.zoo.loaders import load
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.model import Model, describe_identity

IMAGES = cl.datasets.fashion_mnist("test").batch(0, 500)


def alone(name):
    """The point of a single model."""
    return Point((name,), (), (1.0,), 0.5, 1.0, 1.0, Method())


class Net(nn.Module):
    """A linear classifier of 8 numbers, with its own forward function."""

    def __init__(self, way=lambda layer, x: layer(x)):
        super().__init__()
        self.way = way
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.way(self.layer, x)


def test_compiled_members_and_cascades_have_the_identity_of_their_models(
    tmp_path, val, small_point
):
    cascade = Cascade.from_point(small_point, store=val)
    cascade.save(tmp_path / "c.json")
    plain = cascade(IMAGES)
    loaded = {name: load(name) for name in small_point.models}
    compiled = partial(torch.compile, dynamic=True, backend="eager")
    modules = {name: (compiled(model.module), model.transform) for name, model in loaded.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not as recorded")
        loaded = Cascade.load(tmp_path / "c.json", modules)
    np.testing.assert_array_equal(loaded(IMAGES).answers, plain.answers)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "c.json").read_text()
    again = torch.compile(cascade, backend="eager")(IMAGES[:37])
    np.testing.assert_array_equal(again.exit_stage, plain.exit_stage[:37])
    module, transform = modules["lenet@28"]
    macs = count_macs(module, transform(torch.as_tensor(IMAGES[:1])))
    assert macs == val.models.loc["lenet@28", "macs"]


POISON = (np.nan, np.inf, -np.inf)


FORMS = {
    "plain": lambda module: module,
    "compiled": lambda module: torch.compile(module, backend="eager"),
    "traced": lambda module: torch.jit.trace(module.eval(), torch.ones(2, 8)),
    "frozen": lambda module: torch.jit.freeze(torch.jit.trace(module.eval(), torch.ones(2, 8))),
    "half": lambda module: module.bfloat16(),
}


@pytest.mark.parametrize("form", FORMS)
def test_no_member_answers_an_input_that_is_not_finite(form):
    """The logits of this module are always finite."""
    module = Net(lambda layer, x: layer(torch.relu(-x.abs())).nan_to_num(1.0))
    cascade = Cascade.from_point(alone("odd"), {"odd": FORMS[form](module)})
    batch = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    for value in POISON:
        batch[2, 5] = value
        with pytest.warns(RuntimeWarning, match="by model: {'odd': 1}"):
            decisions = cascade(batch)
        assert np.flatnonzero(decisions.predictions < 0).tolist() == [2]
        assert np.flatnonzero(np.isnan(decisions.confidence)).tolist() == [2]


def test_inputs_are_not_changed(small_point):
    """Images of floats are not normalised in place for each model."""
    images = IMAGES[:40].float()
    cascade = Cascade.from_point(small_point)
    decisions = cascade(images)
    assert torch.equal(images, IMAGES[:40].float())
    np.testing.assert_array_equal(decisions.exit_stage, cascade(IMAGES[:40]).exit_stage)


def test_complex_inputs_are_refused():
    """Their imaginary part would be dropped."""
    with pytest.raises(ValueError, match="model 'odd' cannot run on complex64.*complex"):
        Cascade.from_point(alone("odd"), {"odd": Net()})(np.ones((3, 8), np.complex64))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.complex64])
@pytest.mark.parametrize("value", POISON)
def test_rows_that_are_not_finite_are_found_in_every_form_of_inputs(dtype, value):
    """A value that all samples share makes all of them unusable."""
    found = {}
    for name in ("images", "numbers", "shared", None):
        parts = {"images": torch.ones(3, 2, 4, 4, dtype=dtype), "mask": torch.ones(3, 7).long()}
        parts |= {"numbers": torch.ones(3, dtype=dtype), "shared": torch.ones(5, dtype=dtype)}
        if name is not None:
            parts[name][1] = value
        found[name] = members.unusable_rows(parts, 3)
        np.testing.assert_array_equal(found[name], members.unusable_rows((*parts.values(),), 3))
    assert found[None] is None and found["shared"].all()
    assert found["images"].tolist() == found["numbers"].tolist() == [False, True, False]
    assert not members.unusable_rows(torch.full((2, 2), 3e38), 2).any()  # the sum overflows


COMMIT = "0123456789abcdef0123456789abcdef01234567"


NAME = "resnet18.a1_in1k"


@pytest.fixture
def loads(monkeypatch):
    """The calls of the zoo, which always returns commit fff… of a small model."""
    asked = []

    def load_noted(name, anywhere=True, **options):
        asked.append((name, anywhere, options))
        metadata = {"checkpoint": {"revision": options.get("revision", "f" * 40)}}
        torch.manual_seed(0)
        return Model(name, Net(), None, metadata)

    monkeypatch.setattr(members, "load", load_noted)
    return asked


def saved(folder, revision=None, name=NAME, **record):
    """A cascade of one model in a file, with this record of it."""
    record |= {} if revision is None else {"checkpoint": {"revision": revision}}
    point = replace(alone(name), records=({"name": name, "classes": 4, **record},))
    Policy(point).save(folder / "c.json")
    return folder / "c.json"


@pytest.mark.parametrize(
    "revision", ["refs/pr/7", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", "", 7]
)
def test_a_file_cannot_choose_a_branch_or_a_pull_request(tmp_path, loads, revision):
    for name, words in ((NAME, "the revision"), ("a/b@refs/pr/7", "model 'a/b@refs/pr/7'")):
        path = saved(tmp_path, revision if name == NAME else None, name)
        for allow in (False, True):
            with pytest.raises(ValueError, match=rf"c\.json: {words}.*not the full hash"):
                Cascade.load(path, allow_download=allow)
        assert loads == [] and Cascade.load(path, {name: Net()})


def test_a_commit_is_loaded_only_if_downloading_is_allowed(tmp_path, loads):
    """The commits of pull requests, which anyone can open, are in the repository as well."""
    path = saved(tmp_path, COMMIT)
    Cascade.load(path, allow_download=True)
    assert loads.pop() == (NAME, True, {"revision": COMMIT})
    with pytest.raises(ValueError, match=f"c.json: model '{NAME}'.*{COMMIT}.*allow_down"):
        Cascade.load(path)
    assert loads.pop() == (NAME, False, {})


def test_another_commit_of_the_same_weights_is_the_same_model(tmp_path, loads):
    Cascade.load(saved(tmp_path, "f" * 40))
    digest = describe_identity(members.load(NAME))["weights_sha256"]
    assert Cascade.load(saved(tmp_path, COMMIT, weights_sha256=digest)).differences == ()
    with pytest.raises(ValueError, match="f+ has different weights"):
        Cascade.load(saved(tmp_path, COMMIT, weights_sha256="0" * 64))


def test_the_revision_in_a_name_may_be_a_commit(tmp_path, loads):
    for name, revision in ((f"a/b@{COMMIT}", None), ("a/b@v1", COMMIT)):
        Cascade.load(saved(tmp_path, revision, name), allow_download=True)
        assert loads.pop()[0] == name


def test_a_callable_receives_batches_unchanged():
    """A callable may accept nan as a missing value."""
    models = {"trees": lambda rows: np.isnan(rows).astype(float) * 3}
    trees = Cascade.from_point(alone("trees"), models)
    assert trees(np.array([[np.nan, 0], [0, np.nan]])).predictions.tolist() == [0, 1]
