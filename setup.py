"""README.md as a package index shows it: its links lead to the repository, once pyproject.toml has
its address.

All else of the package stands in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).resolve().parent
LINK = re.compile(r"(!?)(\[[^\]]*\]\()(?![\w+]+:|#)([^)\s]+)")


def absolute(text: str, repository: str | None) -> str:
    """Markdown whose relative links are addresses below ``repository``, pictures raw files;
    unchanged without one."""
    if not repository:
        return text
    base = repository.rstrip("/")
    return LINK.sub(lambda m: f"{m[1]}{m[2]}{base}/{'raw' if m[1] else 'blob'}/HEAD/{m[3]}", text)


if __name__ == "__main__":
    urls = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"].get(
        "urls", {}
    )
    readme = (HERE / "README.md").read_text(encoding="utf-8")
    setup(
        long_description=absolute(readme, urls.get("Repository")),
        long_description_content_type="text/markdown",
    )
