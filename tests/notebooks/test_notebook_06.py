"""Notebook 06 runs on four tasks of GLUE with local files and checkpoints, without a network."""

import re
from pathlib import Path

import pytest
import tiny_checkpoints as tiny

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "06_glue.ipynb"


@pytest.fixture(scope="module")
def parameters(tmp_path_factory):
    folder = tmp_path_factory.mktemp("glue")
    models = {
        "tiny": tiny.save(folder / "tiny", tiny.trained(tiny.module(4, 1), 40)),
        "small": tiny.save(folder / "small", tiny.trained(tiny.module(8, 1, seed=1), 80)),
        "large": tiny.save(folder / "large", tiny.trained(tiny.module(16, 2, seed=2), 150)),
    }
    named = [(place, name.title(), "0 1") for name, place in models.items()]
    rows = [(task, *model) for task in tiny.FOLDERS for model in named]
    return {
        "tasks": list(tiny.FOLDERS),
        "glue_folder": str(tiny.write_glue(folder / "data", 300)),
        "checkpoints": tiny.write_table(folder / "models.csv", rows),
        "stores": str(folder / "stores"),
        "longest": 2,
    }


def test_all_four_tasks_have_tables_and_figures(parameters, run_cells, tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADELIB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.chdir(NOTEBOOK.parent)
    cells = run_cells(NOTEBOOK, parameters)
    outputs = [o for cell in cells for o in cell.get("outputs", [])]
    text = "\n".join(o.get("data", {}).get("text/plain", "") for o in outputs)
    for label in ("sst2, accuracy", "qnli, accuracy", "mrpc, accuracy", "mrpc, F1", "qqp, F1"):
        assert label in text
    assert "sst2, F1" not in text
    (ledger,) = [cell for cell in cells if "ledger.table(" in cell.source]
    last = " ".join(re.sub(r"<[^>]*>", " ", ledger.outputs[-1]["data"]["text/html"]).split())
    assert " 4 4 supported" in last
    assert sum("application/vnd.plotly.v1+json" in o.get("data", {}) for o in outputs) == 3
    at_rest = ["data-state=" in o.get("data", {}).get("text/html", "") for o in outputs]
    assert sum(at_rest) == 1  # of the explorer
