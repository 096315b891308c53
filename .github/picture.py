"""The README's picture: the first figure of notebook 02, as `make notebooks` has just drawn it."""

import base64
import json
from pathlib import Path

HERE = Path(__file__).parent
NOTEBOOK = HERE.parent / "notebooks" / "02_two_model_cascades.ipynb"

if __name__ == "__main__":
    outputs = [o for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] for o in cell.get("outputs", [])]
    pictures = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    (HERE / "front.png").write_bytes(base64.b64decode(pictures[0]))
