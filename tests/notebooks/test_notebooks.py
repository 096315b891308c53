"""The form of every committed notebook: a question, parameters, an answer first, small outputs.

Each rule is a function from a notebook to the list of its violations.
"""

import subprocess
import sys

import nbformat
import pytest

from cascadelib.files import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.name < "10"]  # the others are the paper's
LEAST_COMPARED = 3  # cells whose outputs nbval compares
LARGEST = 1_000_000  # bytes
PLAIN = {f"text/{kind}" for kind in ("plain", "html", "markdown", "latex")}
PLAIN |= {"image/png", "image/svg+xml"}


def code_cells(nb, tag=None):
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def outputs(nb):
    return [output for cell in code_cells(nb) for output in cell.outputs]


def has_one_parameters_cell(nb):
    tagged = code_cells(nb, "parameters")
    return [] if len(tagged) == 1 else [f"{len(tagged)} cells tagged parameters"]


def begins_with_the_answer(nb):
    """Parameters, data, and then the cell with the finding and its figure."""
    tags = [cell.metadata.get("tags", []) for cell in code_cells(nb)[:3]]
    is_third = (
        len(tags) == 3 and tags[0] == ["parameters"] and {"answer", "key-figure"} <= {*tags[2]}
    )
    return [] if is_third else [f"the first cells are tagged {tags}"]


def has_compared_outputs(nb):
    """nbval compares the outputs of these cells with the committed ones."""
    tagged = code_cells(nb, "nbval-check-output")
    return [] if len(tagged) >= LEAST_COMPARED else [f"{len(tagged)} cells are compared"]


def ran_in_order(nb):
    counts = [cell.execution_count for cell in code_cells(nb) if cell.source.strip()]
    done = list(range(1, len(counts) + 1))
    return [] if counts == done or not any(counts) else [f"execution counts {counts}"]


def shows_no_error(nb):
    return [f"{o.ename}: {o.evalue}" for o in outputs(nb) if o.output_type == "error"]


def outputs_are_plain(nb):
    kinds = {mime for output in outputs(nb) for mime in output.get("data", {})}
    pages = [str(o.get("data", {}).get("text/html", "")) for o in outputs(nb)]
    return sorted(kinds - PLAIN) + [page for page in pages if "<script" in page]


def carries_no_run_data(nb):
    keys = {"widgets", "papermill"} & set(nb.metadata)
    for cell in nb.cells:
        keys |= {"execution", "papermill", "ExecuteTime"} & set(cell.metadata)
    return sorted(keys)


def is_small(nb):
    size = len(nbformat.writes(nb).encode())
    return [] if size < LARGEST else [f"{size:,} bytes"]


COMMON_RULES = (
    has_one_parameters_cell,
    ran_in_order,
    shows_no_error,
    outputs_are_plain,
    carries_no_run_data,
    is_small,
)
LESSON_RULES = (
    begins_with_the_answer,
    has_compared_outputs,
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_follows_the_rules(path):
    nb = nbformat.read(path, as_version=4)
    rules = LESSON_RULES if path in LESSONS else ()
    broken = {rule.__name__: rule(nb) for rule in COMMON_RULES + rules}
    assert {name: found for name, found in broken.items() if found} == {}, (
        "run `make notebooks` if the outputs are at fault"
    )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_finds_its_tools_from_any_folder(path):
    """The cell that first imports ``tools`` puts their folder on the path before."""
    cells = code_cells(nbformat.read(path, as_version=4))
    before, imports, _ = "\n".join(cell.source for cell in cells).partition("from tools import")
    assert not imports or 'sys.path.insert(0, f"{ROOT}/notebooks")' in before


@pytest.mark.soak
def test_papermill_runs_from_any_folder(tmp_path):
    """The kernel then starts in papermill's folder, and writes no other file there."""
    nb = nbformat.read(ROOT / "notebooks" / "02_two_model_cascades.ipynb", as_version=4)
    nb.cells = nb.cells[:4]
    source = tmp_path / "begins.ipynb"
    nbformat.write(nb, source)
    elsewhere = tmp_path / "some" / "folder"
    elsewhere.mkdir(parents=True)
    command = [sys.executable, "-m", "papermill", str(source), "ran.ipynb"]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
    ran = nbformat.read(elsewhere / "ran.ipynb", as_version=4)
    assert "fashion-mnist" in str(ran.cells[-1].outputs)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"begins.ipynb", "ran.ipynb"}
