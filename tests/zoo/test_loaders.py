"""Loading models by name: choice of the loader, and refused names."""

import sys

import pytest
import tiny_checkpoints as tiny
import torch
from torch import nn

import cascadelib.zoo
from cascadelib.zoo import loaders
from cascadelib.zoo.bundled import FOLDER, list_bundled_names
from cascadelib.zoo.loaders import list_sources, load
from cascadelib.zoo.model import Model, count_weight_bytes


@pytest.fixture
def asked(monkeypatch):
    """Record the loader and name of each call instead of loading."""
    from cascadelib.zoo import timm_models, transformers_models

    calls = []

    def loader(kind):
        def called(name, *arguments, **options):
            calls.append((kind, name, options))
            return Model(name, nn.Identity())

        return called

    monkeypatch.setattr(loaders, "load_bundled", loader("image zoo"))
    monkeypatch.setattr(loaders, "load_bundled_text_model", loader("text zoo"))
    monkeypatch.setattr(timm_models, "load_timm_model", loader("timm"))
    monkeypatch.setattr(transformers_models, "load_image_model", loader("transformers"))
    monkeypatch.setattr(transformers_models, "load_sequence_classifier", loader("text classifier"))
    monkeypatch.setattr(transformers_models, "is_reachable", lambda: False)
    return calls


def test_each_name_is_passed_to_its_loader(asked, tmp_path):
    classifier = tiny.save(tmp_path / "classifier", tiny.module())
    load("mlp@28")
    load("bag_of_words")
    load("resnet18@96", size="train")
    load("timm/resnet18.a1_in1k")
    load(classifier, max_length=5)
    load("owner/name")
    assert [kind for kind, _, _ in asked] == [
        "image zoo",
        "text zoo",
        "timm",
        "timm",
        "text classifier",
        "transformers",
    ]
    assert asked[2] == ("timm", "resnet18@96", {"size": "train"})
    assert asked[4][2] == {"max_length": 5}


def test_folders_and_repositories_are_loaded_only_if_allowed(asked, tmp_path):
    classifier = tiny.save(tmp_path / "classifier", tiny.module())
    load("resnet18", anywhere=False)
    for name in (classifier, "owner/name"):
        with pytest.raises(ValueError, match=f"unknown model '{name[:20]}"):
            load(name, anywhere=False)
    assert len(asked) == 1


def test_an_unknown_name_lists_the_nearest_ones():
    with pytest.raises(ValueError, match="unknown model 'resnet19'; nearest: .*resnet1"):
        load("resnet19")
    with pytest.raises(ValueError, match="unknown model 'mpl@28'; nearest: 'mlp@28'"):
        load("mpl@28")


def test_modules_and_pairs_are_converted_to_models():
    module = nn.Linear(2, 3)
    own = Model("other name", module, len, {"family": "x"})
    sources = list_sources({"a": module, "b": (module, len), "c": own})
    plain, with_transform, given = (source.load() for source in sources)
    assert [(source.weights, source.is_loaded) for source in sources] == [(36, True)] * 3
    assert (plain.name, plain.transform, plain.metadata) == ("a", None, {"parameters": 9})
    assert with_transform.transform is len and with_transform.module is module
    assert (given.name, given.transform, given.metadata) == ("c", len, {"family": "x"})


def test_names_are_accepted_in_every_form(monkeypatch):
    monkeypatch.setattr(loaders, "find_loader", lambda name: (Model, len))
    for names in ("one", ("one", "three")):
        sources = list_sources(names)
        assert [source.name for source in sources] == ([names] if names == "one" else [*names])
        assert [source.weights for source in sources] == [len(one.name) for one in sources]


@pytest.mark.parametrize(
    "models, error",
    [
        ([], "no models to extract"),
        ({}, "no models to extract"),
        (["a", "b", "a", "b", "c"], r"named more than once: \['a', 'b'\]"),
        ({"a": "mlp@28"}, "'a' must be a torch module or"),
        ({"a": (torch.nn.Identity(), 3)}, "'a' must be a torch module or"),
        ({"a": (torch.nn.Identity(),)}, "'a' must be a torch module or"),
        ({"": torch.nn.Identity()}, "must be a non-empty string"),
    ],
)
def test_a_value_that_is_not_a_model_is_refused(models, error):
    with pytest.raises(ValueError, match=error):
        list_sources(models)


def test_the_bundled_zoo_is_read_from_its_folder(tmp_path, asked):
    assert "mlp@28" in list_bundled_names(FOLDER) and list_bundled_names(tmp_path) == []
    with pytest.raises(ValueError, match="unknown model 'mlp@28'"):
        load("mlp@28", folder=tmp_path)


def test_timm_models_do_not_import_transformers(monkeypatch):
    """The extra ``[vision]`` does not install transformers."""
    for name in ("loaders", "timm_models", "transformers_models"):
        monkeypatch.delitem(sys.modules, f"cascadelib.zoo.{name}", raising=False)
        monkeypatch.delattr(cascadelib.zoo, name, raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)  # an import raises ImportError
    from cascadelib.zoo import loaders, timm_models

    monkeypatch.setattr(timm_models, "load_timm_model", "loaded {}".format)
    assert loaders.load("resnet18.a1_in1k") == "loaded resnet18.a1_in1k"
    with pytest.raises(ValueError, match="unknown model 'my model'"):
        loaders.load("my model", anywhere=False)
    with pytest.raises(ImportError):
        loaders.load("my model")


def test_weights_are_measured_without_loading_them(monkeypatch):
    """Models of timm are built on the meta device. Others have unknown weights."""
    import timm

    sizes = {
        "resnet18": timm.create_model("resnet18"),
        "vit_tiny_patch16_224@384": timm.create_model("vit_tiny_patch16_224", img_size=384),
    }
    expected = {name: count_weight_bytes(module) for name, module in sizes.items()}
    expected |= dict.fromkeys(("mlp@28", "vit_base_patch16_224.nonsense"), 0)
    monkeypatch.setattr(torch.nn.Module, "load_state_dict", lambda *_: pytest.fail("loaded"))
    assert {source.name: source.weights for source in list_sources(list(expected))} == expected
