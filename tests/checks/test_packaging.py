"""A wheel with the core packages only: its metadata, its commands, and the blocks of the pages."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from cascadelib.fronts import exact

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = "numba numpy pandas pyarrow safetensors scipy tqdm".split()
EXTRAS = set(
    "jupyterlab torch timm fvcore transformers plotly ipywidgets papermill nbval anywidget pooch "
    "datasets torchvision kaleido nbconvert".split()
)


def committed_files():
    """Return the files of a git clone that are not ignored. Outside a clone, skip the test."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    paths = [ROOT / name for name in sorted(set(listed.stdout.split("\0"))) if name]
    return [path for path in paths if path.is_file()]


def clean_environment():
    """Return this environment without the variables of an outer ``make test``."""
    outer = ("MAKE", "MFLAGS", "ARGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(outer)}


def test_no_file_names_a_folder_of_this_machine():
    folders = [f"{p}/".encode() for p in (ROOT, Path.home(), sys.prefix) if len(Path(p).parts) > 1]

    def names_one(content):
        found = [folder for folder in folders if folder in content]  # much faster than a pattern
        return any(re.search(rb"(?<![\w.])" + re.escape(folder), content) for folder in found)

    assert [path for path in committed_files() if names_one(path.read_bytes())] == []


def copy_of_the_top(folder):
    """Copy the files that a build reads, without the package."""
    (folder / "data" / "semantic-sql").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, folder / name)


METADATA = """
from pathlib import Path
from setuptools import build_meta
made = Path("made", build_meta.prepare_metadata_for_build_wheel("made"))
print((made / "METADATA").read_text(encoding="utf-8"))
"""


@pytest.mark.soak
def test_links_of_the_readme_work_on_a_package_index(tmp_path):
    address = "https://github.com/owner/name"
    copy_of_the_top(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "cascadelib").mkdir()
    text = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace('repository = ""', f'repository = "{address}/"')
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    metadata = alone(sys.executable, METADATA, tmp_path)
    assert "Description-Content-Type: text/markdown" in metadata
    pictures, links = (
        re.findall(rf"{mark}\[[^]]*\]\(([^)#]+)", metadata) for mark in ("!", "(?<!!)")
    )
    assert (
        f"{address}/raw/HEAD/.github/cascade.svg" in pictures
        and f"{address}/blob/HEAD/docs/running.md" in links
    )
    assert all(link.startswith("https://") for link in [*pictures, *links])
    assert re.findall(r"\]\((?!https://|#)", metadata) == []
    assert f"Project-URL: Repository, {address}\n" in metadata
    assert "Project-URL: Documentation, https://owner.github.io/name/\n" in metadata


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this tree, or the one that is about to be published.

    It is built from a copy, since setuptools writes into the folder.
    """
    if built := os.environ.get("CASCADELIB_WHEEL"):
        return Path(built)
    folder = tmp_path_factory.mktemp("wheel")
    copy_of_the_top(folder)
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "cascadelib", folder / "cascadelib", ignore=skipped)
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    pip(sys.executable, "wheel", *offline, "--wheel-dir", folder, folder)
    return next(folder.glob("cascadelib-*.whl"))


@pytest.fixture(scope="session")
def thin(wheel, tmp_path_factory):
    """The Python of a new environment with the wheel and the core packages.

    These are links to the packages of this environment, so no network is needed. Compiled kernels
    come from this checkout.
    """
    folder = tmp_path_factory.mktemp("thin")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip(python, "install", "--no-deps", "--no-index", wheel)
    installed = site_of(python)
    for name in core_packages():
        for top in {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}:
            (installed / top).symlink_to(distribution(name).locate_file(top))
    exact.compile_searches()  # in this process, where warm would start another
    exact.compile_ensembles()
    for kept in (ROOT / "cascadelib").rglob("*.nb[ic]"):
        target = installed / kept.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, target)
    return python


def core_packages():
    """Return the packages that the core requires, directly or indirectly."""
    found = {*CORE}
    for name in list(found):
        asked = [name]
        for each in asked:  # which grows meanwhile
            for requirement in map(Requirement, distribution(each).requires or []):
                needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
                if needed and requirement.name not in asked:
                    asked.append(requirement.name)
        found |= {*asked}
    return found


def site_of(python):
    """Return the folder of the packages of an environment."""
    (installed,) = python.parents[1].glob("lib/python*/site-packages")
    return installed


def pip(python, *arguments):
    """Run this environment's pip on another environment. Return the output."""
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    environment = clean_environment()
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alone(python, code, folder, **environment):
    """Run code by a Python in a folder outside the checkout. Return the output."""
    ours = ("PYTHON", "CASCADELIB_")
    others = {name: v for name, v in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [python, "-c", code],
        capture_output=True,
        text=True,
        cwd=folder,
        env=others | environment,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.soak
def test_the_core_is_at_most_twenty_packages_and_none_is_missing(thin):
    names = {found.name for found in distributions(path=[str(site_of(thin))])} - {"cascadelib"}
    assert set(CORE) <= names and len(names) <= 20 and not names & EXTRAS
    assert "No broken requirements" in pip(thin, "check")


SCORES = """
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
correct = rng.random(3000) < [[0.8], [0.95]]  # the large model is correct if the small one is
rows = {"sample": np.arange(3000).tolist() * 2, "model": np.repeat(["s", "l"], 3000)}
rows["cost"] = np.repeat([0, 9], 3000)
confidence = np.where(correct, 0.5, 0.2) + 0.5 * rng.random(correct.shape)
rows |= {"correct": correct.ravel(), "confidence": confidence.ravel()}
pd.DataFrame(rows).to_csv("scores.csv", index=False)
"""


@pytest.mark.soak
def test_the_command_line_works_with_the_core_only(thin, tmp_path):
    alone(thin, SCORES, tmp_path)

    def shell(*arguments):
        command = [thin.with_name("cascadelib"), *arguments]
        options = {"cwd": tmp_path, "env": {"PATH": os.environ["PATH"]}, "timeout": 600}
        done = subprocess.run(command, capture_output=True, text=True, **options)
        return done.returncode, done.stdout, done.stderr

    columns = ["scores.csv", "--correct", "correct"]
    options = ["--epsilon", "0.02", "--out", "policy.json", "--json"]
    status, printed, _ = shell("certify", *columns, *options)
    assert status == 0 and json.loads(printed)["models"] == ["s", "l"]
    status, printed, _ = shell("evaluate", "policy.json", *columns, "--json")
    assert status == 0 and 0.9 < json.loads(printed)["here"]["accuracy"] < 1
    status, _, error = shell("explore", *columns)
    assert status == 2 and error.count("\n") == 1 and "cascadelib[explore]" in error


SITE = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
PAGES = ("docs/first-steps.md", "README.md")
BLOCK = r"(?:In `([\w.]+)`:\n\n)?```(python|console)\n(.*?)```"
NOT_RUN = ("make ", "pip ")  # commands for a checkout, and to install packages
WALK = """
import json, shlex, shutil
from cascadelib.__main__ import main
for page, blocks in json.load(open("blocks.json")).items():
    shutil.rmtree("my-logits", ignore_errors=True)
    for file, kind, code in blocks:
        print("###", page, file, kind, code.splitlines()[0], flush=True)
        if file:
            open(file, "w").write(code)
        elif kind == "python":
            exec(compile(code, f"{page}: {code[:60]}", "exec"), {"__name__": "__main__"})
        for line in code.splitlines() if kind == "console" else ():
            prompt, program, *arguments = shlex.split(line, comments=True)
            assert (prompt, program) == ("$", "cascadelib") and main(arguments) == 0
"""


@pytest.mark.soak
def test_every_block_of_the_readme_and_of_the_first_steps_runs(thin, tmp_path):
    """The wheel runs them in their order. Packages of the extras come from this environment.

    Commands run in the same process.
    """
    blocks = {}
    for page in PAGES:
        found = re.findall(BLOCK, (ROOT / page).read_text(encoding="utf-8"), re.S)
        skipped = [code.removeprefix("$ ").startswith(NOT_RUN) for _, _, code in found]
        blocks[page] = [block for block, skip in zip(found, skipped) if not skip]
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(tmp_path / "site"), str(tmp_path)])
    printed = alone(thin, WALK, tmp_path, PYTHONPATH=path, BROWSER="true")
    assert printed.count("With probability at least 95%") >= 6
    assert printed.count("[0 1") == 2 and (tmp_path / "cascade.json").is_file()
    policy = (tmp_path / "policy.json").read_text()
    assert json.loads(policy)["models"][0]["name"] == "llama-3.1-8b"


TORCH_MODULES = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

BLOCKED = {"timm", "transformers", "plotly", "fvcore", "torchvision"}
BLOCKED |= {"datasets", "ipywidgets", "PIL"}
sys.meta_path.insert(0, Absent())
import numpy as np, torch, cascadelib as cl
rng = np.random.default_rng(0)
x, weights = torch.randn(300, 8, generator=torch.manual_seed(0)), torch.randn(8, 3)
modules = {name: torch.nn.Linear(8, 3) for name in ("small", "large")}
with torch.no_grad():
    logits = {name: module(x).numpy() for name, module in modules.items()}
labels = logits["large"].argmax(1)
store = cl.LogitStore.from_arrays(labels, logits, macs={"small": 10, "large": 24})
point = cl.pick(cl.search(store), budget=20, caution=0)
cascade = cl.Cascade.from_point(point, modules, store)
cascade.save("cascade.json")
decisions = cl.Cascade.load("cascade.json", modules)(x)
assert (decisions.exit_stage == cl.evaluate(store, point).exit_stage).all()
print(BLOCKED & set(sys.modules))
"""


@pytest.mark.soak
def test_a_cascade_of_torch_modules_needs_torch_only(tmp_path):
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    assert alone(sys.executable, TORCH_MODULES, tmp_path, **path) == "set()\n"
