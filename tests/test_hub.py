"""The Hub is reachable or not, and weights from it never run code."""

import os

import pytest

from cascadelib import hub
from cascadelib.hub import is_reachable
from cascadelib.zoo.loaders import load


def test_an_unreachable_hub_is_an_immediate_error(offline):
    with pytest.raises(
        ConnectionError, match="'resnet18'.*not in the local cache.*does not respond.*checkpoint="
    ):
        load("resnet18")
    with pytest.raises(ConnectionError, match=r"'some/resnet'.*save_pretrained"):
        load("some/resnet")
    with pytest.raises(ConnectionError, match=r"'some/images'.*imagenet\("):
        from cascadelib.datasets.imagenet_1k import hub_images

        hub_images("some/images")


def test_any_response_of_the_hub_means_that_it_is_reachable(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # a closed port
    assert not is_reachable()
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", True)
    assert not is_reachable()


def test_weights_only_ends_with_its_last_user(monkeypatch):
    monkeypatch.setenv(hub.FORCED, "0")
    # two threads overlap like this
    one = hub.weights_only()
    other = hub.weights_only()
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert os.environ[hub.FORCED] == "1"
    other.__exit__(None, None, None)
    assert os.environ[hub.FORCED] == "0"
