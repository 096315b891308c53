"""Pages of the site whose text lies elsewhere, written as MkDocs reads its files (a hook).

The API reference from docstrings, a page a room; notebooks with their committed outputs; CONTRIBUTING.md and
CHANGELOG.md, SECURITY.md; and the HTML report of ``make run``, where there is one.
"""

import re
import sys
import tomllib
from pathlib import Path

import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE), str(ROOT / "notebooks")]
from report import question_of  # noqa: E402
from rooms import docstrings, listed, markdown, public, rooms, undocumented  # noqa: E402


def on_config(config):
    """The repository's address, for links to it, is the one in pyproject.toml, if there is one."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    config.repo_url = next((urls[name] for name in ("Repository", "Source", "Homepage") if name in urls), None)
    return config


def on_files(files, config):
    """Add the pages; refuse to build where a public name has no docstring."""
    if missing := undocumented():
        raise PluginError(f"public names without a docstring: {', '.join(missing)}")
    pages = reference() | notebooks() | top_level()
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    for path in sorted((ROOT / "build" / "report").glob("*.*")):
        files.append(File.generated(config, f"report/{path.name}", abs_src_path=str(path)))
    config.nav = [with_pages(entry, pages) for entry in config.nav]
    return files


def with_pages(entry, pages):
    """An entry of the site's navigation; in place of a folder, the pages written into it, its list first."""
    if isinstance(entry, str) or not (folder := next(iter(entry.values()))).endswith("/"):
        return entry
    inside = sorted(path for path in pages if path.startswith(folder) and path.endswith(".md"))
    return {next(iter(entry)): sorted(inside, key=lambda path: not path.endswith("/index.md"))}


def first_sentence(text):
    """The first sentence of a docstring on one line, fit for a cell of a table."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return markdown(re.split(r"(?<=[.:]) (?=[A-Z(])", paragraph)[0]).replace("|", "\\|")


def reference():
    """{path: Markdown}: ``reference/index.md`` is the face, then a page a room."""
    pages = {f"reference/{room}.md": room_page(room) for room in rooms()}
    own = public("")
    rows = []
    for name, module in listed("").items():
        if name in own:
            rows.append(f"| [`cl.{name}`][cascadelib.{name}] | {first_sentence(own[name])} |")
        elif module:
            rows.append(f"| [`cl.{name}`][cascadelib.{module}.{name}] | {first_sentence(public(module)[name])} |")
        else:
            about = docstrings(ROOT / "cascadelib" / name / "__init__.py")[""]
            rows.append(f"| [`cl.{name}`]({name}.md) | {first_sentence(about)} |")
    entries = [f"::: cascadelib.{name}" for name in own]
    head = "# API reference\n\nWhat `import cascadelib as cl` offers: names of daily use, and the rooms with the rest."
    return pages | {"reference/index.md": "\n\n".join([head, table(rows), *entries])}


def room_page(room):
    """A table of a room's public names, then their docstrings."""
    names = public(room)
    rows = [f"| [`{name}`][cascadelib.{room}.{name}] | {first_sentence(text)} |" for name, text in names.items()]
    about = docstrings(ROOT / "cascadelib" / room / "__init__.py")[""]
    return "\n\n".join([f"# {room}", about, table(rows), *(f"::: cascadelib.{room}.{name}" for name in names)])


def table(rows):
    """Rows of Markdown as a table."""
    return "\n".join(["| name | what it is |", "|---|---|", *rows])


def notebooks():
    """{path: Markdown or PNG}: a page a notebook with the outputs that are committed, and their list."""
    pages, rows = {}, []
    for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        text, resources = MarkdownExporter().from_notebook_node(nb)
        text = text.replace("![png](", f"![figure]({path.stem}/").replace('border="1" class="dataframe"', "")
        pages[f"notebooks/{path.stem}.md"] = text
        pages |= {f"notebooks/{path.stem}/{name}": png for name, png in resources["outputs"].items()}
        rows.append(f"| [{path.stem}]({path.stem}.md) | {question_of(nb)} |")
    head = "# Notebooks\n\nAs they are committed: figures are pictures here, and live in JupyterLab (`make lab`)."
    if (ROOT / "build" / "report" / "index.html").is_file():
        head += " The [report](../report/index.html) has them live as well."
    return pages | {"notebooks/index.md": "\n\n".join([head, table(rows).replace("name |", "notebook |", 1)])}


def top_level():
    """{path: Markdown} of the files that stand at the root of the repository."""
    names = ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    here = re.compile(rf"\]\((docs/|(?=(?:{'|'.join(names)})\)))(.*?)\)")
    return {
        name.lower(): here.sub(lambda m: f"]({m[2].lower()})", (ROOT / name).read_text(encoding="utf-8"))
        for name in names
    }
