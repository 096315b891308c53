"""Is this checkout the release that a tag names? ``python .github/release.py v1.2.3``."""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def lacking(tag: str, root: Path = ROOT) -> list[str]:
    """What a release of that tag still lacks, in words."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["project"]["version"]
    about = project["tool"]["cascadelib"]
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (root / "CITATION.cff").read_text(encoding="utf-8")
    readme = (root / "README.md").read_text(encoding="utf-8")
    checks = {
        f"pyproject.toml has version {version}, the tag is {tag}": tag == f"v{version}",
        "tool.cascadelib.repository is empty in pyproject.toml": about["repository"],
        "tool.cascadelib.published is false in pyproject.toml": about["published"],
        "README.md installs the checkout: python docs/readme_numbers.py": (
            "pip install 'cascadelib[" in readme
        ),
        f"CHANGELOG.md has no section of {version} with its date": re.search(
            rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE
        ),
        f"CITATION.cff is not of {version}": f"\nversion: {version}\n" in citation,
    }
    return [said for said, fulfilled in checks.items() if not fulfilled]


if __name__ == "__main__":
    found = lacking(sys.argv[1])
    print(*found, sep="\n")
    sys.exit(bool(found))
