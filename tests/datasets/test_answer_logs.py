"""Answers from the logs of language models' tools.

``logs`` has files that lm-evaluation-harness 0.4 and LiteLLM wrote for two tiny models. The lines
below are typed after the public documentation of the batch formats.
"""

import json
from math import exp, log
from pathlib import Path

import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.datasets import chat_completions, lm_eval_samples

LOGS = Path(__file__).with_name("logs")
PRICES = {"small": (0.5, 1.0), "large": (5.0, 20.0)}


def completion(model, *texts, logprobs=None):
    """Build a chat completion of one or more choices in the form of the API."""
    choices = []
    for text in texts:
        choice = {"message": {"content": text, "refusal": None}, "logprobs": None}
        if logprobs is not None:
            tokens = [{"token": text, "logprob": p} for p in logprobs]
            choice["logprobs"] = {"content": tokens, "refusal": None}
        choices.append(choice)
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return {"model": model, "choices": choices, "usage": usage}


def written(path, lines):
    """Write a JSONL file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_one_choice_has_the_probability_of_its_tokens(tmp_path):
    body = completion("small", " yes\n", logprobs=[log(0.5), log(0.8)])
    batch = {"id": "batch_req_1", "custom_id": "q1", "error": None}
    batch["response"] = {"status_code": 200, "request_id": "r", "body": body}
    plain = {"custom_id": 2, "response": completion("large", "no", logprobs=[0.0])}
    table = chat_completions(written(tmp_path / "log.jsonl", [batch, plain]), PRICES)
    assert table["sample"].tolist() == ["q1", "2"]
    assert table["prediction"].tolist() == ["yes", "no"]
    assert table["confidence"].tolist() == pytest.approx([0.4, 1.0])
    assert table["cost"].tolist() == pytest.approx([60e-6, 700e-6])


def test_the_confidence_of_several_choices_is_their_agreement(tmp_path):
    line = {"custom_id": "q", "response": completion("small", "A", "B", "b", "A ", "A")}
    row = chat_completions(written(tmp_path / "log.jsonl", [line])).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("A", 0.6)
    assert "cost" not in row
    row = chat_completions(tmp_path / "log.jsonl", answer=lambda text: text.strip().lower()).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("a", 0.6)


def test_a_folder_of_logs_is_read_like_one_log(tmp_path):
    lines = [
        {"custom_id": query, "label": "yes", "response": completion(model, "yes", logprobs=[0.0])}
        for query in range(2)
        for model in PRICES
    ]
    frame = chat_completions(written(tmp_path / "log.jsonl", lines), PRICES)
    (tmp_path / "logs").mkdir()
    written(tmp_path / "logs" / "a.jsonl", lines[:3])
    written(tmp_path / "logs" / "b.jsonl", lines[3:])
    pd.testing.assert_frame_equal(chat_completions(tmp_path / "logs", PRICES), frame)
    assert frame["label"].tolist() == ["yes"] * 4


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"custom_id": 1', "line 1: Expecting"),
        ("[1]", "line 1: not in the documented form"),
        ('{"custom_id": 1, "response": {"choices": [{}]}}', "line 1: .*documented form.*message"),
        (json.dumps(completion("small", "yes")), "no custom_id"),
        (
            json.dumps({"custom_id": 1, "response": completion("smal", "x", logprobs=[0])}),
            "small",
        ),
        (json.dumps({"custom_id": 1, "response": None}), "1 failed requests name no model"),
    ],
)
def test_an_invalid_line_of_a_log_is_named(line, message, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        chat_completions(path, PRICES)


EXPIRED = {"custom_id": "q1", "response": None, "error": {"code": "batch_expired"}}
LIMITED = {
    "custom_id": "q2",
    "response": {"status_code": 429, "body": {"error": {"code": "rate_limit_exceeded"}}},
    "error": None,
}
VLLM = {"custom_id": "q3", "response": {"status_code": 400, "body": None}, "error": {}}


def test_failed_requests_are_missing_answers_of_the_model_of_their_file(tmp_path):
    answered = {"custom_id": "q0", "response": completion("large", "yes", logprobs=[0.0])}
    path = written(tmp_path / "log.jsonl", [answered, EXPIRED, LIMITED, VLLM])
    table = chat_completions(path, PRICES)
    assert table["sample"].tolist() == ["q0", "q1", "q2", "q3"]
    assert table["prediction"].isna().tolist() == [False, True, True, True]
    assert set(table["model"]) == {"large"} and table["cost"].tolist()[1:] == [0, 0, 0]
    assert table["failure"].tolist()[1:] == ["batch_expired", "rate_limit_exceeded", "400"]
    read = cl.ScoreTable.from_frame(table, prediction="prediction")
    assert "answers of model 'large': 75.00% missing" in repr(read)
    other = {"custom_id": "q0", "response": completion("small", "yes", logprobs=[0.0])}
    path = written(tmp_path / "two.jsonl", [answered, other, EXPIRED])
    with pytest.raises(ValueError, match="1 failed requests name no model, such as 'q1'.*2 models"):
        chat_completions(path)
    assert chat_completions(path, default_model="small")["model"].tolist() == [
        "large",
        "small",
        "small",
    ]


def test_a_call_of_a_tool_or_a_refusal_is_no_answer_unless_asked_for(tmp_path):
    call = completion("small", None, logprobs=[log(0.9)])
    function = {"name": "search", "arguments": '{"q": "cats"}'}
    call["choices"][0]["message"]["tool_calls"] = [{"type": "function", "function": function}]
    refusal = completion("small", None, logprobs=[log(0.9)])
    refusal["choices"][0]["message"]["refusal"] = "I cannot help"
    said = completion("small", "yes", logprobs=[log(0.9)])
    lines = [{"custom_id": i, "response": one} for i, one in enumerate((call, refusal, said))]
    path = written(tmp_path / "log.jsonl", lines)
    table = chat_completions(path)
    assert table["prediction"].isna().tolist() == table["confidence"].isna().tolist()
    assert table["prediction"].isna().tolist() == [True, True, False]
    accepted = chat_completions(path, tool_calls=True)
    assert accepted["prediction"][0] == 'search({"q": "cats"})'
    assert accepted["confidence"][0] == pytest.approx(0.9)


def test_recorded_completions_of_litellm_are_a_table():
    table = cl.datasets.read_log(LOGS / "litellm")
    assert len(table) == 24 and set(table["prediction"].dropna()) <= {"yes", "no"}
    failed = table[table["prediction"].isna()]
    assert failed[["sample", "model", "failure"]].values.tolist() == [["q07", "large", "429"]]
    assert table["confidence"].drop(failed.index).between(0, 1).all()
    read = cl.ScoreTable.from_frame(
        table, prediction="prediction", label="label", cost={"small": 1, "large": 4}
    )
    assert read.answered.sum() == 23 and read.labels.tolist().count("no") == 5


def test_recorded_samples_of_lm_eval_are_read_by_filter():
    choices = cl.datasets.read_log(LOGS / "choices")
    assert len(choices) == 10 and set(choices["model"]) == {"small"}
    assert choices["confidence"].between(0.5, 1).all() and set(choices["prediction"]) == {"0", "1"}
    paths = {"small": LOGS / "texts" / "small" / "samples_sums_text.jsonl"}
    with pytest.raises(ValueError, match="has the filters strict, majority. Pass filter= with one"):
        lm_eval_samples(paths)
    with pytest.raises(ValueError, match="unknown filter 'strikt'; nearest: 'strict'"):
        lm_eval_samples(paths, filter="strikt")
    strict, majority = (lm_eval_samples(paths, filter=name) for name in ("strict", "majority"))
    assert strict["sample"].tolist() == majority["sample"].tolist()
    assert len(strict) == 10 and set(strict["prediction"]) == {"yes", "no"}
    # The first of three generations is the strict answer, and two of three the majority.
    assert (majority["confidence"] >= 0.6).all() and (strict["confidence"] >= 0.3).all()
    assert (strict["prediction"] != majority["prediction"]).any()


def test_an_answer_that_a_filter_did_not_find_is_missing(tmp_path):
    line = sample(0, [["I think so"]], filtered_resps=["[invalid]"], exact_match=0.0)
    row = lm_eval_samples({"small": written(tmp_path / "samples.jsonl", [line])}).iloc[0]
    assert row["prediction"] is None and row["correct"] == 0


def test_a_log_of_flat_lines_is_a_table_as_written(tmp_path):
    rows = [{"id": "01", "model": "a", "answer": "yes", "sure": 0.5}]
    assert cl.datasets.read_log(written(tmp_path / "log.jsonl", rows)).to_dict("records") == rows
    with pytest.raises(ValueError, match="line 1: 'answer' is nested: write one flat object"):
        cl.datasets.read_log(
            written(tmp_path / "log.jsonl", [{"id": 1, "answer": {"text": "yes"}}])
        )
    (tmp_path / "log.json").write_text(json.dumps(rows))
    assert cl.datasets.read_log(tmp_path / "log.json").to_dict("records") == rows
    (tmp_path / "log.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="log.json, object 1: not in the documented form"):
        cl.datasets.read_log(tmp_path / "log.json")
    with pytest.raises(ValueError, match="no file .*has a line"):
        (tmp_path / "log.jsonl").write_text("\n")
        cl.datasets.read_log(tmp_path)


def test_options_of_another_form_are_refused(tmp_path):
    flat = written(tmp_path / "log.jsonl", [{"id": "01", "model": "a"}])
    with pytest.raises(ValueError, match="log.jsonl: filter= belongs to logs of another form"):
        cl.datasets.read_log(flat, filter="strict")
    with pytest.raises(ValueError, match="choices: default_model= belongs to"):
        cl.datasets.read_log(LOGS / "choices", default_model="small")
    texts = cl.datasets.read_log(LOGS / "texts", filter="strict", metric="exact_match")
    assert len(texts) == 10


def sample(doc, resps, **scores):
    """Build a line of lm-eval's samples."""
    return {"doc_id": doc, "doc": {}, "target": 0, "arguments": {}, "resps": resps, **scores}


def test_lm_eval_reads_multiple_choice_and_repeated_generations(tmp_path):
    choices = [[["-1.0", "False"]], [["-3.0", "False"]], [["-2.0", "False"]]]
    path = written(tmp_path / "samples_a.jsonl", [sample(0, choices, acc=1.0, acc_norm=0.0)])
    row = lm_eval_samples({"small": path}).iloc[0]
    assert row["confidence"] == pytest.approx(exp(-1) / (exp(-1) + exp(-2) + exp(-3)))
    assert (row["prediction"], row["correct"], row["sample"]) == ("0", 1.0, "0")
    assert lm_eval_samples({"small": path}, "acc_norm").iloc[0]["correct"] == 0
    path = written(tmp_path / "samples_b.jsonl", [sample(7, [["5", "4", " 5"]], exact_match=0.0)])
    row = lm_eval_samples({"large": path}).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("5", pytest.approx(2 / 3))


def test_lm_eval_predictions_are_the_scored_answers(tmp_path):
    """Raw texts of a chain of thought differ even if their answers agree."""
    raw = ["2 + 3 = 5, so #### 5", "It is #### 5", "I guess #### 4"]
    first = sample(0, [raw], filtered_resps=["5"], exact_match=1.0)
    every = sample(1, [raw], filtered_resps=[["5", "5", "4"]], exact_match=1.0)
    path = written(tmp_path / "samples.jsonl", [first, every])
    table = lm_eval_samples({"large": path}, answer=lambda text: text.split("#### ")[-1])
    assert table["prediction"].tolist() == ["5", "5"]
    assert table["confidence"].tolist() == pytest.approx([2 / 3, 2 / 3])
    with pytest.raises(
        ValueError, match="line 1: none of 3 generations is the filtered answer '5'"
    ):
        lm_eval_samples({"large": path})
    # The first answer was scored, not the most frequent one.
    path = written(tmp_path / "b.jsonl", [sample(2, [["4", "5", "5"]], exact_match=0.0)])
    row = lm_eval_samples({"large": path}).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("4", pytest.approx(1 / 3))


def test_the_confidence_of_long_answers_is_the_mean_probability_of_tokens(tmp_path):
    body = completion("small", "a long answer", logprobs=[log(0.67)] * 60)
    path = written(tmp_path / "log.jsonl", [{"custom_id": 1, "response": body}])
    assert chat_completions(path)["confidence"].tolist() == pytest.approx([0.67**60])
    assert chat_completions(path, logprobs="mean")["confidence"].tolist() == pytest.approx([0.67])
    with pytest.raises(ValueError, match="unknown value of logprobs 'max'"):
        chat_completions(path, logprobs="max")


def test_lm_eval_lines_without_a_metric_are_refused(tmp_path):
    path = written(tmp_path / "samples.jsonl", [sample(0, [["4"]], exact_match=1.0)])
    assert lm_eval_samples({"small": path})["confidence"].isna().all()
    with pytest.raises(ValueError, match="among the keys doc_id, .*, exact_match: pass metric="):
        lm_eval_samples({"small": path}, "f1")
