"""Claims on methods are tested task by task."""

from paper_stores import write_split

from tools.claims.tasks import open_tasks, ranking_by_task
from tools.paper import Paper


def test_a_task_with_one_model_on_its_front_is_left_out():
    splits = write_split("toy", "val", 200, 1), write_split("toy", "test", 200, 2)
    single = tuple(split.select(["large"]) for split in splits)
    words, rows = ranking_by_task({"toy": splits, "single": single})
    assert list(words) == ["toy"] == rows.index.tolist()
    assert len(words) > 10 and rows.loc["toy", "classes"] == 6
    counted = rows.loc["toy", ["supported", "contradicted", "undetermined"]].sum()
    assert counted == len(words)


def test_tasks_are_all_classes_harder_data_and_texts_with_held_out_samples():
    splits = write_split("toy", "val", 200, 1), write_split("toy", "test", 200, 2)
    texts = {"reviews": write_split("texts", "val", 90, 3, classes=2)}
    paper = Paper(*splits, texts=texts, held_out_texts={"reviews": texts["reviews"]})
    tasks = open_tasks(paper, ("data/fashion-mnist", "shift/noise-2"))
    assert list(tasks) == ["all classes", "noise-2", "reviews"]
    here, there = tasks["noise-2"]
    assert not set(here.sample_ids) & set(there.sample_ids)
    assert list(open_tasks(paper, ("", ""), quick=True)) == ["reviews"]
