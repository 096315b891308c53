"""Frozen and compiled members make equal decisions. Members that cannot be frozen are named."""

import copy
import pickle
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cascadelib as cl
from cascadelib import Cascade, LogitStore, Method, Point, pick, search
from cascadelib.policy import members
from cascadelib.policy.members import check_same
from cascadelib.policy.policy import Policy
from cascadelib.zoo.loaders import load
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.model import Model, describe_identity

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cascade_runs import same_decisions  # noqa: E402 - benchmarks are no package

FEW = 500
IMAGES = cl.datasets.fashion_mnist("test").batch(0, FEW)
PARTS = ("predictions", "exit_stage")


@pytest.fixture(scope="session")
def lenet_point(val):
    return pick(search(val, 2, models=["lenet@28", "resnet18_w8@28"]), "max_improvement")


def alone(name):
    """The point of a single model."""
    return Point((name,), (), (1.0,), 0.5, 1.0, 1.0, Method())


def check_equal(found, expected):
    """Compare the decisions of the samples of ``found``."""
    for part in PARTS:
        np.testing.assert_array_equal(getattr(found, part), getattr(expected, part)[: len(found)])


@pytest.fixture(autouse=True)
def choose_the_last_graph(monkeypatch):
    """Use the last graph, whichever is fastest on this machine."""
    monkeypatch.setattr(members.np, "argmin", lambda seconds: len(seconds) - 1)


def graphs(cascade):
    return [bool(member.graphs) for member in cascade.members]


def test_an_optimized_cascade_makes_equal_decisions(tmp_path, val, held_out, lenet_point):
    cascade = Cascade.from_point(lenet_point, store=val, held_out=held_out)
    cascade.save(tmp_path / "before.json")
    plain = cascade(IMAGES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cascade.optimize(IMAGES[:8]) is cascade and graphs(cascade) == [True, True]
    for size in (FEW, 64, 1, 7):
        decisions = cascade.run(cl.policy.pieces_of(IMAGES, size), 64)
        counts = same_decisions(held_out.take(slice(0, FEW)), lenet_point, decisions)
        assert counts["same"] + counts["near"] == FEW and counts["near"] <= 2
        np.testing.assert_allclose(decisions.confidence, plain.confidence, atol=1e-5)
    cascade.save(tmp_path / "after.json")
    assert (tmp_path / "after.json").read_text() == (tmp_path / "before.json").read_text()
    assert not any(module.training for module in cascade.train().modules())


@pytest.mark.soak
def test_copies_and_other_dtypes_run_the_modules_themselves(lenet_point):
    cascade = Cascade.from_point(lenet_point).optimize(IMAGES[:8])
    plain = cascade(IMAGES)
    for again in (copy.deepcopy(cascade), pickle.loads(pickle.dumps(cascade))):
        assert graphs(again) == [False, False]
        np.testing.assert_array_equal(again(IMAGES).exit_stage, plain.exit_stage)
        assert graphs(again.optimize(IMAGES[:2])) == [True, True]
    assert (cascade.double()(IMAGES).predictions == plain.predictions).mean() > 0.99
    assert cascade(IMAGES).confidence.dtype == np.float64 and len(list(cascade.parameters())) > 0
    assert graphs(cascade.optimize(IMAGES[:2])) == [True, True]


class Net(nn.Module):
    """A linear classifier of 8 numbers, with its own forward function."""

    def __init__(self, way=lambda layer, x: layer(x)):
        super().__init__()
        self.way = way
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.way(self.layer, x)


UNFIT = [
    (lambda layer, x: layer(x) if x.sum() > 0 else layer(-x), "meta"),
    (lambda layer, x: layer(x) if len(x) > 4 else layer(-x), "other logits for 1 samples"),
    (lambda layer, x: layer(x) if len(x) != 5 else layer(-x), "other logits for 5 samples"),
    (lambda layer, x: layer(torch.rand_like(x)), "other logits"),
    (lambda layer, x: layer(x) * (1 + float(len(x))), "other logits for 1 samples"),
]


@pytest.mark.parametrize(
    ("way", "reason"), UNFIT, ids=["values", "size", "half", "draws", "number"]
)
def test_modules_that_tracing_would_change_are_not_frozen(way, reason):
    point = Point(("odd", "plain"), (0.5,), (0.5, 0.5), 0.5, 1.0, 1.0, Method())
    modules = {"odd": Net(way), "plain": Net()}
    cascade = Cascade.from_point(point, modules)
    with pytest.warns(UserWarning, match=f"model 'odd' is not changed, since .*{reason}") as caught:
        cascade.optimize(np.ones((8, 8), np.float32))
    assert len(caught) == 1 and graphs(cascade) == [False, True]
    assert cascade.models[0] is modules["odd"]


def test_models_of_texts_and_callables_are_not_frozen():
    reviews = LogitStore("data/reviews/val")
    point = pick(search(reviews, 2, models=["bag_of_words", "minilm_l3"]), "max_improvement")
    texts = list(cl.datasets.reviews("test").batch(0, 20))
    reader = Cascade.from_point(point, store=reviews)
    plain = reader(texts)
    with pytest.warns(UserWarning, match="one tensor") as caught:
        reader.optimize(texts[:4])
    assert len(caught) == 2
    check_equal(reader(texts), plain)
    asked = Cascade.from_point(alone("asked"), {"asked": lambda rows: np.eye(3)[rows]})
    with pytest.warns(UserWarning, match="model 'asked' is not changed"):
        asked.optimize([0, 1])


def compiled(name, **options):
    model = load(name)
    return torch.compile(model.module, dynamic=True, **options), model.transform


COMPILER = shutil.which("g++") or shutil.which("clang++")
INDUCTOR = [
    pytest.mark.soak,
    pytest.mark.skipif(COMPILER is None, reason="no C++ compiler for inductor"),
]
BACKENDS = ["eager", pytest.param("inductor", marks=INDUCTOR)]


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_members_have_the_identity_of_their_models(tmp_path, val, small_point, backend):
    cascade = Cascade.from_point(small_point, store=val)
    cascade.save(tmp_path / "c.json")
    plain = cascade(IMAGES)
    modules = {name: compiled(name, backend=backend) for name in small_point.models}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not as recorded")
        loaded = Cascade.load(tmp_path / "c.json", modules)
    for count in (FEW, 99):
        check_equal(loaded(IMAGES[:count]), plain)
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "c.json").read_text()
    module, transform = modules["lenet@28"]
    macs = count_macs(module, transform(torch.as_tensor(IMAGES[:1])))
    assert macs == val.models.loc["lenet@28", "macs"]
    assert graphs(loaded.optimize(IMAGES[:8])) == [True, True]
    np.testing.assert_array_equal(loaded(IMAGES).exit_stage, plain.exit_stage)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_cascade_makes_equal_decisions(small_point, backend):
    cascade = Cascade.from_point(small_point)
    plain = cascade(IMAGES)
    for again in (
        torch.compile(cascade, backend=backend),
        torch.compile(cascade.optimize(IMAGES[:8]), backend=backend),
    ):
        for batch in (IMAGES, IMAGES[:37], IMAGES[:1]):
            np.testing.assert_array_equal(again(batch).exit_stage, plain.exit_stage[: len(batch)])
        np.testing.assert_array_equal(again.run([IMAGES]).exit_stage, plain.exit_stage)


SWALLOWING = {
    "clamps": lambda layer, x: layer(x).clamp(-5, 5).nan_to_num(1.0),
    "saturates": lambda layer, x: layer(torch.sigmoid(x)),
    "rectifies": lambda layer, x: layer(torch.relu(-x.abs())),
}
POISON = (np.nan, np.inf, -np.inf)


def check_unanswered(decisions, row):
    """Check that all samples but one have an answer."""
    assert decisions.predictions[row] == -1 and np.isnan(decisions.confidence[row])
    others = np.delete(np.arange(len(decisions)), row)
    assert (decisions.predictions[others] >= 0).all()
    assert np.isfinite(decisions.confidence[others]).all()


FORMS = {
    "plain": lambda module: module,
    "compiled": lambda module: torch.compile(module, backend="eager"),
    "traced": lambda module: torch.jit.trace(module.eval(), torch.ones(2, 8)),
    "frozen": lambda module: torch.jit.freeze(torch.jit.trace(module.eval(), torch.ones(2, 8))),
    "half": lambda module: module.bfloat16(),
    "mixed": lambda module: Mixed(module),
}


class Mixed(nn.Module):
    """A module that runs in mixed precision."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.module(x).float()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", SWALLOWING)
def test_no_member_answers_an_input_that_is_not_finite(way, form):
    cascade = Cascade.from_point(alone("odd"), {"odd": FORMS[form](Net(SWALLOWING[way]))})
    batch = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    for value in POISON:
        batch[2, 5] = value
        with pytest.warns(RuntimeWarning, match="'odd' for 1 samples"):
            check_unanswered(cascade(batch), 2)


def test_a_graph_answers_as_its_module_for_images_that_are_not_finite_or_overflow(lenet_point):
    """The maximum of nan and a number is the number in frozen convolutions."""
    plain = Cascade.from_point(lenet_point)
    frozen = Cascade.from_point(lenet_point).optimize(IMAGES[:8].float())
    assert graphs(frozen) == [True, True]
    for value in POISON:
        images = IMAGES[:6].numpy().astype(np.float32)
        images[4, 9, 9] = value
        with pytest.warns(RuntimeWarning, match="nan or infinite logits"):
            check_unanswered(frozen(images), 4)
    images[4] = np.finfo(np.float32).max
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_equal(frozen(images), plain(images))


def test_inputs_are_not_changed(lenet_point):
    """Images of floats are not normalised in place for each model."""
    images = IMAGES[:40].float()
    cascade = Cascade.from_point(lenet_point)
    decisions = cascade(images)
    assert torch.equal(images, IMAGES[:40].float())
    np.testing.assert_array_equal(decisions.exit_stage, cascade(IMAGES[:40]).exit_stage)


MODULE = np.array([[1.0, -8.0], [2.0, 3.0], [np.nan, 0.0]])  # logits


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 1)])
def test_every_finite_logit_of_a_graph_is_compared(place):
    most = 1e-6 * 8.0  # precision ** (2/3) × the largest logit
    graph = MODULE.copy()
    graph[place] += 0.9 * most
    check_same(graph, MODULE, 1e-9)
    graph[place] += 0.2 * most
    with pytest.raises(RuntimeError, match="other logits for 3 samples"):
        check_same(graph, MODULE, 1e-9)


def test_a_graph_has_finite_logits_where_its_module_has():
    for graph in (MODULE[[0, 2, 2]], np.nan_to_num(MODULE)):
        with pytest.raises(RuntimeError, match="other logits"):
            check_same(graph, MODULE, 1e-9)
    check_same(MODULE[[2, 2]], MODULE[[2, 2]], 1e-9)


@pytest.mark.parametrize(
    ("way", "hiding"),
    [
        (lambda _, x: x[:, :4] * 2 / 2, lambda _, x: x[:, :4]),
        (lambda _, x: x[:, :4] ** 2 * 5 / 5, lambda _, x: x[:, :4] ** 2),
    ],
    ids=["largest number", "half of its root"],
)
def test_a_graph_that_hides_an_overflow_is_not_used(monkeypatch, way, hiding):
    """The graph has finite logits for one probe, unlike the module."""
    cascade = Cascade.from_point(alone("odd"), {"odd": Net(way)})
    monkeypatch.setattr(members, "FORMS", [lambda graph: Net(hiding)])
    with pytest.warns(UserWarning, match="its graph gives other logits"):
        cascade.optimize(np.ones((8, 8), np.float32))
    assert graphs(cascade) == [False]


@pytest.mark.parametrize(("name", "shape"), [("lenet@28", (3, 28, 28)), ("odd", (3, 8))])
def test_complex_inputs_are_refused(name, shape):
    """Their imaginary part would be dropped."""
    own = {"odd": Net()} if name == "odd" else {}
    cascade = Cascade.from_point(alone(name), own)
    with pytest.raises(ValueError, match=f"model '{name}' cannot run on complex64.*complex"):
        cascade(np.ones(shape, np.complex64))
    with pytest.raises(ValueError, match=f"model '{name}' cannot run on"):
        cascade.optimize(np.zeros((3, 5), np.uint8))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64]
)
def test_rows_that_are_not_finite_are_found_in_every_form_of_inputs(dtype):
    """A value that all samples share makes all of them unusable."""

    def unusable(place=None, value=np.nan):
        """The unusable rows of three samples, of which a value was replaced, in both forms."""
        images = torch.ones(3, 2, 4, 4, dtype=dtype).to(memory_format=torch.channels_last)
        numbers = torch.ones(3, dtype=dtype)
        shared = torch.ones(5, dtype=dtype)
        parts = {"images": images, "numbers": numbers, "shared": shared}
        if place:
            parts[place[0]][place[1:]] = value
        parts["mask"] = torch.ones(3, 7, dtype=torch.int64)
        found, again = (members.unusable_rows(p, 3) for p in (parts, tuple(parts.values())))
        np.testing.assert_array_equal(found, again)
        return found

    assert unusable() is None
    for value in POISON:
        assert unusable(("images", 1, 1, 3, 3), value).tolist() == [False, True, False]
        assert unusable(("numbers", 2), value).tolist() == [False, False, True]
        assert unusable(("shared", 1), value).all()


def test_finite_rows_whose_sum_overflows_are_usable():
    assert members.unusable_rows({"ids": torch.ones(0, 4)}, 0) is None
    assert not members.unusable_rows(torch.full((2, 2), 3e38), 2).any()


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
    "revision", ["refs/pr/7", "main", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", "", 7]
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_file_cannot_choose_a_branch_or_a_pull_request(tmp_path, loads, revision, allow):
    path = saved(tmp_path, revision)
    with pytest.raises(ValueError, match=r"c\.json: the revision .* not the full hash of a commit"):
        Cascade.load(path, allow_download=allow)
    assert loads == []
    assert Cascade.load(path, {NAME: Net()})


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


def test_the_revision_in_a_name_is_a_commit_too(tmp_path, loads):
    path = saved(tmp_path, name="a/b@refs/pr/7")
    words = r"c\.json: model 'a/b@refs/pr/7': the revision 'refs/pr/7'"
    with pytest.raises(ValueError, match=words):
        Cascade.load(path, allow_download=True)
    assert loads == []
    for name, revision in ((f"a/b@{COMMIT}", None), ("a/b@v1", COMMIT)):
        Cascade.load(saved(tmp_path, revision, name), allow_download=True)
        assert loads.pop()[0] == name


def test_a_callable_receives_batches_unchanged():
    """A callable may accept nan as a missing value."""
    models = {"trees": lambda rows: np.isnan(rows).astype(float) * 3}
    trees = Cascade.from_point(alone("trees"), models)
    assert trees(np.array([[np.nan, 0], [0, np.nan]])).predictions.tolist() == [0, 1]
