"""What the README says of the paper's ranking is what notebook 04 found."""

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_has_the_sentence_of_the_notebook():
    sentence = runpy.run_path(str(ROOT / ".github" / "picture.py"))["ranking_sentence"]()
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (said,) = [part.split("<!-- end -->")[0] for part in text.split("<!-- ranking: notebook 04 -->")[1:]]
    assert " ".join(said.split()) == sentence, "run `make notebooks`, which writes it there"
