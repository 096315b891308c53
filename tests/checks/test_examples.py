"""Examples in docstrings run and print the shown output."""

import doctest
import importlib
import pkgutil

import pytest

import cascadelib

PACKAGES = ("datasets", "extraction", "guarantees", "policy", "serve", "zoo")


def modules_of(package):
    """Return the names of a subpackage's modules."""
    path = importlib.import_module(f"cascadelib.{package}").__path__
    return [f"cascadelib.{package}.{module.name}" for module in pkgutil.iter_modules(path)]


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.filterwarnings("ignore")
def test_examples_print_the_shown_output(package):
    tried = 0
    for name in modules_of(package):
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
        assert not result.failed, name
        tried += result.attempted
    assert tried


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_have_examples(package):
    subpackage = getattr(cascadelib, package)
    public = {name: getattr(subpackage, name) for name in subpackage.__all__}
    functions = [name for name, value in public.items() if callable(value)]
    assert [name for name in functions if ">>>" not in (public[name].__doc__ or "")] == []
