"""The ledger of the bundled run, by the notebooks' own code: of each, the statements that its
ledger rests on.

python tests/bundled_claims.py     rewrites docs/ledger.md, which tests/studies/test_ledger.py
compares
"""

import ast
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "notebooks"))  # ledger.py
PAGE = ROOT / "docs" / "ledger.md"
NOTEBOOKS = [f"{n:02d}" for n in range(1, 8)]
RESAMPLES = 2  # of the intervals, which no claim looks at
HEAD = """# Ledger

The paper's claims, in our words: what the paper gives; what follows from the figures that timm \
published of the paper's
models, where that takes no image; what the bundled run shows (Fashion-MNIST and film reviews, at \
the notebooks'
parameters); and a verdict: *agrees*, *differs*, or *not comparable* and why. Where the paper \
speaks of an accuracy, the
run is measured at the same share of its own range, from the cheapest to the best single model on \
the front. Of several
moved splits the least and the largest value is shown, and a claim has to hold on all. On other \
data each notebook ends
with its own rows (`notebooks/tools/ledger.py`). Written by `python tests/bundled_claims.py`.
"""

NOTE = """*Held out*: the same of the identical cascades on the split that chose nothing; where \
it says otherwise than
*this run*, on the split that chose, the verdict is *open*. The [ranking of \
methods](ranking.md#beside-the-ledger) lets
the splits change places instead, so a statement may have another verdict there.
"""


def names(statement: Any, context: Any) -> Any:
    """Names that a statement loads or stores, but for those of its comprehensions."""
    inner = [c.target for c in ast.walk(statement) if isinstance(c, ast.comprehension)]
    own = {n.id for target in inner for n in ast.walk(target) if isinstance(n, ast.Name)}
    return {
        n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, context)
    } - own


def written(statement: Any) -> Any:
    """Names that a statement binds or changes in place: import x, x = …, x[…] = …, x |= …,
    x.update(…)."""
    imported = {
        a.asname or a.name
        for n in ast.walk(statement)
        if isinstance(n, ast.Import | ast.ImportFrom)
        for a in n.names
    }
    parts = [n for n in ast.walk(statement) if isinstance(n, ast.Subscript | ast.Attribute)]
    changed = [
        n.value
        for n in parts
        if isinstance(n.ctx, ast.Store) or getattr(n, "attr", "") in ("pop", "update")
    ]
    return (
        names(statement, ast.Store) | imported | {c.id for c in changed if isinstance(c, ast.Name)}
    )


def needed(statements: Any, wanted: Any) -> Any:
    """The statements, in order, that ``wanted`` names rest on."""
    kept = []
    wanted = set(wanted)
    for statement in reversed(statements):
        if written(statement) & wanted:
            kept.insert(0, statement)
            wanted |= names(statement, ast.Load)
    return kept


def measured(notebook: Any) -> Any:
    """The ledger of a notebook, at its own parameters, without its figures and intervals."""
    (path,) = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    sources = [
        (c, ast.parse(c.source).body)
        for c in nbformat.read(path, as_version=4).cells
        if c.cell_type == "code"
    ]
    few = ast.parse(f"resamples = {RESAMPLES}").body
    body = [
        s for c, part in sources for s in part + few * ("parameters" in c.metadata.get("tags", []))
    ]
    (told,) = [s for s in body if "ledger.table(" in ast.unparse(s)]
    body = body[: body.index(told)]
    last = ast.parse(f"shown = {ast.unparse(told)}").body
    space = {}
    exec(compile(ast.Module(needed(body + last, ["shown"]), []), path.name, "exec"), space)
    return space["shown"]


def fresh_ledger() -> Any:
    """The ledger of all notebooks at their parameters, as one table: notebook, id, and its
    columns."""
    import pandas as pd

    from tools import ledger

    os.environ.pop("CASCADELIB_QUICK", None)
    os.chdir(ROOT / "notebooks")
    tables = {number: measured(number) for number in NOTEBOOKS} | {
        "08": ledger.table({}, "08")
    }  # 08: times
    return pd.concat(tables, names=["notebook"]).reset_index()


def page(table: Any) -> Any:
    """The table as docs/ledger.md has it."""
    rows = [list(table), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    lines = []
    for row in rows:
        cells = [cell.replace("|", "\\|") for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    counts = table["verdict"].str.split(":").str[0].value_counts()
    summary = ", ".join(f"*{verdict}* {number}" for verdict, number in counts.items())
    return f"{HEAD}\n{NOTE}\nOf {len(table)} claims: {summary}.\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    warnings.simplefilter("ignore")
    PAGE.write_text(page(fresh_ledger()), encoding="utf-8")
    print(PAGE)
