"""Frozen and compiled members make equal decisions. Members that cannot be frozen are named."""

import copy
import pickle
import shutil
import sys
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import cascadelib as cl
from cascadelib import Cascade, LogitStore, Method, Point, pick, search
from cascadelib.policy import members
from cascadelib.policy.policy import Policy
from cascadelib.zoo.loaders import load
from cascadelib.zoo.macs import count_macs
from cascadelib.zoo.model import Model, describe_identity

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
from cascade_runs import same_decisions  # noqa: E402 - benchmarks are no package

VAL, TEST = (LogitStore(f"data/fashion-mnist/{split}") for split in ("val", "test"))
FEW = 500
IMAGES = cl.datasets.fashion_mnist("test").batch(0, FEW)


@cache
def a_point():
    return pick(search(VAL, 2, models=["lenet@28", "resnet18_w8@28"]), "max_improvement")


@cache
def small_point():
    return pick(search(VAL, 2, models=["mlp@28", "lenet@28"]), "max_improvement")


PARTS = ("predictions", "exit_stage")


@pytest.fixture(autouse=True)
def choose_the_last_graph(monkeypatch):
    """Use the last graph, whichever is fastest on this machine."""
    monkeypatch.setattr(members.np, "argmin", lambda seconds: len(seconds) - 1)


def graphs(cascade):
    return [bool(member.graphs) for member in cascade.members]


def in_pieces(cascade, size):
    return cascade.run(cl.policy.pieces_of(IMAGES, size), 64)


def test_an_optimized_cascade_makes_equal_decisions(tmp_path):
    cascade = Cascade.from_point(a_point(), store=VAL, held_out=TEST)
    cascade.save(tmp_path / "before.json")
    plain = in_pieces(cascade, 64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cascade.optimize(IMAGES[:8]) is cascade and graphs(cascade) == [True, True]
    for decisions in (
        cascade(IMAGES),
        in_pieces(cascade, 64),
        in_pieces(cascade, 1),
        in_pieces(cascade, 7),
    ):
        counts = same_decisions(TEST.take(slice(0, FEW)), a_point(), decisions)
        assert counts["same"] + counts["near"] == FEW and counts["near"] <= 2
        np.testing.assert_allclose(decisions.confidence, plain.confidence, atol=1e-5)
    cascade.save(tmp_path / "after.json")
    assert (tmp_path / "after.json").read_text() == (tmp_path / "before.json").read_text()
    assert not any(module.training for module in cascade.train().modules())


def test_copies_and_other_dtypes_run_the_modules_themselves():
    cascade = Cascade.from_point(a_point()).optimize(IMAGES[:8])
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

    def __init__(self, way):
        super().__init__()
        self.way = way
        self.layer = nn.Linear(8, 4)

    def forward(self, x):
        return self.way(self.layer, x)


UNFIT = {
    "looks at values": (lambda layer, x: layer(x) if x.sum() > 0 else layer(-x), "meta"),
    "goes by the batch size": (
        lambda layer, x: layer(x) if len(x) > 4 else layer(-x),
        "other logits for 1 samples",
    ),
    "draws": (lambda layer, x: layer(torch.rand_like(x)), "other logits"),
    "a number a batch": (
        lambda layer, x: layer(x) * (1 + float(len(x))),
        "other logits for 1 samples",
    ),
}


@pytest.mark.parametrize("case", UNFIT)
def test_modules_that_tracing_would_change_are_not_frozen(case):
    way, reason = UNFIT[case]
    point = Point(("odd", "plain"), (0.5,), (0.5, 0.5), 0.5, 1.0, 1.0, Method())
    modules = {"odd": Net(way), "plain": Net(lambda layer, x: layer(x))}
    cascade = Cascade.from_point(point, modules)
    with pytest.warns(UserWarning, match=f"model 'odd' is not changed, since .*{reason}") as caught:
        cascade.optimize(np.ones((8, 8), np.float32))
    assert (
        len(caught) == 1
        and graphs(cascade) == [False, True]
        and cascade.models[0] is modules["odd"]
    )


def test_models_of_texts_and_callables_are_not_frozen():
    reviews = LogitStore("data/reviews/val")
    point = pick(search(reviews, 2, models=["bag_of_words", "minilm_l3"]), "max_improvement")
    texts = list(cl.datasets.reviews("test").batch(0, 20))
    reader = Cascade.from_point(point, store=reviews)
    plain = reader(texts)
    with pytest.warns(UserWarning, match="one tensor") as caught:
        reader.optimize(texts[:4])
    assert len(caught) == 2
    for part in PARTS:
        np.testing.assert_array_equal(getattr(reader(texts), part), getattr(plain, part))
    point = Point(("asked",), (), (1.0,), 0.5, 1.0, 1.0, Method())
    with pytest.warns(UserWarning, match="model 'asked' is not changed"):
        Cascade.from_point(point, {"asked": lambda rows: np.eye(3)[rows]}).optimize([0, 1])


def test_an_example_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="model 'lenet@28' cannot run on"):
        Cascade.from_point(a_point()).optimize(np.zeros((3, 28), np.uint8))


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
def test_compiled_members_have_the_identity_of_their_models(tmp_path, backend):
    cascade = Cascade.from_point(small_point(), store=VAL)
    cascade.save(tmp_path / "c.json")
    plain = cascade(IMAGES)
    modules = {name: compiled(name, backend=backend) for name in small_point().models}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*not as recorded")
        loaded = Cascade.load(tmp_path / "c.json", modules)
    for decisions in (loaded(IMAGES), loaded(IMAGES[:99])):
        for part in PARTS:
            np.testing.assert_array_equal(
                getattr(decisions, part), getattr(plain, part)[: len(decisions)]
            )
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text() == (tmp_path / "c.json").read_text()
    module, transform = modules["lenet@28"]
    assert (
        count_macs(module, transform(torch.as_tensor(IMAGES[:1])))
        == VAL.models.loc["lenet@28", "macs"]
    )
    assert graphs(loaded.optimize(IMAGES[:8])) == [True, True]
    np.testing.assert_array_equal(loaded(IMAGES).exit_stage, plain.exit_stage)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_cascade_makes_equal_decisions(backend):
    cascade = Cascade.from_point(small_point())
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


def poisoned(value, dtype=np.float32):
    """Seven samples of 8 numbers, of which one in the third is not finite."""
    batch = np.random.default_rng(0).normal(size=(7, 8)).astype(dtype)
    batch[2, 5] = value
    return batch


def check_unanswered(decisions, row, n):
    assert decisions.predictions[row] == -1 and np.isnan(decisions.confidence[row])
    others = np.delete(np.arange(n), row)
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
    point = Point(("odd",), (), (1.0,), 0.5, 1.0, 1.0, Method())
    cascade = Cascade.from_point(point, {"odd": FORMS[form](Net(SWALLOWING[way]))})
    for value in POISON:
        with pytest.warns(RuntimeWarning, match="'odd' for 1 samples"):
            check_unanswered(cascade(poisoned(value)), 2, 7)


def test_no_graph_answers_an_image_that_is_not_finite():
    """The maximum of nan and a number is the number in frozen convolutions."""
    cascade = Cascade.from_point(a_point()).optimize(IMAGES[:8].float())
    assert graphs(cascade) == [True, True]
    for value in POISON:
        images = IMAGES[:6].numpy().astype(np.float32)
        images[4, 9, 9] = value
        with pytest.warns(RuntimeWarning, match="nan or infinite logits"):
            check_unanswered(cascade(images), 4, 6)


def test_inputs_are_not_changed():
    """Images of floats are not normalised in place for each model."""
    images = IMAGES[:40].float()
    decisions = Cascade.from_point(a_point())(images)
    assert torch.equal(images, IMAGES[:40].float())
    np.testing.assert_array_equal(
        decisions.exit_stage, Cascade.from_point(a_point())(IMAGES[:40]).exit_stage
    )


def test_finite_inputs_that_overflow_are_decided_as_without_a_graph():
    images = IMAGES[:6].numpy().astype(np.float32)
    images[1] = np.finfo(np.float32).max
    plain = Cascade.from_point(a_point())
    frozen = Cascade.from_point(a_point()).optimize(IMAGES[:8].float())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part in PARTS:
            np.testing.assert_array_equal(
                getattr(frozen(images), part), getattr(plain(images), part)
            )


def test_a_graph_that_hides_an_overflow_is_not_used(monkeypatch):
    """The graph has finite logits for large probes, unlike the module."""
    point = Point(("odd",), (), (1.0,), 0.5, 1.0, 1.0, Method())
    module = Net(lambda layer, x: layer(x) * 1e25 * 1e25 * 1e-25 * 1e-25)
    cascade = Cascade.from_point(point, {"odd": module})
    hiding = Net(lambda layer, x: layer(x))
    hiding.load_state_dict(module.state_dict())
    monkeypatch.setattr(members, "FORMS", [lambda graph: hiding])
    with pytest.warns(UserWarning, match="its graph gives other logits"):
        cascade.optimize(np.ones((8, 8), np.float32))
    assert graphs(cascade) == [False]


@pytest.mark.parametrize("name", ["lenet@28", "odd"])
def test_complex_inputs_are_refused(name):
    """Their imaginary part would be dropped."""
    point = Point((name,), (), (1.0,), 0.5, 1.0, 1.0, Method())
    own = {"odd": Net(lambda layer, x: layer(x))} if name == "odd" else {}
    shape = (3, 8) if own else (3, 28, 28)
    with pytest.raises(ValueError, match=f"model '{name}' cannot run on complex64.*complex"):
        Cascade.from_point(point, own)(np.ones(shape, np.complex64))


def test_rows_that_are_not_finite_are_found_in_every_form_of_inputs():
    """A value that all samples share makes all of them unusable."""
    rng = np.random.default_rng(0)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64):
        shared = torch.ones(5, dtype=dtype)
        parts = {
            "images": torch.ones(3, 2, 4, 4, dtype=dtype).contiguous(
                memory_format=torch.channels_last
            ),
            "mask": torch.ones(3, 7, dtype=torch.int64),
            "numbers": torch.ones(3, dtype=dtype),
            "shared": shared,
        }
        assert members.unusable_rows(parts, 3) is None
        assert members.unusable_rows(tuple(parts.values()), 3) is None
        for key in ("images", "numbers"):
            row, other = (int(i) for i in rng.permutation(3)[:2])
            poison = {name: part.clone() for name, part in parts.items()}
            poison[key][row] = float("nan")
            poison[key].reshape(3, -1)[other, -1] = float("inf")
            expected = np.isin(np.arange(3), [row, other])
            if key == "images":  # reshape copied
                expected = np.arange(3) == row
            np.testing.assert_array_equal(members.unusable_rows(poison, 3), expected)
        shared[1] = float("inf")
        assert members.unusable_rows(parts, 3).all()
    assert members.unusable_rows({"ids": torch.ones(0, 4)}, 0) is None
    assert not members.unusable_rows(torch.full((2, 2), 3e38), 2).any()


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def loads(monkeypatch):
    """The calls of the zoo, which always returns commit fff… of a small model."""
    asked = []

    def load_noted(name, anywhere=True, **options):
        asked.append((name, anywhere, options))
        metadata = {"checkpoint": {"revision": options.get("revision", "f" * 40)}}
        torch.manual_seed(0)
        return Model(name, Net(lambda layer, x: layer(x)), None, metadata)

    monkeypatch.setattr(members, "load", load_noted)
    return asked


def saved(path, name="resnet18.a1_in1k", **record):
    """A cascade of one model in a file, with this record of it."""
    point = Point((name,), (), (1.0,), 0.5, 1.0, 1.0, Method())
    Policy(replace(point, records=({"name": name, "classes": 4, **record},))).save(path)
    return path


@pytest.mark.parametrize(
    "revision", ["refs/pr/7", "main", COMMIT[:7], COMMIT.upper(), COMMIT + "\n", "", 7]
)
@pytest.mark.parametrize("allow", [False, True])
def test_a_file_cannot_choose_a_branch_or_a_pull_request(tmp_path, loads, revision, allow):
    path = saved(tmp_path / "c.json", checkpoint={"revision": revision})
    with pytest.raises(ValueError, match=r"c\.json: the revision .* not the full hash of a commit"):
        Cascade.load(path, allow_download=allow)
    assert loads == []
    assert Cascade.load(path, {"resnet18.a1_in1k": Net(lambda layer, x: layer(x))})


def test_a_commit_is_loaded_only_if_downloading_is_allowed(tmp_path, loads):
    """The commits of pull requests, which anyone can open, are in the repository as well."""
    path = saved(tmp_path / "c.json", checkpoint={"revision": COMMIT})
    Cascade.load(path, allow_download=True)
    assert loads.pop() == ("resnet18.a1_in1k", True, {"revision": COMMIT})
    with pytest.raises(ValueError, match=f"c.json: model 'resnet18.a1_in1k'.*{COMMIT}.*allow_down"):
        Cascade.load(path)
    assert loads.pop() == ("resnet18.a1_in1k", False, {})


def test_another_commit_of_the_same_weights_is_the_same_model(tmp_path, loads):
    name = "resnet18.a1_in1k"
    Cascade.load(saved(tmp_path / "c.json", checkpoint={"revision": "f" * 40}))
    digest = describe_identity(members.load(name))["weights_sha256"]
    path = saved(tmp_path / "c.json", checkpoint={"revision": COMMIT}, weights_sha256=digest)
    assert Cascade.load(path).differences == ()
    path = saved(tmp_path / "c.json", checkpoint={"revision": COMMIT}, weights_sha256="0" * 64)
    with pytest.raises(ValueError, match="f+ has different weights"):
        Cascade.load(path)


def test_the_revision_in_a_name_is_a_commit_too(tmp_path, loads):
    path = tmp_path / "c.json"
    with pytest.raises(
        ValueError, match=r"c\.json: model 'a/b@refs/pr/7': the revision 'refs/pr/7'"
    ):
        Cascade.load(saved(path, "a/b@refs/pr/7"), allow_download=True)
    assert loads == []
    for name, record in ((f"a/b@{COMMIT}", {}), ("a/b@v1", {"checkpoint": {"revision": COMMIT}})):
        Cascade.load(saved(path, name, **record), allow_download=True)
        assert loads.pop()[0] == name


def test_a_callable_receives_batches_unchanged():
    """A callable may accept nan as a missing value."""
    point = Point(("trees",), (), (1.0,), 0.5, 1.0, 1.0, Method())
    trees = Cascade.from_point(point, {"trees": lambda rows: np.isnan(rows).astype(float) * 3})
    assert trees(np.array([[np.nan, 0], [0, np.nan]])).predictions.tolist() == [0, 1]
