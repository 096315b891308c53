"""The commands of `cascadelib`: output, files, exit status, and errors of one line."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib import __main__ as command_line
from cascadelib.__main__ import main, with_options
from cascadelib.policy.form import parts_as_json

NAMED = ["--label", "label", "--prediction", "prediction"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A long shuffled table of three models, as CSV and parquet, and a store."""
    folder = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    labels = rng.choice(["cat", "dog"], 600)
    rows = []
    for model, accuracy, price in (("cache", 0.6, 0), ("small", 0.8, 1), ("large", 0.95, 10)):
        correct = rng.random(600) < accuracy
        confidence = (
            np.round(np.where(correct, 0.6, 0.3) + 0.4 * rng.random(600), 2)
            if model != "large"
            else np.nan
        )
        answer = np.where(correct, labels, np.where(labels == "cat", "dog", "cat"))
        columns = {"sample": [f"q{i}" for i in range(600)], "model": model, "cost": price}
        columns |= {"label": labels, "prediction": answer, "confidence": confidence}
        rows.append(pd.DataFrame(columns))
    frame = pd.concat(rows).sample(frac=1, random_state=0)
    frame.to_csv(folder / "t.csv", index=False)
    frame.to_parquet(folder / "t.parquet")
    noisy = noisy_store(k=600, models=3, classes=3)
    store = cl.LogitStore.create(folder / "store", noisy.labels, dataset="toy", split="val")
    for name in noisy.models.index:
        store.add(name, noisy.logits(name), macs=noisy.models.loc[name, "macs"])
    return folder


def run_json(capsys, *argv):
    """Return the exit status and the printed JSON of a command line."""
    status = main([*map(str, argv), "--json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_search_evaluate_and_show_agree(folder, kind, tmp_path, capsys):
    table = folder / f"t.{kind}"
    policy = tmp_path / "p.json"
    status, found = run_json(capsys, "search", table, *NAMED, "--budget", 5, "--out", policy)
    assert status == 0 and list(found)[0] == "held_out" and found["held_out"]["samples"] == 300
    assert found["where_chosen"]["cost"] <= 5
    assert list(cl.Policy.load(policy).models) == found["models"]
    assert cl.Policy.load(policy).point.expected.accuracy.value == found["held_out"]["accuracy"]
    status, there = run_json(capsys, "evaluate", policy, table, *NAMED)
    mean = (found["held_out"]["accuracy"] + found["where_chosen"]["accuracy"]) / 2
    assert there["here"]["accuracy"] == pytest.approx(mean) and there["here"]["samples"] == 600
    assert main(["evaluate", str(policy), str(table), *NAMED]) == 0
    assert re.search(r"large .*\naccuracy .*, cost .*, saving", capsys.readouterr().out)
    status, shown = run_json(capsys, "show", policy)
    assert status == 0 and shown == parts_as_json(cl.Policy.load(policy).point)
    assert main(["show", str(policy)]) == 0
    assert capsys.readouterr().out.startswith("policy: <Policy: small at ")


def test_certify_writes_a_policy_only_if_it_is_certified(folder, tmp_path, capsys):
    command = ["certify", folder / "t.csv", *NAMED, "--out", tmp_path / "p.json", "--epsilon"]
    status, found = run_json(capsys, *command, 0.05)
    assert (status, found["certified"]) == (0, True)
    assert "loses at most 5 points" in found["certificate"]
    assert list(cl.Policy.load(tmp_path / "p.json").models) == found["models"]
    # With --expected other accuracies and another caution apply.
    status, expected = run_json(capsys, *command, 0.05, "--expected")
    assert (status, expected["certified"]) == (0, True)
    assert expected["expected_accuracy"] != found["expected_accuracy"]
    (tmp_path / "p.json").unlink()
    status, found = run_json(capsys, *command, 0, "--delta", 1e-9)
    assert (status, found["certified"]) == (1, False) and not (tmp_path / "p.json").exists()


def test_a_policy_is_certified_on_a_table_against_its_last_model(folder, tmp_path, capsys):
    table = folder / "t.csv"
    policy = tmp_path / "p.json"
    run_json(capsys, "search", table, *NAMED, "--budget", 5, "--out", policy)
    frame = pd.read_csv(table)
    frame["sample"] = "new " + frame["sample"]
    table = tmp_path / "new.csv"
    frame.to_csv(table, index=False)
    command = ["certify", table, *NAMED, "--check", policy, "--epsilon"]
    for guarantee, is_certified in ([0.2], True), ([0, "--delta", 1e-9], False):
        status, found = run_json(capsys, *command, *guarantee)
        assert (status, found["certified"]) == (1 - is_certified, is_certified)
        assert "large" in found["certificate"] and found["here"]["samples"] == 600


def test_search_reads_a_store(folder, tmp_path, capsys):
    command = ["search", folder / "store", "--goal", "match_best", "--n-models", 2]
    command += ["--out", tmp_path / "p.json"]
    status, found = run_json(
        capsys, *command, "--held-out", 0.25, "--method", "entropy", "--cost", "macs"
    )
    assert status == 0 and found["held_out"]["samples"] == 150
    assert found["where_chosen"]["samples"] == 450
    assert cl.Policy.load(tmp_path / "p.json").point.metric == "entropy"
    status, found = run_json(
        capsys, *command, "--held-out", folder / "store", "--method", "isotonic_by_label"
    )
    assert (
        found["held_out"] == found["where_chosen"]
        and cl.Policy.load(tmp_path / "p.json").point.method.fitted
    )
    status, found = run_json(capsys, *command, "--held-out", 0)
    assert "held_out" not in found and found["where_chosen"]["samples"] == 600


ERRORS = {
    "no goal": (["search", "t.csv"], "--budget --accuracy --loss --goal is required"),
    "a missing file": (["search", "none.csv", "--budget", "1"], "there is no file none.csv"),
    "missing columns": (
        ["search", "t.csv", "--label", "lable", "--model", "llm", "--budget", "1"],
        "no columns for --model 'llm', --label 'lable'. The columns are 'sample', 'model', 'cost'",
    ),
    "an unknown command": (["certfy", "t.csv"], "unknown command 'certfy'; nearest: 'certify'"),
    "another kind of file": (["explore", "t.txt"], "t.txt: neither .csv, .csv.gz nor .parquet"),
    "a folder without a store": (["explore", "."], ". is not a store: it has no manifest.json"),
    "swapped arguments": (["evaluate", "t.csv", "p.json"], "t.csv is a table or store, where eva"),
    "a policy for a table": (["certify", "p.json"], "p.json is a policy or log, where certify nee"),
    "an unknown goal": (["search", "t.csv", *NAMED, "--goal", "best"], "unknown goal 'best'"),
    "too small a budget": (
        ["search", "t.csv", *NAMED, "--budget", "-1"],
        "no cascade costs -1 or less",
    ),
    "a loss in points": (
        ["search", "t.csv", *NAMED, "--loss", "3"],
        "loss must be a fraction in [0, 1), 0.03 for 3 points, not 3",
    ),
    "a metric of scores": (
        ["search", "t.csv", *NAMED, "--budget", "1", "--method", "entropy"],
        "--method Method(metric='entropy'",
    ),
    "columns of a store": (
        ["search", "store", "--label", "x", "--budget", "1"],
        "leave out --label",
    ),
    "no held-out samples": (
        ["certify", "t.csv", *NAMED, "--epsilon", "0.1", "--held-out", "0"],
        "--held-out",
    ),
    "no policy": (["show", "t.csv"], "t.csv is a table or store, where show needs a policy"),
    "no JSON": (["show", "t.txt"], "t.txt: not JSON"),
    "another table": (["evaluate", "p.json", "store"], "unknown model of this store"),
    "an empty file": (["explore", "empty.csv"], "empty.csv: not a regular file, or an empty"),
    "a table without rows": (["explore", "header.csv"], "header.csv: a table without rows"),
    "an address": (["explore", "http://a.example/t.csv"], "an address"),
    "no share": (
        ["search", "t.csv", *NAMED, "--budget", "1", "--held-out", "nan"],
        "--held-out: a share from 0 to below 1, or a table, not nan",
    ),
    "a share of all samples": (
        ["search", "t.csv", *NAMED, "--budget", "1", "--held-out", "0.9999"],
        "--held-out 0.9999 leaves none of 600 samples to choose on",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(case, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "empty.csv").touch()
    (folder / "t.txt").write_text("x")
    (folder / "header.csv").write_text("sample,model,confidence,cost\n")
    if not (folder / "p.json").exists():
        run_json(capsys, "search", "t.csv", *NAMED, "--budget", 5, "--out", "p.json")
    argv, message = ERRORS[case]
    try:
        status = main(argv)
    except SystemExit as stopped:
        status = stopped.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("cascadelib") and message in err


def test_samples_of_the_selection_are_an_error(folder, capsys):
    table = str(folder / "t.csv")
    assert main(["certify", table, *NAMED, "--epsilon", "20%", "--held-out", table]) == 2
    assert "600 of the 600 samples took part" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("name the columns with groups=", "name the columns with --groups"),
        ("kept (missing='drop')", "kept (--missing 'drop')"),
        ("held_out=0.5 and labels=1", "--held-out 0.5 and labels=1"),
        ("use Method(normalize=…)", "use Method(normalize=…)"),
    ],
)
def test_arguments_in_messages_become_options(message, expected):
    options = dict.fromkeys(("groups", "held_out", "missing"))
    assert with_options(message, options) == expected


def test_groups_are_a_column_of_the_held_out_table(folder, tmp_path, capsys):
    frame = pd.read_csv(folder / "t.csv")
    number = frame["sample"].str[1:].astype(int)
    frame["topic"] = np.where(number % 2, "art", "law")
    frame.to_csv(tmp_path / "t.csv", index=False)
    command = ["certify", tmp_path / "t.csv", *NAMED, "--epsilon", "30%"]
    other = frame.assign(sample="new " + frame["sample"])
    other.to_csv(tmp_path / "new.csv", index=False)
    for held_out in ([], ["--held-out", tmp_path / "new.csv"]):
        _, found = run_json(capsys, *command, *held_out, "--groups", "topic")
        assert "in each of 2 groups" in found["certificate"]
    for column, message in (
        ("topics", "unknown column 'topics'; nearest: 'topic'"),
        ("model", "a sample has several values of 'model': give it one"),
    ):
        assert main([*map(str, command), "--groups", column]) == 2
        assert message in capsys.readouterr().err
    frame.loc[number < 30, "topic"] = np.nan
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert main([*map(str, command), "--groups", "topic"]) == 2
    assert "groups: " in (error := capsys.readouterr().err) and "have none" in error


def test_unknown_figures_are_not_printed(folder, tmp_path, capsys):
    table = str(folder / "t.csv")
    policy = tmp_path / "p.json"
    command = ["search", table, *NAMED, "--held-out", "0", "--budget", "1000", "--json"]
    assert main([*command, "--caution", "0", "--out", str(policy)]) == 0
    assert "null" not in capsys.readouterr().out
    cl.Policy.from_point(cl.Point(("a", "b"), (0.5,))).save(policy)
    assert main(["show", str(policy)]) == 0
    out = capsys.readouterr().out
    assert "null" not in out and "expected" not in out


def test_explore_holds_out_half_of_the_table(folder, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["explore", str(folder / "t.csv"), *NAMED, "--out", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(page)}
    text = page.read_text(encoding="utf-8")
    assert "Chosen on 300 samples" in text and "checked on 300 others" in text


def test_a_terminal_without_arrows_shows_a_policy(folder, tmp_path, monkeypatch):
    policy = str(tmp_path / "p.json")
    command = ["search", str(folder / "t.csv"), *NAMED, "--budget", "5", "--out", policy]
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(command) == main(["show", policy]) == 0
    assert rb"\u2192 large" in terminal.buffer.getvalue()


def test_a_closed_pipe_is_not_an_error(folder, tmp_path):
    policy = tmp_path / "p.json"
    cl.Policy(cl.Point(("a", "b"), (0.5,))).save(policy)
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "cascadelib", "show", str(policy)]
    ended = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_more_caution_is_more_expensive(folder, capsys):
    command = ["search", folder / "t.csv", *NAMED, "--n-models", 1, 2, 3, "--loss", 0.02]
    costs = []
    fitted = ["--method", "isotonic_by_label", "--caution", 0.5]
    for more in (["--caution", 0], ["--caution", 0.5], ["--expected"], fitted):
        status, found = run_json(capsys, *command, *more)
        assert status == 0 and found["expected_accuracy"] < found["where_chosen"]["accuracy"]
        costs.append(found["where_chosen"]["cost"])
    assert costs[0] < costs[1]


def test_without_arguments_an_example_is_printed(capsys):
    assert main([]) == 0
    assert "sample,model,prediction,confidence,cost,label" in capsys.readouterr().out


def test_commands_read_a_file_by_the_same_options(tmp_path, capsys):
    rows = cl.datasets.llm_answers().replace({"llama-3.1-8b": "mine"})
    rows["label"] = rows["label"].str.upper()
    table, policy, page = (str(tmp_path / name) for name in ("a.csv", "p.json", "demo.html"))
    rows.rename(columns={"prediction": "answer"}).to_csv(table, index=False)
    assert main(["certify", table, "--prediction", "answer", "--epsilon", "2%"]) == 2
    error = capsys.readouterr().err
    assert "\n    frame['answer'] = frame['answer'].str.upper()\n" in error
    assert "--exact counts all of them as wrong" in error
    rows.rename(columns={"prediction": "answer"}).replace({"yes": "YES", "no": "NO"}).to_csv(
        table, index=False
    )
    options = ["--prediction", "answer", "--exact"]
    assert main(["certify", table, *options, "--epsilon", "2%", "--out", policy]) == 0
    assert "Text was compared as written" in capsys.readouterr().out
    assert main(["evaluate", policy, table, *options]) == 0
    assert main(["demo", table, *options, "--out", page]) == 0
    text = Path(page).read_text(encoding="utf-8").split("<script")[0]
    assert "mine" in text and "Example data" not in text


@pytest.mark.parametrize(("name", "extra"), [("extract", "vision"), ("explore", "explore")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, capsys, name, extra):
    missing = mock.Mock(side_effect=ModuleNotFoundError("No module named 'x'"))
    monkeypatch.setitem(command_line.RUN, name, missing)
    arguments = {"extract": ["images", "store", "--models", "m"], "explore": ["t.csv"]}
    assert main([name, *arguments[name]]) == 2
    expected = f"cascadelib: No module named 'x': pip install 'cascadelib[{extra}]'\n"
    assert capsys.readouterr().err == expected


INTERRUPTED_IMPORT = """
import runpy, sys
interrupted = sys.argv.pop(1)
class Interrupt:
    def find_spec(self, name, *_):
        if name == interrupted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
runpy.run_module("cascadelib", run_name="__main__")
"""


@pytest.mark.parametrize("module", ["numpy", "cascadelib.fronts"])
def test_an_interrupt_during_imports_is_one_line(folder, module):
    command = ["certify", str(folder / "t.csv"), *NAMED, "--epsilon", "5%"]
    ended = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, module, *command],
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr == "cascadelib: interrupted\n"


COMMANDS = {
    "search": [*NAMED, "--budget", "5"],
    "certify": [*NAMED, "--epsilon", "5%"],
    "explore": NAMED,
    "demo": [],
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("fault", ["no folder", "a folder", "the input", "a full disk"])
def test_a_result_that_cannot_be_written_is_refused_before_the_work(
    folder, tmp_path, name, fault, capsys, monkeypatch
):
    def work(*_, **__):
        raise AssertionError("the work has begun")

    def full(path, content):
        raise OSError(28, "No space left on device", str(path))

    table = folder / "t.csv"
    before = table.read_bytes()
    out = {"no folder": tmp_path / "no" / "p.json", "a folder": tmp_path, "the input": table}
    out = out.get(fault, tmp_path / "p.json")
    monkeypatch.setattr("cascadelib.__main__.read_splits", work)
    monkeypatch.setattr("cascadelib.explorer.demo", work)
    if fault == "a full disk":
        monkeypatch.setattr(Path, "write_bytes", full)
    inputs = [] if name == "demo" else [str(table)]
    if name == "demo" and fault == "the input":
        pytest.skip("it has no input")
    assert main([name, *inputs, *COMMANDS[name], "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(out) in error
    assert table.read_bytes() == before and list(tmp_path.iterdir()) == []


def test_models_are_planned_and_extracted_from_a_folder_of_images(tmp_path, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    Image = pytest.importorskip("PIL.Image")
    from cascadelib.zoo import loaders
    from cascadelib.zoo.model import Model
    from cascadelib.zoo.transforms import Cut, Photos

    def load(name):
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
        return Model(name, module, Photos(Cut((8, 8), "bilinear", 1.0), (0.5,) * 3, (0.2,) * 3))

    monkeypatch.setattr(loaders, "find_loader", lambda name: (load, lambda name: 1544))
    for number in range(6):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (40 * number, 0, 0)).save(path)
    command = ["extract", tmp_path / "images", tmp_path / "s", "--models", "m", "n"]
    options = ["--memory", "1e-5", "--batch-size", "2", "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Linear, "forward", mock.Mock(side_effect=KeyboardInterrupt))
        assert main([*map(str, command), *options]) == 130
    assert capsys.readouterr().err == "cascadelib: interrupted. The same command continues\n"
    status, found = run_json(capsys, *command, *options)
    assert status == 0 and found == {"store": str(tmp_path / "s"), "models": 2, "samples": 6}
    assert sorted(cl.LogitStore(tmp_path / "s").models.index) == ["m", "n"]
