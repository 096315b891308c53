"""What of the package's metadata depends on the address of its repository.

README.md as a package index shows it has links and pictures that lead there. All else of the
package stands in pyproject.toml, the address in ``tool.cascadelib``.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
# [text](address), ![picture](file), and the address of a picture that is a link: (file)](address).
LINK = re.compile(r"(!?)(\[[^\]]*\]\(|(?<=\))\]\()(?![\w+]+:|#)([^)\s]+)")


def absolute(text: str, repository: str) -> str:
    """Markdown whose relative links are addresses below ``repository``, pictures raw files;
    unchanged where that is empty."""
    if not repository:
        return text
    return LINK.sub(
        lambda m: f"{m[1]}{m[2]}{repository}/{'raw' if m[1] else 'blob'}/HEAD/{m[3]}", text
    )


def urls(repository: str) -> dict[str, str]:
    """The addresses that a package index shows; of the site, where the repository is on GitHub."""
    if not repository:
        return {}
    found = {
        "Repository": repository,
        "Changelog": f"{repository}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{repository}/issues",
    }
    if on_github := re.fullmatch(r"https://github\.com/([\w-]+)/([\w.-]+)", repository):
        found["Documentation"] = f"https://{on_github[1].lower()}.github.io/{on_github[2]}/"
    return found


def about(folder: Path = HERE) -> dict:
    """``tool.cascadelib`` of a pyproject.toml, the repository without a slash at its end."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    found = project["tool"]["cascadelib"]
    return found | {"repository": found["repository"].rstrip("/")}


if __name__ == "__main__":
    address = about()["repository"]
    setup(
        long_description=absolute((HERE / "README.md").read_text(encoding="utf-8"), address),
        long_description_content_type="text/markdown",
        project_urls=urls(address),
    )
