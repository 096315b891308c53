"""The house itself: one list of packages, a Makefile that explains itself, files that name no folder of a machine."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = {"help", "run", "test", "lab", "app", "bench", "data", "imagenet", "notebooks"}
ASKED_FOR = set(
    "jupyterlab torch timm fvcore transformers numpy pandas plotly ipywidgets papermill nbval anywidget safetensors "
    "numba scipy pooch pyarrow tqdm datasets torchvision kaleido nbconvert voila".split()
)


def committed_files():
    """Files that git tracks or would, as paths; the test is skipped outside a clone."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    return [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name and (ROOT / name).is_file()]


def make(*arguments):
    return subprocess.run(["make", "-C", ROOT, *arguments], capture_output=True, text=True, env=clean_environment())


def clean_environment():
    """This environment without what an outer ``make test`` hands down."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "RAW", "ARGS"))}


def test_one_list_of_packages():
    names = [re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]]
    assert ASKED_FOR <= set(names) and names == sorted(names)
    pinned = [line for extra in PROJECT["optional-dependencies"].values() for line in extra if ">=" not in line]
    assert [line for line in PROJECT["dependencies"] if ">=" not in line] + pinned == []


def test_conda_defers_to_it():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    assert [re.match(r"\w+", item)[0] for item in plain] == ["python", "pip", "make"]
    assert f"python{PROJECT['requires-python']}" in plain
    assert environment["dependencies"][-1] == {"pip": ["-e .[test]"]}


def test_make_explains_itself():
    said = make()
    assert said.returncode == 0
    assert set(re.findall(r"^make (\w+)", said.stdout, re.MULTILINE)) == TARGETS


def test_make_data_tells_how():
    said = make("data")
    assert said.returncode == 0 and said.stdout.count("python data/fashion-mnist/") == 4
    would = make("-n", "data", "RAW=somewhere").stdout
    assert would.count("--raw somewhere") == 2


def test_make_imagenet_tells_how_and_does_it():
    assert "IMAGES=FOLDER" in make("imagenet").stdout
    would = make("-n", "imagenet", "IMAGES=somewhere", "OUT=there", "GPUS=4", "ARGS=--every 5").stdout
    assert "torchrun --standalone --nproc-per-node=4 data/imagenet-1k/extract.py" in would
    assert "--images somewhere --out there --every 5" in would and "run.py 01 02 03 04" in would


def test_ci_ends_in_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and script.read_text(encoding="utf-8").rstrip().endswith("exec make test")
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert "bash .ci/run" in steps and "make run" in steps


def test_no_file_names_a_folder_of_this_machine():
    folders = {str(folder) for folder in (ROOT, Path.home(), sys.prefix) if len(Path(folder).parts) > 1}
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(folder)}/" for folder in sorted(folders)).encode())
    named = {path.relative_to(ROOT): pattern.search(path.read_bytes()) for path in committed_files()}
    assert {path: found[0] for path, found in named.items() if found} == {}


def test_citation_and_version_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
