"""Answers from the logs of language models' tools.

``logs`` has files that LiteLLM wrote for two tiny models. The lines below are typed after the
public documentation of the batch formats.
"""

import json
from math import log
from pathlib import Path

import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.datasets import chat_completions

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


def test_a_log_in_latin_1_is_named(tmp_path):
    (tmp_path / "log.jsonl").write_bytes('{"custom_id": "é"}'.encode("latin-1"))
    with pytest.raises(ValueError, match="log.jsonl, line 1: not JSON"):
        chat_completions(tmp_path / "log.jsonl")


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
        ('{"custom_id": 1', "line 1: not JSON .Expecting"),
        ("[1]", "line 1: not a JSON object"),
        ('{"custom_id": 1, "custom_id": 2}', "line 1: .*a key occurs twice"),
        ('{"custom_id": 1, "cost": 1e999}', "line 1: .*a number too large"),
        ('{"custom_id": "\\ud800"}', "line 1: .*invalid text"),
        ('{"custom_id": ' + "[" * 10**5 + "]" * 10**5 + "}", "line 1: "),
        ('{"custom_id": 1, "response": {"choices": [{}]}}', "line 1: .*documented form.*message"),
        (json.dumps(completion("small", "yes")), "not in the documented form: .*custom_id"),
        (
            json.dumps({"custom_id": 1, "response": completion("smal", "x", logprobs=[0])}),
            "small",
        ),
        (json.dumps({"custom_id": 1, "response": None}), "failed requests, which name no model"),
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
    read = cl.ScoreTable.from_frame(table, prediction="prediction", missing="abstain")
    assert "75.00% of the answers of model 'large' are missing" in repr(read)
    other = {"custom_id": "q0", "response": completion("small", "yes", logprobs=[0.0])}
    path = written(tmp_path / "two.jsonl", [answered, other, EXPIRED])
    with pytest.raises(ValueError, match="failed requests, .* of 2 models. Write one file per"):
        chat_completions(path)


def test_a_call_of_a_tool_or_a_refusal_is_no_answer(tmp_path):
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


def test_recorded_completions_of_litellm_are_a_table():
    table = chat_completions(LOGS / "litellm")
    assert len(table) == 24 and set(table["prediction"].dropna()) <= {"yes", "no"}
    failed = table[table["prediction"].isna()]
    assert failed[["sample", "model"]].values.tolist() == [["q07", "large"]]
    assert table["confidence"].drop(failed.index).between(0, 1).all()
    read = cl.ScoreTable.from_frame(
        table,
        prediction="prediction",
        label="label",
        cost={"small": 1, "large": 4},
        missing="abstain",
    )
    assert read.answered.sum() == 23 and read.labels.tolist().count("no") == 5
