"""The README's picture: the first figure of notebook 02, as `make notebooks` has just drawn it."""

import base64
import json
from pathlib import Path

HERE = Path(__file__).parent

cells = json.loads((HERE.parent / "notebooks" / "02_two_model_cascades.ipynb").read_text())["cells"]
pictures = [o["data"]["image/png"] for c in cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
(HERE / "front.png").write_bytes(base64.b64decode(pictures[0]))
