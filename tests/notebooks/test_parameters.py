"""Every notebook with the parameters that all have, flipped: another folder, splits swapped,
entropy, seconds."""

import re
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from cascadelib import LogitStore
from tools import run

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

BUNDLED = ROOT / "data" / "fashion-mnist"
SPLITS = (
    "val test shift/noise-1 shift/noise-2 shift/blur-2 shift/movement-2 shift/exposure-2".split()
)
MODELS = (
    "mlp@14 mlp_h256@28 small_resnet_w4@28 lenet_w300@28 resnet18_w16@52 resnet18_w16@56".split()
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The bundled images, and their stores with six of the models."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("val.npz", "test.npz"):
        (folder / name).symlink_to(BUNDLED / name)
    for split in SPLITS:
        whole = LogitStore(BUNDLED / split)
        store = LogitStore.create(
            folder / split,
            whole.labels,
            whole.sample_ids,
            whole.classes,
            whole.dataset,
            whole.split,
        )
        for name in MODELS:
            about = {
                key: whole.metadata(name)[key]
                for key in ("macs", "seconds", "family", "image_size")
            }
            store.add(name, whole.logits(name), **about)
    return str(folder)


def flipped(path, small):
    """Other values of what a notebook's parameters cell has; fewer images to extract, and few to
    run on."""
    has = {
        name: run.parse_literal(entry["default"])
        for name, entry in papermill.inspect_notebook(path).items()
    }
    new = {
        "split": has.get("held_out", "test"),
        "held_out": has.get("split"),
        "method": "entropy",
        "cost": "seconds",
    }
    new |= {"paired": False, "images": 100, "samples": 64}
    if has.get("dataset") == "data/fashion-mnist" and "images" not in has:
        new["dataset"] = small
    return {name: value for name, value in new.items() if name in has}


@pytest.fixture(scope="module")
def shell():
    """An IPython in this process: starting a kernel for each notebook takes seconds."""
    main = sys.modules["__main__"]
    shell = InteractiveShell.instance(history_length=0, colors="nocolor")
    yield shell
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main


def executed_cells(shell, path, parameters):
    """The cells of a notebook with the outputs of a run in this process."""
    notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
    shell.reset(new_session=True)
    shell.user_ns["__spec__"] = None  # as a script has it: multiprocessing reads it
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        with capture_output() as captured:
            shell.display_trap.hook = sys.displayhook  # else a cell's value is printed as text
            done = shell.run_cell(cell.source)
        assert done.success, f"cell {number}: {done.error_before_exec or done.error_in_exec!r}"
        cell.outputs = []
        if captured.stdout:
            cell.outputs.append(nbformat.v4.new_output("stream", text=captured.stdout))
        for shown in captured.outputs:
            data = {"data": shown.data, "metadata": shown.metadata or {}}
            cell.outputs.append(nbformat.v4.new_output("display_data", **data))
    return notebook.cells


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_flipped(path, small, shell, tmp_path, monkeypatch):
    monkeypatch.setenv("CASCADELIB_QUICK", "1")
    monkeypatch.setenv("CASCADELIB_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.chdir(path.parent)
    more = {"out": str(tmp_path / "logits")} if path.stem.startswith("01") else {}
    for cell in executed_cells(shell, path, flipped(path, small) | more):
        if cell.id == "by-hand-equal":
            assert_by_hand(path.stem[:2], cell)
        if "answer" in cell.metadata.get("tags", []):
            assert run.report.printed(cell), "the answer is a printed sentence"


def assert_by_hand(notebook, cell):
    """What numpy gives by hand is what the library gives."""
    text = run.report.printed(cell) or cell.outputs[0]["data"]["text/html"]
    if notebook == "02":
        (apart,) = re.findall(r"at most (\S+) of the largest", text)
        assert float(apart) < 1e-9
    elif notebook == "03":
        pairs = re.findall(r"by (?:hand|the library) (\S+) at ([^\s,]+?)[,.]?(?:\s|$)", text)
        assert len(pairs) == 2 and pairs[0] == pairs[1]
    else:
        rows = re.findall(r"<td>(.*?)</td>\s*<td>(.*?)</td>", text)
        assert len(rows) == 4 and all(here == there for here, there in rows)
