"""The house itself: one list of packages, a Makefile that explains itself, files that name no
folder of a machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / ".github")]
import extras  # noqa: E402 - a script, no package
import release  # noqa: E402 - so is this

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TARGETS = set("app bench cascadebench data docs fuzz help imagenet lab lint notebooks".split())
TARGETS |= set("run soak test zoo".split())
CORE = "numba numpy pandas pyarrow safetensors scipy tqdm".split()
ASKED_FOR = set(
    "jupyterlab torch timm fvcore transformers plotly ipywidgets papermill nbval anywidget pooch "
    "datasets torchvision kaleido nbconvert".split()
)


def committed_files():
    """Files that git tracks or would, as paths; the test is skipped outside a clone."""
    command = ["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git clone")
    return [
        ROOT / name
        for name in sorted(set(listed.stdout.split("\0")))
        if name and (ROOT / name).is_file()
    ]


def make(*arguments):
    return subprocess.run(
        ["make", "-C", ROOT, *arguments], capture_output=True, text=True, env=clean_environment()
    )


def clean_environment():
    """This environment without what an outer ``make test`` hands down."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MAKE", "MFLAGS", "RAW", "ARGS"))
    }


def packages(*extras):
    """Names of the packages that the extras ask for, those of the extras that they name
    included."""
    names = []
    for line in (line for extra in extras for line in PROJECT["optional-dependencies"][extra]):
        own = re.fullmatch(r"cascadelib\[([\w,]+)\]", line)
        names += packages(*own[1].split(",")) if own else [re.match(r"[\w-]+", line)[0]]
    return names


def test_one_list_of_packages():
    extras = PROJECT["optional-dependencies"]
    assert [re.match(r"[\w-]+", line)[0] for line in PROJECT["dependencies"]] == CORE
    assert ASKED_FOR <= set(packages("all")) and extras["all"] == [
        "cascadelib[vision,text,explore,notebooks,sklearn]"
    ]
    assert all(
        lines == sorted(lines, key=lambda line: re.split(">=", line)) for lines in extras.values()
    )
    lines = [line for extra in [PROJECT["dependencies"], *extras.values()] for line in extra]
    floors = [line for line in lines if not line.startswith("cascadelib[")]
    assert [line for line in floors if not re.fullmatch(r"[\w-]+(\[\w+\])?>=[\w.]+", line)] == []
    assert len({line for line in floors}) == len(
        {re.match(r"[\w-]+", line)[0] for line in floors}
    )  # one floor each


def test_conda_defers_to_it():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    assert [re.match(r"\w+", item)[0] for item in plain] == ["python", "pip", "make"]
    assert f"python{PROJECT['requires-python']}" in plain
    assert environment["dependencies"][-1] == {"pip": ["-e .[all,test]"]}


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
    would = make(
        "-n", "imagenet", "IMAGES=somewhere", "OUT=there", "GPUS=4", "ARGS=--every 5"
    ).stdout
    assert "torchrun --standalone --nproc-per-node=4 data/imagenet-1k/extract.py" in would
    would = " ".join(would.split())
    assert "--images somewhere --out there --whole --every 5" in would and "--table" not in would
    assert "run_notebooks.py there --preset data/imagenet-1k/paper.yml" in would
    would = " ".join(make("-n", "imagenet", "IMAGES=somewhere", "TABLE=own.csv").stdout.split())
    assert "--table own.csv" in would
    would = " ".join(
        make("-n", "imagenet", "IMAGES=somewhere", "V2=other", "PRESET=").stdout.split()
    )
    assert "--v2 other" in would and "--whole" not in would and "--preset" not in would


def test_make_imagenet_takes_logits_that_are_there():
    assert "LOGITS=FOLDER" in make("imagenet").stdout
    would = " ".join(make("-n", "imagenet", "LOGITS=there", "ARGS=02 --devkit kit").stdout.split())
    assert "extract.py" not in would
    assert "run_notebooks.py there --preset data/imagenet-1k/paper.yml 02 --devkit kit" in would


def test_make_zoo_takes_a_folder_or_downloads():
    assert (
        "tables.py --tables own --near" in make("-n", "zoo", "RESULTS=own", "ARGS=--limit 9").stdout
    )
    assert "tables.py --today --near" in make("-n", "zoo", "RESULTS=").stdout


def test_ci_ends_in_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK) and script.read_text(encoding="utf-8").rstrip().endswith(
        "exec make test"
    )
    assert subprocess.run(["bash", "-n", script]).returncode == 0
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    )
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert "bash .ci/run" in steps and "make run" in steps
    assert {"3.11", "3.13"} <= set(workflow["jobs"]["test"]["strategy"]["matrix"]["python"])
    lowest = " ".join(step.get("run", "") for step in workflow["jobs"]["lowest"]["steps"])
    assert "--resolution lowest-direct" in lowest and "bash .ci/run" in lowest


def test_actions_are_pinned_by_commit():
    """With the tag in a comment beside it."""
    used = [
        line.strip(" -")
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]
    assert used
    for line in used:
        assert re.fullmatch(r"uses: [\w/-]+@[0-9a-f]{40} # v[\d.]+", line), line


def test_no_file_names_a_folder_of_this_machine():
    folders = {
        str(folder) for folder in (ROOT, Path.home(), sys.prefix) if len(Path(folder).parts) > 1
    }
    pattern = re.compile(
        "|".join(rf"(?<![\w.]){re.escape(folder)}/" for folder in sorted(folders)).encode()
    )
    named = {
        path.relative_to(ROOT): pattern.search(path.read_bytes()) for path in committed_files()
    }
    assert {path: found[0] for path, found in named.items() if found} == {}


def test_a_release_says_what_it_lacks(tmp_path):
    version = PROJECT["version"]
    for name in ("pyproject.toml", "CHANGELOG.md", "CITATION.cff", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    lacks = release.lacking("v0.0.9", tmp_path)
    assert f"pyproject.toml has version {version}, the tag is v0.0.9" in lacks
    project = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    for before, after in (
        ('repository = ""', 'repository = "https://github.com/owner/name"'),
        ("published = false", "published = true"),
    ):
        project = project.replace(before, after)
    (tmp_path / "pyproject.toml").write_text(project, encoding="utf-8")
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(readme.replace("'.[explore]'", "'cascadelib[explore]'"))
    assert release.lacking(f"v{version}", tmp_path) == []
    (tmp_path / "CHANGELOG.md").write_text("## [Unreleased]\n")
    assert [said.split()[0] for said in release.lacking(f"v{version}", tmp_path)] == [
        "CHANGELOG.md"
    ]


def test_what_is_published_was_tried_first():
    path = ROOT / ".github" / "workflows" / "publish.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    assert (jobs["publish"]["needs"], jobs["try"]["needs"]) == ("try", "build")
    assert jobs["try"]["strategy"]["matrix"]["python"] == ["3.11", "3.13"]
    assert "CASCADELIB_WHEEL=" in jobs["try"]["steps"][-1]["run"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def test_citation_and_version_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def copy_of_the_top(folder):
    """What a build reads, but for the package."""
    (folder / "data" / "semantic-sql").mkdir(parents=True)
    for name in ("pyproject.toml", "setup.py", "README.md", *PROJECT["license-files"]):
        shutil.copy(ROOT / name, folder / name)


METADATA = """
from pathlib import Path
from setuptools import build_meta
made = Path("made", build_meta.prepare_metadata_for_build_wheel("made"))
print((made / "METADATA").read_text(encoding="utf-8"))
"""


@pytest.mark.parametrize("address", [None, "https://github.com/owner/name"])
def test_a_package_index_shows_the_readme_with_links_that_lead_somewhere(tmp_path, address):
    copy_of_the_top(tmp_path)
    (tmp_path / "made").mkdir()
    (tmp_path / "cascadelib").mkdir()
    if address:
        text = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
        text = text.replace('repository = ""', f'repository = "{address}/"')
        (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    said = alone(sys.executable, METADATA, tmp_path)
    assert "Description-Content-Type: text/markdown" in said
    pictures, links = (re.findall(rf"{mark}\[[^]]*\]\(([^)#]+)", said) for mark in ("!", "(?<!!)"))
    assert pictures and len(links) > 10
    if not address:
        assert ".github/cascade.svg" in pictures and "docs/speed.md" in links
        return
    assert (
        f"{address}/raw/HEAD/.github/cascade.svg" in pictures
        and f"{address}/blob/HEAD/docs/speed.md" in links
    )
    assert all(link.startswith("https://") for link in [*pictures, *links])
    assert re.findall(r"\]\((?!https://|#)", said) == []
    assert f"Project-URL: Repository, {address}\n" in said
    assert "Project-URL: Documentation, https://owner.github.io/name/\n" in said


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """The wheel of this tree, built from a copy: setuptools leaves its own behind. Or the one that
    is about to be published."""
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
    """The Python of a new environment with the wheel and its core alone, which are links to the
    packages of this one: no network is needed. Compiled kernels come from this checkout."""
    folder = tmp_path_factory.mktemp("thin")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    pip(python, "install", "--no-deps", "--no-index", wheel)
    (installed,) = folder.glob("lib/python*/site-packages")
    for name in extras.needed("cascadelib") - {"cascadelib"}:
        tops = {file.parts[0] for file in distribution(name).files} - {"..", "__pycache__"}
        for top in tops:
            (installed / top).symlink_to(distribution(name).locate_file(top))
    subprocess.run([sys.executable, "-m", "cascadelib", "warm"], check=True, cwd=ROOT)
    for kept in (ROOT / "cascadelib").rglob("*.nb[ic]"):
        target = installed / kept.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, target)
    return python


def pip(python, *arguments):
    """Run this environment's pip on another one; its output."""
    command = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    environment = clean_environment()
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alone(python, code, folder, **environment):
    """What code prints, run by a Python in a folder that is no checkout."""
    others = {
        name: v for name, v in os.environ.items() if not name.startswith(("PYTHON", "CASCADELIB_"))
    }
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


def test_the_core_is_at_most_twenty_packages(thin):
    """Nothing that they or the wheel ask for is missing."""
    listed = json.loads(pip(thin, "list", "--format=json"))
    names = {package["name"] for package in listed} - {"cascadelib"}
    assert set(CORE) <= names and len(names) <= 20 and not names & ASKED_FOR
    assert "No broken requirements" in pip(thin, "check")


FROM_SCORES = """
import sys, numpy as np, cascadelib as cl
rng = np.random.default_rng(0)
right = rng.random(4000) < [[0.7], [0.8], [0.9]]  # all find the same samples difficult
confidence = np.where(right, 0.5, 0.2) + 0.5 * rng.random(right.shape)
scores = cl.ScoreTable(right, confidence, [1, 5, 30], ["s", "m", "l"])
front = cl.search(scores.take(slice(0, None, 3)), n_models=(1, 2, 3), cost="cost")
point = cl.pick(front, "match_best", caution=0)
held_out = cl.evaluate(scores.take(slice(1, None, 3)), point)
certificate = cl.certify(scores.take(slice(2, None, 3)), front, epsilon=0.03)
policy = cl.Policy.from_point(certificate.point, scores)
policy.save("policy.json")
assert cl.Policy.load("policy.json") == policy and held_out.cost < 30
heavy = {"torch", "torchvision", "timm", "transformers", "datasets", "fvcore"}
heavy |= {"plotly", "ipywidgets", "PIL"}
print(cl.__version__, *certificate.point.models, heavy & set(sys.modules))
"""


def test_scores_to_a_policy_on_the_core_alone(thin, tmp_path):
    said = alone(thin, FROM_SCORES, tmp_path).split()
    assert said[0] == PROJECT["version"] and said[-2] in ("m", "l") and said[-1] == "set()"


SCORES = """
import numpy as np, pandas as pd
rng = np.random.default_rng(0)
right = rng.random(3000) < [[0.8], [0.95]]  # what the small model gets right, the large one does
rows = {"sample": np.arange(3000).tolist() * 2, "model": np.repeat(["s", "l"], 3000)}
rows["cost"] = np.repeat([0, 9], 3000)
sure = np.where(right, 0.5, 0.2) + 0.5 * rng.random(right.shape)
rows |= {"correct": right.ravel(), "confidence": sure.ravel()}
pd.DataFrame(rows).to_csv("scores.csv", index=False)
"""


def test_the_command_line_on_the_core_alone(thin, tmp_path):
    alone(thin, SCORES, tmp_path)

    def shell(*arguments):
        command = [thin.with_name("cascadelib"), *arguments]
        environment = {"PATH": os.environ["PATH"]}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600
        )
        return done.returncode, done.stdout, done.stderr

    columns = ["scores.csv", "--correct", "correct"]
    status, said, _ = shell(
        "certify", *columns, "--epsilon", "0.02", "--out", "policy.json", "--json"
    )
    assert status == 0 and json.loads(said)["models"] == ["s", "l"]
    status, said, _ = shell("evaluate", "policy.json", *columns, "--json")
    assert status == 0 and 0.9 < json.loads(said)["here"]["accuracy"] < 1
    assert shell("show", "policy.json")[1].startswith("policy: <Policy: s at ")
    assert shell("search", *columns, "--budget", "-1")[::2] == (
        2,
        "cascadelib: no cascade costs -1 or less; the cheapest costs 0\n",
    )
    status, _, told = shell("explore", *columns)
    assert status == 2 and told.count("\n") == 1 and "cascadelib[explore]" in told


BARE = """
import importlib.abc, json, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {*sys.stdlib_module_names, "numpy", "cascadelib"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import cascadelib as cl
policy = cl.Policy.load("policy.json")
stages = policy.decide([[0.99] * 5 + [0.0] * 5] * (len(policy.models) - 1)).exit_stage
print(stages.tolist())
"""


def test_a_machine_that_only_decides_needs_numpy_alone(thin, tmp_path):
    alone(thin, FROM_SCORES, tmp_path)
    assert alone(thin, BARE, tmp_path) == "[0, 0, 0, 0, 0, 2, 2, 2, 2, 2]\n"


BESIDE = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
PAGES = ("docs/first-steps.md", "README.md")
BLOCK = r"(?:In `([\w.]+)`:\n\n)?```(python|console)\n(.*?)```"
ELSEWHERE = ("make ", "pip ")  # commands for a checkout, and to install what is installed here
WALK = """
import json, shutil, subprocess, sys
for page, blocks in json.load(open("blocks.json")).items():
    shutil.rmtree("my-logits", ignore_errors=True)
    for file, kind, code in blocks:
        print("###", page, file, kind, code.splitlines()[0], flush=True)
        if file:
            open(file, "w").write(code)
        elif kind == "python":
            exec(compile(code, f"{page}: {code[:60]}", "exec"), {"__name__": "__main__"})
        for line in code.splitlines() if kind == "console" else ():
            subprocess.run(line.removeprefix("$ "), shell=True, check=True)
"""


def test_every_block_of_the_readme_and_of_the_first_steps_runs(thin, tmp_path):
    """As they stand and in their order, by the wheel in an environment of its own; what the extras
    install comes from the environment of the tests."""
    blocks = {}
    for page in PAGES:
        found = re.findall(BLOCK, (ROOT / page).read_text(encoding="utf-8"), re.S)
        blocks[page] = [
            block for block in found if not block[2].removeprefix("$ ").startswith(ELSEWHERE)
        ]
    (tmp_path / "blocks.json").write_text(json.dumps(blocks))
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "sitecustomize.py").write_text(BESIDE)
    environment = {"PATH": f"{thin.parent}{os.pathsep}{os.environ['PATH']}", "BROWSER": "true"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(tmp_path / "beside"), str(tmp_path)])}
    said = alone(thin, WALK, tmp_path, **environment)
    assert said.count("With probability at least 95%") == 6
    assert said.count("[0 1") == 2 and (tmp_path / "cascade.json").is_file()
    policy = (tmp_path / "policy.json").read_text()
    assert json.loads(policy)["models"][0]["name"] == "llama-3.1-8b"


def test_published_models_on_the_core_alone(thin, tmp_path):
    code = "import cascadelib as cl; t = cl.published.models(); print(len(t))"
    assert alone(thin, code, tmp_path).split()[0] == "668"


LACKING = """
from cascadelib.files import located
try:
    located("data/reviews")
except FileNotFoundError as error:
    print(error)
"""


def test_bundled_data_is_where_the_environment_says(thin, tmp_path):
    code = "import cascadelib as cl; print(len(cl.LogitStore('data/fashion-mnist/val')))"
    assert alone(thin, code, tmp_path, CASCADELIB_DATA=str(ROOT / "data")).split() == ["10000"]
    assert "set CASCADELIB_DATA to a folder" in alone(thin, LACKING, tmp_path)
    assert "nowhere/reviews" in alone(thin, LACKING, tmp_path, CASCADELIB_DATA="nowhere")


OWN_MODULES = """
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


def test_a_cascade_of_own_modules_needs_torch_alone(tmp_path):
    path = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    assert alone(sys.executable, OWN_MODULES, tmp_path, **path) == "set()\n"
