"""Answers from the logs of language models' tools.

The lines below are typed after the public documentation of the formats.
"""

import json
from math import exp, log

import pandas as pd
import pytest

import cascadelib as cl
from cascadelib.datasets import chat_completions, lm_eval_samples

PRICES = {"small": (0.5, 1.0), "large": (5.0, 20.0)}


def completion(model, *texts, logprobs=None):
    """A chat completion of one choice or several, as the API returns it."""
    choices = []
    for index, text in enumerate(texts):
        choice = {"index": index, "finish_reason": "stop", "logprobs": None}
        choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        if logprobs is not None:
            tokens = [
                {"token": text, "logprob": p, "bytes": None, "top_logprobs": []} for p in logprobs
            ]
            choice["logprobs"] = {"content": tokens, "refusal": None}
        choices.append(choice)
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": model,
        "choices": choices,
        "usage": usage,
    }


def written(path, lines):
    """A JSONL file."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_one_choice_has_the_probability_of_its_tokens(tmp_path):
    body = completion("small", " yes\n", logprobs=[log(0.5), log(0.8)])
    batch = {"id": "batch_req_1", "custom_id": "q1", "error": None}
    batch["response"] = {"status_code": 200, "request_id": "r", "body": body}
    plain = {"custom_id": 2, "response": completion("large", "no", logprobs=[0.0])}
    failed = {"custom_id": "q3", "response": None, "error": {"code": "rate_limit"}}
    table = chat_completions(written(tmp_path / "log.jsonl", [batch, plain, failed]), PRICES)
    assert table["sample"].tolist() == ["q1", "2"]
    assert table["prediction"].tolist() == ["yes", "no"]
    assert table["confidence"].tolist() == pytest.approx([0.4, 1.0])
    assert table["cost"].tolist() == pytest.approx([60e-6, 700e-6])


def test_several_choices_have_their_agreement(tmp_path):
    line = {"custom_id": "q", "response": completion("small", "A", "B", "b", "A ", "A")}
    row = chat_completions(written(tmp_path / "log.jsonl", [line])).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("A", 0.6)
    assert "cost" not in row
    row = chat_completions(tmp_path / "log.jsonl", answer=lambda text: text.strip().lower()).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("a", 0.6)


def test_two_logs_are_a_table_that_is_searched(tmp_path):
    lines = []
    for query in range(200):
        truth = "yes" if query % 3 else "no"
        easy = query % 4 > 0
        said = truth if easy else "maybe"
        small = completion("small", said, logprobs=[log(0.9 if easy else 0.3)])
        lines.append({"custom_id": query, "response": small})
        lines.append({"custom_id": query, "response": completion("large", truth, logprobs=[0.0])})
    frame = chat_completions(written(tmp_path / "log.jsonl", lines), PRICES)
    (tmp_path / "logs").mkdir()
    written(tmp_path / "logs" / "a.jsonl", lines[:100])
    written(tmp_path / "logs" / "b.jsonl", lines[100:])
    pd.testing.assert_frame_equal(chat_completions(tmp_path / "logs", PRICES), frame)
    frame["label"] = frame["sample"].astype(int).mod(3).gt(0).map({True: "yes", False: "no"})
    table = cl.ScoreTable.from_frame(frame, label="label", prediction="prediction")
    point = cl.pick(cl.search(table), "match_best", caution=0)
    assert (point.accuracy, point.models) == (1.0, ("small", "large"))
    assert point.exit_rates == (0.75, 0.25)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"custom_id": 1', "line 1: Expecting"),
        ("[1]", "line 1: not in the documented form"),
        ('{"custom_id": 1, "response": {"choices": [{}]}}', "line 1: .*documented form.*message"),
        (json.dumps(completion("small", "yes")), "no custom_id"),
        (json.dumps({"custom_id": 1, "response": completion("small", "yes")}), "logprobs"),
        (
            json.dumps({"custom_id": 1, "response": completion("smal", "x", logprobs=[0])}),
            "small",
        ),
        (json.dumps({"custom_id": 1, "response": None}), "no line with a completion"),
    ],
)
def test_what_is_no_log_is_named(line, message, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        chat_completions(path, PRICES)


def sample(doc, resps, **scores):
    """A line of lm-eval's samples."""
    return {"doc_id": doc, "doc": {}, "target": 0, "arguments": {}, "resps": resps, **scores}


def test_lm_eval_multiple_choice_and_repeats(tmp_path):
    choices = [[["-1.0", "False"]], [["-3.0", "False"]], [["-2.0", "False"]]]
    path = written(tmp_path / "samples_a.jsonl", [sample(0, choices, acc=1.0, acc_norm=0.0)])
    row = lm_eval_samples({"small": path}).iloc[0]
    assert row["confidence"] == pytest.approx(exp(-1) / (exp(-1) + exp(-2) + exp(-3)))
    assert (row["prediction"], row["correct"], row["sample"]) == ("0", 1.0, "0")
    assert lm_eval_samples({"small": path}, "acc_norm").iloc[0]["correct"] == 0
    path = written(tmp_path / "samples_b.jsonl", [sample(7, [["4", " 5", "5"]], exact_match=0.0)])
    row = lm_eval_samples({"large": path}).iloc[0]
    assert (row["prediction"], row["confidence"]) == ("5", pytest.approx(2 / 3))


def test_lm_eval_lines_that_say_too_little(tmp_path):
    path = written(tmp_path / "samples.jsonl", [sample(0, [["4"]], exact_match=1.0)])
    with pytest.raises(ValueError, match="repeats"):
        lm_eval_samples({"small": path})
    with pytest.raises(ValueError, match="name the metric"):
        lm_eval_samples({"small": path}, "f1")
