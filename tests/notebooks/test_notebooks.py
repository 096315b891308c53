"""The form of every committed notebook: a question, parameters, an answer first, small outputs.

Each rule is a function from a notebook to the list of its violations.
"""

import ast
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from cascadelib.files import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LESSONS = [path for path in NOTEBOOKS if path.name < "10"]  # the others are the paper's
LARGEST = 1_000_000  # bytes
PLAIN = {f"text/{kind}" for kind in ("plain", "html", "markdown", "latex")}
PLAIN |= {"image/png", "image/svg+xml"}


def code_cells(nb, tag=None):
    cells = [cell for cell in nb.cells if cell.cell_type == "code"]
    return [cell for cell in cells if tag is None or tag in cell.metadata.get("tags", [])]


def outputs(nb):
    return [output for cell in code_cells(nb) for output in cell.outputs]


def syntax_trees(nb):
    """The syntax tree of each code cell, without the lines of magic."""
    for cell in code_cells(nb):
        lines = [line for line in cell.source.splitlines() if line[:1] not in "%!"]
        yield cell, ast.parse("\n".join(lines))


def opens_with_a_question(nb):
    first = nb.cells[0]
    return [] if first.cell_type == "markdown" and "?" in first.source else [first.source]


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


def imports_only_the_library(nb):
    """NumPy, pandas, cascadelib and the standard library. No cell changes the path of modules."""
    known = {"cascadelib", "numpy", "pandas", *sys.stdlib_module_names}
    broken = []
    for _, tree in syntax_trees(nb):
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                broken += [a.name for a in node.names if a.name.partition(".")[0] not in known]
            if isinstance(node, ast.ImportFrom) and node.module.partition(".")[0] not in known:
                broken.append(node.module)
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.path":
                broken.append("sys.path")
    return broken


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


def names_no_folder_of_this_machine(nb):
    folders = [str(p) for p in (ROOT, Path.home(), sys.prefix) if len(Path(p).parts) > 1]
    text = nbformat.writes(nb)
    return [p for p in folders if any(f"{quote}{p}/" in text for quote in "\"' ")]


def is_small(nb):
    size = len(nbformat.writes(nb).encode())
    return [] if size < LARGEST else [f"{size:,} bytes"]


COMMON_RULES = (
    opens_with_a_question,
    has_one_parameters_cell,
    ran_in_order,
    shows_no_error,
    outputs_are_plain,
    carries_no_run_data,
    names_no_folder_of_this_machine,
    is_small,
)
LESSON_RULES = (
    begins_with_the_answer,
    imports_only_the_library,
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_follows_the_rules(path):
    nb = nbformat.read(path, as_version=4)
    rules = LESSON_RULES if path in LESSONS else ()
    broken = {rule.__name__: rule(nb) for rule in COMMON_RULES + rules}
    assert {name: found for name, found in broken.items() if found} == {}, (
        "run `make notebooks` if the outputs are at fault"
    )


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
