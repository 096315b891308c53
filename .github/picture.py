"""What the README takes from the notebooks as `make notebooks` has just run them: the first figure of 02, and the
sentence of 04 on the paper's ranking."""

import base64
import json
import re
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"


def outputs(name):
    """All outputs of a notebook, in order."""
    cells = json.loads((HERE.parent / "notebooks" / name).read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def ranking_sentence():
    """The sentence of notebook 04 on what the paper says of the ranking, on one line."""
    printed = ["".join(output["text"]) for output in outputs("04_metrics_comparison.ipynb") if "text" in output]
    (sentence,) = [text for text in printed if "statements of the paper on its ranking" in text]
    return " ".join(sentence.split())


if __name__ == "__main__":
    pictures = [
        o["data"]["image/png"] for o in outputs("02_two_model_cascades.ipynb") if "image/png" in o.get("data", {})
    ]
    (HERE / "front.png").write_bytes(base64.b64decode(pictures[0]))
    text = textwrap.fill(ranking_sentence(), 125, break_long_words=False, break_on_hyphens=False)
    marked = r"(?<=<!-- ranking: notebook 04 -->\n).*?(?=\n<!-- end -->)"
    README.write_text(re.sub(marked, lambda _: text, README.read_text(encoding="utf-8"), flags=re.S), encoding="utf-8")
