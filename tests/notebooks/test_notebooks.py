"""Check the form of every committed notebook: a question, parameters, short cells, answers, small
outputs.

The rules are functions from a notebook to the list of its violations, so that they are tested too.
"""

import ast
import subprocess
import sys
from pathlib import Path
from statistics import median

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# statements, but for parameters
LONGEST_CELL = 10
MEDIAN_CELL = 4  # statements, one per thing said
LARGEST = 1_000_000  # bytes
IMAGES_TEXT_AND_TABLES = {
    "text/plain",
    "text/html",
    "text/markdown",
    "text/latex",
    "image/png",
    "image/svg+xml",
}
PAPER_TABLE = ("paper's claims", "this run")


def code_cells(nb):
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def outputs(nb):
    return [output for cell in code_cells(nb) for output in cell.outputs]


def opens_with_a_question(nb):
    first = nb.cells[0]
    return (
        []
        if first.cell_type == "markdown" and "?" in first.source
        else ["no question in the first cell"]
    )


def has_one_parameters_cell(nb):
    tagged = [cell for cell in code_cells(nb) if "parameters" in cell.metadata.get("tags", [])]
    return [] if len(tagged) == 1 else [f"{len(tagged)} cells tagged parameters"]


def defines_nothing(nb):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    sources = [
        "\n".join(line for line in c.source.splitlines() if line[:1] not in "%!")
        for c in code_cells(nb)
    ]
    nodes = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, kinds)
    ]
    return [f"{type(node).__name__}: {ast.unparse(node).splitlines()[0]}" for node in nodes]


def statements(source):
    """How many statements a cell has, those inside loops included."""
    return sum(isinstance(node, ast.stmt) for node in ast.walk(ast.parse(source)))


def cells_are_short(nb):
    sources = [c.source for c in code_cells(nb) if "parameters" not in c.metadata.get("tags", [])]
    sizes = {source: statements(source) for source in sources}
    broken = [
        f"a cell of {size} statements: {source}"
        for source, size in sizes.items()
        if size > LONGEST_CELL
    ]
    middle = median(sizes.values()) if sizes else 0
    if middle > MEDIAN_CELL:
        broken.append(f"cells of {middle} statements in the median")
    return broken


def ends_with_one_printed_answer(nb):
    tagged = [cell for cell in code_cells(nb) if "answer" in cell.metadata.get("tags", [])]
    texts = [o.get("text", "").strip() for cell in tagged for o in cell.outputs]
    good = tagged == code_cells(nb)[-1:] and len(texts) == 1 and texts[0] and "\n" not in texts[0]
    return (
        []
        if good
        else [
            f"{len(tagged)} cells tagged answer, not the last one with a printed paragraph: {texts}"
        ]
    )


def ends_with_the_papers_numbers(nb):
    headings = [
        line.lower()
        for cell in nb.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
    ]
    headings = [line for line in headings if line.startswith("#")]
    last = headings[-2:]  # the answer may have one of its own
    there = any(all(words in heading for words in PAPER_TABLE) for heading in last)
    return [] if there else [f"the last headings are {last}, no {PAPER_TABLE}"]


def ran_in_order(nb):
    counts = [cell.execution_count for cell in code_cells(nb) if cell.source.strip()]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts {counts}"]


def shows_no_error(nb):
    return [
        f"{output.ename}: {output.evalue}"
        for output in outputs(nb)
        if output.output_type == "error"
    ]


def shows_its_answer(nb):
    return (
        []
        if outputs(nb) and code_cells(nb)[-1].outputs
        else ["no output in the last cell: not run to its end"]
    )


def outputs_are_plain(nb):
    kinds = {mime for output in outputs(nb) for mime in output.get("data", {})}
    scripts = [
        "a script in an output"
        for o in outputs(nb)
        if "<script" in str(o.get("data", {}).get("text/html", ""))
    ]
    return sorted(kinds - IMAGES_TEXT_AND_TABLES) + scripts


def carries_no_run_data(nb):
    keys = {"widgets", "papermill"} & set(nb.metadata)
    keys |= {
        key
        for cell in nb.cells
        for key in cell.metadata
        if key in ("execution", "papermill", "ExecuteTime")
    }
    return sorted(keys)


def names_no_folder_of_this_machine(nb):
    folders = {
        str(folder) + "/"
        for folder in (ROOT, Path.home(), sys.prefix)
        if len(Path(folder).parts) > 1
    }
    text = nbformat.writes(nb)
    return [
        folder
        for folder in folders
        if f'"{folder}' in text or f" {folder}" in text or f"'{folder}" in text
    ]


def is_small(nb):
    size = len(nbformat.writes(nb).encode())
    return [] if size < LARGEST else [f"{size:,} bytes"]


RULES = (
    opens_with_a_question,
    has_one_parameters_cell,
    defines_nothing,
    cells_are_short,
    ends_with_one_printed_answer,
    ends_with_the_papers_numbers,
    ran_in_order,
    shows_no_error,
    shows_its_answer,
    outputs_are_plain,
    carries_no_run_data,
    names_no_folder_of_this_machine,
    is_small,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook(path, rule):
    assert rule(nbformat.read(path, as_version=4)) == [], (
        "run `make notebooks` where the outputs are at fault"
    )


def test_names_are_numbered():
    assert [path.name for path in NOTEBOOKS if not path.name[:3].rstrip("_").isdigit()] == []


def good_notebook():
    new = nbformat.v4
    parameters = new.new_code_cell(
        "points = 5", metadata={"tags": ["parameters"]}, execution_count=1
    )
    table = new.new_output("execute_result", {"text/html": "<table></table>"}, execution_count=2)
    ledger = new.new_code_cell("points", outputs=[table], execution_count=2)
    said = new.new_output("stream", name="stdout", text="It is.\n")
    answer = new.new_code_cell(
        "print('It is.')", metadata={"tags": ["answer"]}, outputs=[said], execution_count=3
    )
    heading = new.new_markdown_cell("## The paper's claims, and this run")
    return new.new_notebook(
        cells=[new.new_markdown_cell("Is it?"), parameters, heading, ledger, answer]
    )


def test_a_good_notebook_breaks_no_rule():
    assert [rule(good_notebook()) for rule in RULES] == [[]] * len(RULES)


def data_output(**data):
    return nbformat.v4.new_output(
        "display_data", {mime.replace("__", "/"): value for mime, value in data.items()}
    )


BAD = {
    opens_with_a_question: lambda nb: nb.cells.pop(0),
    has_one_parameters_cell: lambda nb: nb.cells.pop(1),
    defines_nothing: lambda nb: nb.cells[3].update(source="%time\nclass Thing: ..."),
    cells_are_short: lambda nb: nb.cells[3].update(source="x = 1\n" * (LONGEST_CELL + 1)),
    ends_with_the_papers_numbers: lambda nb: nb.cells.pop(2),
    ran_in_order: lambda nb: nb.cells[3].update(execution_count=7),
    shows_no_error: lambda nb: nb.cells[3].outputs.append(
        nbformat.v4.new_output("error", ename="E", evalue="no")
    ),
    ends_with_one_printed_answer: lambda nb: nb.cells[4].outputs.clear(),
    shows_its_answer: lambda nb: nb.cells[4].outputs.clear(),
    outputs_are_plain: lambda nb: nb.cells[3].outputs.append(
        data_output(text__html="<script>…</script>")
    ),
    carries_no_run_data: lambda nb: nb.metadata.update(widgets={}),
    names_no_folder_of_this_machine: lambda nb: nb.cells[3].outputs.append(
        data_output(text__plain=f"{ROOT}/x")
    ),
    is_small: lambda nb: nb.cells[3].outputs.append(data_output(image__png="A" * LARGEST)),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_bad_notebook_breaks_the_rule(rule):
    nb = good_notebook()
    BAD[rule](nb)
    assert rule(nb) != []


FINDS_TOOLS = 'sys.path.insert(0, f"{ROOT}/notebooks")'


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tools_are_found_from_any_folder(path):
    """Before the first import of ``tools``, in the same cell, its folder is on the path."""
    sources = [cell.source for cell in code_cells(nbformat.read(path, as_version=4))]
    first = next((source for source in sources if "from tools import" in source), None)
    assert first is None or FINDS_TOOLS in first.partition("from tools import")[0]


def test_papermill_runs_from_any_folder(tmp_path):
    """The kernel then starts where papermill does; no file is left there but what was asked for."""
    nb = nbformat.read(ROOT / "notebooks" / "02_two_model_cascades.ipynb", as_version=4)
    shows_store = [cell.source.endswith("\nstore") for cell in nb.cells].index(True)
    nb.cells = nb.cells[: shows_store + 1]
    source = tmp_path / "begins.ipynb"
    nbformat.write(nb, source)
    elsewhere = tmp_path / "some" / "folder"
    elsewhere.mkdir(parents=True)
    command = [sys.executable, "-m", "papermill", str(source), "ran.ipynb"]
    subprocess.run(command, cwd=elsewhere, check=True, capture_output=True)
    ran = nbformat.read(elsewhere / "ran.ipynb", as_version=4)
    assert "fashion-mnist" in str(ran.cells[-1].outputs)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"begins.ipynb", "ran.ipynb"}
