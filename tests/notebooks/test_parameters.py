"""Each notebook runs with other parameters: another folder, swapped splits, entropy, seconds.

Their live figures and tables then fit into their containers in the report.
"""

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest

from cascadelib import LogitStore, Method
from cascadelib.files import ROOT
from tools.report import home, rendering, run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

BUNDLED = ROOT / "data" / "fashion-mnist"
SPLITS = (
    "val test shift/noise-1 shift/noise-2 shift/blur-2 shift/movement-2 shift/exposure-2".split()
)
QUARTER = slice(None, None, 4)
METADATA = ("macs", "seconds", "family", "image_size")
MODELS = (
    "mlp@14 mlp_h256@28 small_resnet_w4@28 lenet_w300@28 resnet18_w16@52 resnet18_w16@56".split()
)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A folder with a quarter of the bundled images, and stores of six of their models."""
    folder = tmp_path_factory.mktemp("small")
    for name in ("val.npz", "test.npz"):
        with np.load(BUNDLED / name) as arrays:
            np.savez(folder / name, **{key: arrays[key][QUARTER] for key in arrays})
    for split in SPLITS:
        full = LogitStore(BUNDLED / split)
        part = full.take(QUARTER)
        origin = (part.sample_ids, full.classes, full.dataset, full.split)
        store = LogitStore.create(folder / split, part.labels, *origin)
        for name in MODELS:
            about = {key: full.metadata(name)[key] for key in METADATA}
            store.add(name, part.logits(name), **about)
    return str(folder)


def other_parameters(path, small):
    """Return other values of a notebook's parameters, with few images."""
    found = papermill.inspect_notebook(path)
    has = {name: run.parse_literal(entry["default"]) for name, entry in found.items()}
    new = {"split": has.get("held_out", "test"), "held_out": has.get("split")}
    new |= {"method": "entropy", "cost": "seconds", "paired": False, "images": 100, "samples": 64}
    if has.get("dataset") == "data/fashion-mnist" and "images" not in has:
        new["dataset"] = small
    return {name: value for name, value in new.items() if name in has}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A folder of the executed notebooks, which the tests of a tier share."""
    return tmp_path_factory.mktemp("executed")


@pytest.fixture
def execute(small, run_cells, executed):
    """Function (path) → the cells of a notebook with other parameters, executed once."""

    def cells_of(path):
        target = executed / path.name
        if not target.exists():
            cells = run_cells(path, other_parameters(path, small))
            nbformat.write(nbformat.v4.new_notebook(cells=cells), target)
        return nbformat.read(target, as_version=4).cells

    return cells_of


@pytest.mark.soak
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_other_parameters(path, execute):
    for cell in execute(path):
        if "answer" in cell.metadata.get("tags", []):
            assert rendering.answer_of(nbformat.v4.new_notebook(cells=[cell])), "the answer is text"


@pytest.fixture(scope="module")
def tables(small, tmp_path_factory):
    """The stores of ``small`` as files of scores in one folder, and as tables in another, with a
    file of image factors."""
    root = tmp_path_factory.mktemp("tables")
    for split in SPLITS:
        store = LogitStore(f"{small}/{split}").take(QUARTER)
        rows = [
            pd.DataFrame({"confidence": confidence, "prediction": store.predicted(name)}).assign(
                sample=store.sample_ids,
                model=name,
                cost=store.models.loc[name, "macs"],
                label=store.labels,
            )
            for name in MODELS
            for _, confidence in [store.outcome([name], Method(), "top1")((0,))]
        ]
        for form in ("scores", "tables"):
            (root / form / split).parent.mkdir(parents=True, exist_ok=True)
        store.to_scores(root / "scores" / f"{split}.parquet")
        table = pd.concat(rows).astype({"prediction": str, "label": str})
        table.to_parquet(root / "tables" / f"{split}.parquet")
    files = [sample.rpartition("/")[2] for sample in LogitStore(f"{small}/test").sample_ids]
    kind = np.arange(len(files)) % 3
    factors = pd.DataFrame({"file_name": files, "pose": kind == 0, "darker": kind == 1})
    factors.to_json(root / "factors.jsonl", orient="records", lines=True)
    return root


OF_TABLES = {"method": None, "methods": [None], "cost": "cost", "top_k": 0}


@pytest.mark.soak
@pytest.mark.parametrize("form", ["tables", "scores"])
@pytest.mark.parametrize("number", ["02", "03", "04", "05"])
def test_a_lesson_runs_without_logits(number, form, tables, run_cells):
    (path,) = (path for path in NOTEBOOKS if path.name.startswith(number))
    names = papermill.inspect_notebook(path).keys()
    values = {"dataset": str(tables / form), "ensembles": {}}
    if form == "tables":
        values |= OF_TABLES | {"factors": str(tables / "factors.jsonl")}
    cells = run_cells(path, {name: value for name, value in values.items() if name in names})
    if number == "05":
        shifts = ["darker", "pose"] if form == "tables" else [name[6:] for name in SPLITS[2:]]
        assert all(name in str(cells) for name in shifts)


# The texts and lines of live figures that are outside of their container, and what scrolls
# sideways. Code may scroll. containers: of the figures. parts: what may not scroll.
CUT = """([containers, parts]) => {
    const kind = part => part.className.baseVal ?? part.className
    const name = part => `${kind(part)} ${part.textContent.slice(0, 60)}`
    const isInside = (box, area) => box.left >= area.left - 1 && box.right <= area.right + 1 &&
        box.top >= area.top - 1 && box.bottom <= area.bottom + 1
    const cut = []
    let seen = 0
    for (const plot of document.querySelectorAll(".js-plotly-plot")) {
        const area = plot.closest(containers).getBoundingClientRect()
        for (const part of plot.querySelectorAll(".main-svg text, .traces path, .errorbar path")) {
            const box = part.getBoundingClientRect()
            if (!box.width || part.closest(".hoverlayer, .modebar")) continue
            seen++
            if (!isInside(box, area)) cut.push(name(part))
        }
    }
    for (const part of document.querySelectorAll(parts)) {
        seen++
        if (part.clientWidth && part.scrollWidth > part.clientWidth + 1) cut.push(name(part))
    }
    return [seen, cut] }"""
REPORT_PARTS = "html, table, .output_area, .output_area pre, main p, img"


@pytest.fixture
def lessons(executed, execute):
    """The lessons with other parameters, executed."""
    paths = [path for path in NOTEBOOKS if path.name < "10"]
    for path in paths:
        execute(path)
    return [executed / path.name for path in paths]


@pytest.mark.soak
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000, 1440])
def test_no_live_figure_or_table_of_a_lesson_is_cut_in_the_report(
    executed, lessons, open_page, width, scheme
):
    runs = [rendering.Run(path, path) for path in lessons]
    if not (executed / "index.html").exists():
        home.write_report(runs, executed)
    for run_ in runs:
        page = open_page((executed / f"{run_.source.stem}.html").as_uri(), width, scheme)
        page.wait_for_function("document.body.dataset.fitted")
        page.locator(".js-plotly-plot .main-svg").first.wait_for()
        seen, cut = page.evaluate(CUT, ["[role=figure]", REPORT_PARTS])
        assert seen > 30 and cut == [], run_.source.stem
        page.close()
