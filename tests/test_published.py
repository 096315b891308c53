"""Published models: the paper's fronts, current names, and the comparison with extracted ones."""

import json
import os
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts import load_script

from cascadelib import published
from cascadelib.evaluation.pareto import Baseline
from cascadelib.store.logit_store import LogitStore
from tools.claims.published_models import on_fronts, rounded, singles

TABLE = published.models()
COLUMNS = published.COLUMNS


def script(name, monkeypatch):
    """Load a script of data/imagenet-1k as a module, and restore the environment afterwards."""
    monkeypatch.setenv("TIMM_FUSED_ATTN", os.environ.get("TIMM_FUSED_ATTN", "1"))
    return load_script(f"data/imagenet-1k/{name}.py")


@pytest.fixture(scope="module")
def extract():
    """The script that extracts a study."""
    with pytest.MonkeyPatch.context() as patch:
        return script("extract", patch)


def test_the_fronts_are_those_of_the_paper():
    assert len(TABLE) == 668 and TABLE["macs"].notna().all()
    assert TABLE["seconds"].notna().sum() == 661
    for cost, size in (("macs", 27), ("seconds", 25)):
        assert singles(TABLE, cost)["on_front"].sum() == size
    both = on_fronts(TABLE)
    assert len(both) == 43 and both["on_macs"].sum() == 27 and both["on_seconds"].sum() == 25
    # Unrounded, one more would be on the front, by the fifth digit of its MACs.
    exact = Baseline(TABLE["macs"].to_numpy(float), TABLE["top1"].to_numpy())
    assert set(TABLE.index[exact.front]) - set(both.index) == {"mobilenetv3_rw"}


def test_models_of_section_4_1_and_table_1_are_on_the_fronts():
    both = on_fronts(TABLE)
    named = ["tf_efficientnet_b3_ns", "tf_efficientnet_b4_ns", "beit_large_patch16_224"]
    assert both["on_macs"][named].all()
    assert both["on_seconds"]["levit_128s"] and both["on_macs"]["mobilenetv3_large_100_miil"]


def test_macs_of_a_vision_transformer_equal_a_closed_form():
    tokens = 197
    width = 768
    depth = 12
    patch = 16
    block = 12 * tokens * width**2 + 2 * tokens**2 * width + 2 * 5 * tokens * width
    expected = 196 * 3 * patch**2 * width + depth * block + 5 * tokens * width + 1000 * width
    assert TABLE.loc["vit_base_patch16_224", "macs"] == expected


def test_models_have_current_names(extract):
    names = extract.names_today(
        TABLE.loc[["tf_efficientnet_b4_ns", "convnext_base_in22ft1k", "gluon_xception65"]]
    )
    assert names == ["tf_efficientnet_b4.ns_jft_in1k", "convnext_base.fb_in22k_ft_in1k@224"]


@given(st.lists(st.floats(1e-6, 1e15), min_size=1, max_size=20))
def test_costs_are_rounded_to_four_digits(costs):
    found = rounded(pd.Series(costs))
    for cost, short in zip(costs, found):
        assert short == float(f"{cost:.4g}")
    np.testing.assert_array_equal(rounded(pd.Series(found)), found)


def test_the_front_uses_rounded_costs():
    table = pd.DataFrame(
        {"macs": [10001.0, 10002.0, 20000.0], "top1": [0.5, 0.6, 0.7]}, index=list("abc")
    )
    assert singles(table)["on_front"].to_dict() == {"a": False, "b": True, "c": True}


def test_another_table_is_read_or_refused(tmp_path):
    part = TABLE.iloc[:5].reset_index()
    part.to_csv(tmp_path / "own.csv", index=False)
    assert list(published.models(tmp_path / "own.csv").index) == list(part["model"])
    part.drop(columns=["macs"]).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(ValueError, match=r"own\.csv: columns \['macs'\] are missing"):
        published.models(tmp_path / "own.csv")
    with pytest.raises(FileNotFoundError, match=r"tables\.py makes one"):
        published.models(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="unknown cost 'watts'"):
        singles(TABLE, "watts")


def store_of(accuracies, k=1000, dataset="imagenet-1k", sizes=None):
    """Return a store of k samples whose models have these accuracies."""
    labels = np.zeros(k, int)
    logits = {}
    for name, accuracy in accuracies.items():
        correct = np.arange(k) < round(accuracy * k)
        logits[name] = np.stack([correct, ~correct], 1).astype(float)
    store = LogitStore.from_arrays(labels, logits, dataset=dataset)
    for name, size in (sizes or {}).items():
        store.add(name, store.logits(name), replace=True, image_size=size)
    return store


def test_extracted_accuracies_are_compared_with_published_ones(extract):
    row = TABLE.loc["tf_efficientnet_b4_ns"]
    names = {"tf_efficientnet_b4.ns_jft_in1k": row["top1"], "resnet18": 0.2, "own": 0.5}
    sizes = {"tf_efficientnet_b4.ns_jft_in1k": 380}
    table = extract.compare_with_published(store_of(names, sizes=sizes), TABLE)
    assert table["agrees"].to_dict() == {"tf_efficientnet_b4.ns_jft_in1k": True, "resnet18": False}
    found = table.loc["tf_efficientnet_b4.ns_jft_in1k"]
    assert found["published_top1"] == row["top1"]
    error = 4 * np.sqrt(row["top1"] * (1 - row["top1"]) / 1000)
    assert found["tolerance"] == pytest.approx(0.002 + error)
    v2 = extract.compare_with_published(store_of(names, 10_000, "imagenetv2"), TABLE)
    assert (
        v2["published_top1"].iloc[0] == row["imagenetv2_top1"] and v2["tolerance"].iloc[0] == 0.002
    )


def test_other_data_sets_and_sizes_are_not_compared(extract):
    assert (
        len(extract.compare_with_published(store_of({"resnet18": 0.7}, dataset="my-cats"), TABLE))
        == 0
    )
    name = "tf_efficientnet_b4.ns_jft_in1k"
    assert len(extract.compare_with_published(store_of({name: 0.7}, sizes={name: 300}), TABLE)) == 0
    assert len(extract.compare_with_published(store_of({f"{name}@300": 0.7}), TABLE)) == 0
    assert len(extract.compare_with_published(store_of({f"{name}@380": 0.7}), TABLE)) == 1


def test_the_script_makes_a_table_and_counts_once(tmp_path, monkeypatch, capsys):
    tables = script("tables", monkeypatch)
    count = tables.macs_of
    out = small_files(tmp_path, monkeypatch, tables, "--source", "toy")
    monkeypatch.setattr(tables, "macs_of", count)
    with open(tmp_path / "b.csv", "a") as file:
        file.write("test_vit,192,1,9\n")
    tables.main()
    table = published.models(out)
    columns = ["top1", "imagenetv2_top1", "seconds", "source"]
    assert table.loc["test_vit.r160_in1k", columns].tolist() == [0.4, 0.3, 0.001, "toy"]
    assert table["macs"].iloc[0] == TABLE.loc["tf_mobilenetv3_small_075", "macs"]
    assert table["current"].iloc[0].endswith("075.in1k")
    printed = capsys.readouterr().out
    assert "front in macs: 2 models: test_vit.r160_in1k, tf_mobilenetv3_small_075" in printed

    monkeypatch.setattr(tables, "macs_of", lambda *_: pytest.fail("counted again"))
    tables.main()
    assert published.models(out).equals(table)


def small_files(folder, monkeypatch, tables, *more):
    """Write small tables, and set the arguments that read them into out.csv."""
    rows = ["tf_mobilenetv3_small_075,65,85,2.04,224", 'test_vit.r160_in1k,40,60,"1,014.45",160']
    (folder / "r.csv").write_text("\n".join(["model,top1,top5,param_count,img_size", *rows]))
    (folder / "v.csv").write_text("model,top1,img_size\ntest_vit.r160_in1k,30,160\n")
    speed = 'model,infer_img_size,infer_samples_per_sec,infer_gmacs\ntest_vit,160,"1,000.0",0.04\n'
    (folder / "b.csv").write_text(speed)
    arguments = ["--tables", folder, "--results", "r.csv", "--v2", "v.csv", "--benchmark", "b.csv"]
    arguments += ["--out", folder / "out.csv", "--counts", folder / "counts.jsonl", *more]
    monkeypatch.setattr("sys.argv", ["tables.py", *map(str, arguments)])
    monkeypatch.setattr(tables, "macs_of", lambda *_: (10**6, 10**6))
    return folder / "out.csv"


def test_the_bundled_table_is_not_overwritten_by_other_files(tmp_path, monkeypatch, capsys):
    tables = script("tables", monkeypatch)
    assert tables.SOURCES[TABLE["source"].unique().item()] == set(tables.FILES.values())
    monkeypatch.setattr(tables, "OWN", tmp_path / "bundled.csv")
    small_files(tmp_path, monkeypatch, tables, "--source", "toy")
    arguments = sys.argv.copy()
    del arguments[(at := arguments.index("--out")) : at + 2]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit):
        tables.main()
    assert "say where these go: --out" in capsys.readouterr().err and not tables.OWN.exists()


def test_a_table_is_written_last(tmp_path, monkeypatch):
    tables = script("tables", monkeypatch)
    out = small_files(tmp_path, monkeypatch, tables, "--source", "toy")
    monkeypatch.setattr(tables, "report", None)
    with pytest.raises(TypeError):
        tables.main()
    assert not out.exists() and not list(tmp_path.glob(".out*"))


def test_only_the_current_files_are_downloaded_by_their_digests(tmp_path, monkeypatch, capsys):
    tables = script("tables", monkeypatch)
    requested = []
    monkeypatch.setattr(
        tables.pooch, "retrieve", lambda url, known_hash, **_: requested.append((url, known_hash))
    )
    folder = tables.downloaded(today=True)
    assert folder.name == "90cae8c5" and {digest for _, digest in requested} == set(
        tables.FILES_TODAY.values()
    )
    assert all("/90cae8c5/results/" in url for url, _ in requested)
    for more in (["--results", "own.csv"], ["--today", "--benchmark", tables.BENCHMARK]):
        monkeypatch.setattr("sys.argv", ["tables.py", *more])
        with pytest.raises(SystemExit):
            tables.main()
        assert "are read from a folder: --tables" in capsys.readouterr().err


def test_a_run_continues_the_counts_of_an_interrupted_one(tmp_path, monkeypatch, capsys):
    """A line may be incomplete, and a model that cannot be counted is named."""
    tables = script("tables", monkeypatch)
    out = small_files(tmp_path, monkeypatch, tables, "--source", "toy")
    tables.main()
    lines = (tmp_path / "counts.jsonl").read_text()
    assert lines.count("\n") == 2
    (tmp_path / "counts.jsonl").write_text(lines[:-20])

    def fail(*_):
        raise RuntimeError("not countable")

    monkeypatch.setattr(tables, "macs_of", fail)
    tables.main()
    assert published.models(out)["macs"].notna().sum() == 1
    assert capsys.readouterr().err.count("not countable") == 1
    monkeypatch.setattr(tables, "macs_of", lambda *_: (10**6, 10**6))
    tables.main()
    assert published.models(out)["macs"].notna().all()


@pytest.mark.parametrize("rows", [1, 2, 5, 40])
def test_rows_that_are_not_counted_are_on_no_front(rows, monkeypatch):
    """Counts differ from published GMACs by less than the factor between any two rows."""
    tables = script("tables", monkeypatch)
    for seed in range(15):
        rows_against_all(tables, np.random.default_rng(seed), rows, 1.25)


def rows_against_all(tables, rng, rows, factor):
    exact = rng.choice([0.01, 0.02, 0.1, 0.3, 1, 1.1, 1.2, 2, 5], rows) * rng.uniform(1, 1.2, rows)
    published_gmacs = np.round(exact * rng.uniform(1, factor, rows), 2)
    published_gmacs[rng.random(rows) < 0.1] = np.nan
    top1 = rng.integers(60, 70, rows)
    seconds = rng.choice([1.0, 2.0, 3.0, np.nan], rows)
    near = tables.near_a_front(top1, published_gmacs, seconds, factor)
    everything = pd.DataFrame({"top1": top1, "macs": exact, "seconds": seconds})
    counted = everything.assign(macs=everything["macs"].where(near))
    for cost in ("macs", "seconds"):
        assert list(tables.front_of(everything, cost)) == list(tables.front_of(counted, cost))


def test_models_without_the_thousand_classes_are_named_and_left_out(tmp_path, monkeypatch, capsys):
    tables = script("tables", monkeypatch)
    out = small_files(tmp_path, monkeypatch, tables, "--source", "toy")
    more = ["vit_base_patch16_224.augreg_in21k,50,70,102,224", "resnet51.of_tomorrow,90,99,10,224"]
    with open(tmp_path / "r.csv", "a") as file:
        file.write("\n" + "\n".join(more))
    tables.main()
    assert len(published.models(out)) == 2
    printed = capsys.readouterr().out
    assert (
        "left out: vit_base_patch16_224.augreg_in21k: its checkpoint has 21843 classes, not 1,000"
        in printed
    )
    assert "left out: resnet51.of_tomorrow: not in timm" in printed


def test_current_models_are_counted_as_deployed_and_those_of_the_paper_as_trained(monkeypatch):
    tables = script("tables", monkeypatch)
    trained, deployed = (tables.macs_of("repvgg_a2", 224, trained=how) for how in (True, False))
    assert trained[0] == TABLE.loc["repvgg_a2", "macs"]
    assert deployed[0] < 0.95 * trained[0] and deployed[1] < trained[1]


def test_a_study_of_another_tables_models(tmp_path, extract):
    newer = TABLE.loc[["resnet18", "tf_efficientnet_b4_ns"]].assign(top1=[0.5, 0.9])
    newer.to_csv(tmp_path / "newer.csv")
    arguments = ["--images", tmp_path, "--out", tmp_path / "out", "--table", tmp_path / "newer.csv"]
    study = extract.described(extract.parsed([str(argument) for argument in arguments]))
    assert study.models == ("resnet18.a1_in1k@224", "tf_efficientnet_b4.ns_jft_in1k")
    assert study.table == str(tmp_path / "newer.csv")
    study = extract.described(
        extract.parsed(["--images", str(tmp_path), "--out", str(tmp_path / "out")])
    )
    assert study.table is None and len(study.models) == len(extract.names_today(on_fronts(TABLE)))


def test_a_study_records_its_sources(tmp_path, extract):
    images = extract.Images("imagenet", "/somewhere", every=3)
    extract.Study({"val": images}, ("resnet18", "own/model"), "/weights").save(tmp_path / "new")
    content = json.loads((tmp_path / "new" / "study.json").read_text())
    assert content["splits"] == {"val": vars(images)}
    assert content["models"] == ["resnet18", "own/model"] and content["checkpoints"] == "/weights"


def test_models_of_a_study_are_a_list_of_names(extract):
    assert extract.Study({}, ["a", "b"]).models == ("a", "b")
    with pytest.raises(ValueError, match="models must be a list of names, not 'resnet18'"):
        extract.Study({}, "resnet18")


@pytest.mark.parametrize(
    "wrong",
    [{"every": 0}, {"every": 2**60}, {"offset": True}, {"kind": "folder"}, {"labels": "x.txt"}],
    ids=repr,
)
def test_images_of_a_wrong_kind_or_number_are_refused(wrong, extract):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        extract.Images(**{"kind": "imagenet_v2", "source": "/somewhere"} | wrong).open("val")


@pytest.mark.parametrize("wrong", [0, -1, 2**40, 1.5, "10", None])
def test_a_wrong_number_of_classes_is_refused(wrong, extract):
    with pytest.raises((ValueError, TypeError), match="classes"):
        extract.Study({}, ("resnet18",), classes=wrong)
