"""The table of docs/gpu.md is computed from timm's published speeds."""

import doctest

import pytest
from scripts import load_script


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("timm")
    return load_script("docs/gpu_hours.py")


def test_the_page_has_the_current_table(page):
    assert page.write_page() == page.PAGE.read_text(encoding="utf-8")


def test_the_code_on_the_page_runs(page):
    failed, tried = doctest.testfile(str(page.PAGE), module_relative=False)
    assert tried > 3 and failed == 0


def test_groups_hold_all_weights_within_the_limit(page):
    assert page.count_groups([5, 4, 3, 3, 2, 1], 6) == 3
    assert page.count_groups([1] * 7, 2) == 4
