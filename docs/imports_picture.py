"""Draw which subpackage imports which, as SVG: docs/imports.svg of the page architecture.md.

    python docs/imports_picture.py

It reads the imports of all modules of the package. A box is a subpackage, `sklearn` or the command
line; the other modules of the package folder are one box, "base modules". Arrows that follow from
other arrows are left out. A test compares the file with the code.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "cascadelib"
OUT = Path(__file__).with_name("imports.svg")
BASE = "base modules"
APART = {"sklearn": "sklearn", "__main__": "command line"}  # modules with a box of their own
WIDTH = 740  # pixels, as all of these
BOX = 114
HEIGHT = 34
ROW = 74
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
role="img">
<title>Imports between the subpackages of cascadelib, from the explorer down to the base modules\
</title>
<style>
  .page {{ fill: #ffffff; stroke: #d0d7de; }} .box {{ fill: #ddf4ff; stroke: #0550ae; }}
  .way {{ fill: none; stroke: #57606a; stroke-width: 1.5; }} .tip {{ fill: #57606a; }}
  text {{ fill: #1f2328; font: 15px Helvetica, Arial, sans-serif; text-anchor: middle; }}
  @media (prefers-color-scheme: dark) {{
    .page {{ fill: #0d1117; stroke: #3d444d; }} .box {{ fill: #0c2d6b; stroke: #79c0ff; }}
    .way {{ stroke: #a8b0b8; }} .tip {{ fill: #a8b0b8; }} text {{ fill: #e6edf3; }}
  }}
</style>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" \
orient="auto"><path class="tip" d="M0 0 L10 5 L0 10 z"/></marker></defs>
<rect class="page" x="1" y="1" width="{right}" height="{bottom}" rx="12"/>
"""


def part_of(names: list[str]) -> str:
    """The box of a module, given as the parts of its name below the package."""
    if names and (PACKAGE / names[0]).is_dir():
        return names[0]
    return APART.get(names[0], BASE) if names else BASE


def imports() -> dict[str, set[str]]:
    """{box: the other boxes that its modules import}."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if module[-1] == "__init__":
            continue
        own = found.setdefault(part_of(module), set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                inside = module[: -node.level] + (node.module or "").split(".")
                names = [name for name in inside if name]
                each = [names] if names else [[alias.name] for alias in node.names]
                own.update(part_of(one) for one in each)
    return {part: used - {part} for part, used in found.items()}


def reached(graph: dict[str, set[str]], part: str) -> set[str]:
    """All boxes that a box imports, also by way of others."""
    return graph[part].union(*(reached(graph, used) for used in graph[part]))


def picture() -> str:
    """The drawing as SVG: each box above all that it imports."""
    graph = imports()
    below = {part: reached(graph, part) for part in graph}
    floor: dict[str, int] = {}
    for part in sorted(graph, key=lambda part: (len(below[part]), part)):
        floor[part] = max((floor[used] + 1 for used in graph[part]), default=0)
    rows = [
        sorted(part for part in graph if floor[part] == n) for n in range(max(floor.values()) + 1)
    ]
    place = {}
    for n, row in enumerate(reversed(rows)):
        for column, part in enumerate(row):
            place[part] = (WIDTH * (column + 1) / (len(row) + 1), 20 + n * ROW)
    height = 20 + len(rows) * ROW
    lines = [HEAD.format(width=WIDTH, height=height, right=WIDTH - 2, bottom=height - 2)]
    for part in sorted(graph):
        direct = graph[part] - set().union(*(below[used] for used in graph[part]))
        for used in sorted(direct):
            x, y = place[part]
            to_x, to_y = place[used]
            start = y + HEIGHT
            end = to_y - 2
            bend = (end - start) / 2
            lines.append(
                f'<path class="way" d="M{x:.0f} {start} C{x:.0f} {start + bend:.0f} '
                f'{to_x:.0f} {end - bend:.0f} {to_x:.0f} {end}" marker-end="url(#tip)"/>\n'
            )
    for part, (x, y) in place.items():
        lines.append(
            f'<rect class="box" x="{x - BOX / 2:.0f}" y="{y}" width="{BOX}" height="{HEIGHT}" '
            f'rx="8"/><text x="{x:.0f}" y="{y + 22}">{part}</text>\n'
        )
    return "".join([*lines, "</svg>\n"])


if __name__ == "__main__":
    OUT.write_text(picture(), encoding="utf-8")
    print(f"wrote {OUT}")
