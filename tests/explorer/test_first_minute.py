"""The explorer of the bundled answers of two language models."""

from unittest.mock import patch

import pytest

import cascadelib as cl


def test_the_page_is_written_and_opened(tmp_path):
    with patch("webbrowser.open") as opened:
        page = cl.demo()
        assert page.exists()
        opened.assert_called_once_with(page.resolve().as_uri())
        assert cl.demo(out=tmp_path / "page.html", browser=False) == tmp_path / "page.html"
        opened.assert_called_once()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Example data" in text
    assert "agree with llama-3.3-70b" in text and "are correct" not in text.split("<script")[0]


def test_a_table_of_the_user_is_no_example(tmp_path):
    rows = cl.datasets.llm_answers().replace({"label": {"yes": "no"}})
    rows.to_csv(tmp_path / "mine.csv", index=False)
    page = cl.demo(tmp_path / "mine.csv", out=tmp_path / "page.html", browser=False)
    text = page.read_text(encoding="utf-8").split("<script")[0]
    assert "Example data" not in text and "assumed" not in text and "your data" not in text
    assert "are correct (the most accurate model alone: " in text


def test_the_explorer_starts_at_the_cheapest_certified_cascade():
    answers = cl.ScoreTable.from_frame(
        cl.datasets.llm_answers(), label="label", prediction="prediction"
    )
    parts = [answers.take(slice(part, None, 3)) for part in range(3)]
    certificate = cl.certify(parts[1], cl.search(parts[0]), epsilon=0.02)
    explorer = cl.explore(parts[0], parts[2], certificate=certificate)
    assert explorer.point.thresholds == certificate.point.thresholds


def test_a_table_without_labels_is_refused():
    rows = cl.datasets.llm_answers().drop(columns="label")
    with pytest.raises(ValueError, match="no columns for label='label'"):
        cl.demo(rows, browser=False)
