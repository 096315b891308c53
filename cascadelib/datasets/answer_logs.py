"""Read logged answers of language models into the form of ``ScoreTable.from_frame``.

Both readers follow the public documentation of these formats.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import error_context, validate_choice
from ..files import open_regular_file
from ..scoring import most_given

METRICS = ("acc", "exact_match")
MAX_LOG_BYTES = 2**30  # bytes of a log


def parse_json_lines(path: str | os.PathLike, parse: Callable[[dict], list]) -> Iterator[dict]:
    """Yield the rows that are parsed from each line of a JSONL file that is not blank.

    Errors name the line. Errors of incomplete lines are converted to ValueError.
    """
    with open_regular_file(Path(path), MAX_LOG_BYTES) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            with error_context(f"{path}, line {number}"):
                try:
                    rows = parse(dict(json.loads(line)))
                except (KeyError, TypeError, IndexError, AttributeError) as error:
                    raise ValueError(f"not in the documented form: {error!r}") from None
            yield from rows


def chat_completions(
    path: str | os.PathLike,
    prices: Mapping[str, tuple[float, float]] | None = None,
    answer: Callable[[str], str] = str.strip,
    logprobs: str = "sum",
) -> pd.DataFrame:
    """Read chat completions of the OpenAI API, which vLLM and llama.cpp also write.

    Parameters
    ----------
    path : str or os.PathLike
        JSONL file, or a folder whose ``*.jsonl`` are all read. Each line is
        ``{"custom_id": query, "response": …}``. The response is a completion, or the batch API's
        wrapper of one. Lines of failed requests have no choices and are skipped.
    prices : mapping, optional
        Prices by model: (per million prompt tokens, per million completion tokens).
    answer : callable, default=str.strip
        Function from the text of a choice to the answer that is compared.
    logprobs : {"sum", "mean"}, default="sum"
        Confidence of one choice. "sum" is the probability of all its tokens, the exponential of the
        sum of log-probabilities. "mean" is the geometric mean of the tokens' probabilities, for
        answers of many tokens. For example, 60 tokens of 0.67 each have the probability 4e-11.

    Returns
    -------
    DataFrame
        One row per line with the columns sample, model, prediction and confidence, and cost if
        `prices` are passed. The confidence of one choice is computed from its tokens
        (``"logprobs": true`` in the request). Without them it is nan, and the model can only be the
        last stage. The confidence of several choices (``"n": 5``) is the share that agrees with the
        most frequent answer.

    Raises
    ------
    ValueError
        If a line is not JSON or has no custom_id, or if a model has no price.

    See Also
    --------
    ScoreTable.from_frame : Convert the rows to a table that is searched.
    lm_eval_samples : Read the samples of lm-evaluation-harness.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> token = {"logprob": -0.125}
    >>> choice = {"message": {"content": "yes"}, "logprobs": {"content": [token]}}
    >>> line = {"custom_id": "query 1", "response": {"model": "small", "choices": [choice]}}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "small.jsonl")
    ...     _ = path.write_text(json.dumps(line))
    ...     frame = cl.datasets.chat_completions(path)
    >>> frame.round(3).to_dict("records")
    [{'sample': 'query 1', 'model': 'small', 'prediction': 'yes', 'confidence': 0.882}]
    """
    validate_choice(logprobs, ["sum", "mean"], "value of logprobs")
    parse = partial(parse_completion, prices, answer, logprobs == "mean")
    rows: list[dict] = []
    for file in sorted(Path(path).glob("*.jsonl")) or [Path(path)]:
        rows += parse_json_lines(file, parse)
    if not rows:
        raise ValueError(f"{path}: no line with a completion")
    return pd.DataFrame(rows)


def parse_completion(
    prices: Mapping | None, answer: Callable[[str], str], by_token: bool, line: dict
) -> list[dict]:
    """Return the row of one line of :func:`chat_completions`, or [] for a failed request."""
    if "custom_id" not in line:
        raise ValueError(
            "no custom_id, so the answers of several models to one query cannot be joined: "
            'write {"custom_id": query, "response": completion}'
        )
    response = line.get("response") or {}
    completion = response.get("body", response)
    choices = completion.get("choices")
    if not choices:
        return []
    texts = [answer(choice["message"]["content"] or "") for choice in choices]
    prediction, confidence, _ = most_given(texts)
    if len(choices) == 1:
        tokens = (choices[0].get("logprobs") or {}).get("content")
        confidence = math.nan
        if tokens is not None:
            total = min(sum(token["logprob"] for token in tokens), 0.0)
            confidence = math.exp(total / max(len(tokens), 1) if by_token else total)
    model = completion["model"]
    row = {
        "sample": str(line["custom_id"]),
        "model": model,
        "prediction": prediction,
        "confidence": confidence,
    }
    if prices is not None:
        prompt, completed = prices[validate_choice(model, prices, "model with a price")]
        usage = completion["usage"]
        spent = prompt * usage["prompt_tokens"] + completed * usage["completion_tokens"]
        row["cost"] = spent / 1e6
    return [row]


def lm_eval_samples(
    paths: Mapping[str, str | os.PathLike],
    metric: str | None = None,
    answer: Callable[[str], str] = str.strip,
) -> pd.DataFrame:
    """Read the samples of one task that lm-evaluation-harness logs (``--log_samples``).

    Parameters
    ----------
    paths : mapping
        File ``samples_*.jsonl`` of each model.
    metric : str, optional
        Key of a line that stores whether the answer is correct. Defaults to ``acc``, else
        ``exact_match``.
    answer : callable, default=str.strip
        Function from a raw generation to the answer, used if the task's filter selects one of
        several generations.

    Returns
    -------
    DataFrame
        One row per model and document with the columns sample, model, prediction, confidence and
        correct. For multiple choice, the prediction is the choice with the largest log-likelihood,
        and its confidence is the softmax over the choices. For generations, the prediction is the
        scored answer, the first filtered one. Its confidence is the share of all generations
        (``repeats``) that agree. It is nan for a single generation, and the model can then only be
        the last stage.

    Raises
    ------
    ValueError
        If a line is not JSON or has no such metric, or if no generation agrees with the filtered
        answer.

    See Also
    --------
    ScoreTable.from_frame : Convert the rows to a table that is searched.
    chat_completions : Read chat completions.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> line = {"doc_id": 0, "resps": [[[-1.0, False]], [[-3.0, False]]], "acc": 1.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "samples_task.jsonl")
    ...     _ = path.write_text(json.dumps(line))
    ...     frame = cl.datasets.lm_eval_samples({"small": path})
    >>> frame.drop(columns="model").round(3).to_dict("records")
    [{'sample': '0', 'prediction': '0', 'confidence': 0.881, 'correct': 1.0}]
    """
    rows: list[dict] = []
    for model, path in paths.items():
        rows += parse_json_lines(path, partial(parse_sample, model, metric, answer))
    return pd.DataFrame(rows)


def parse_sample(
    model: str, metric: str | None, answer: Callable[[str], str], line: dict
) -> list[dict]:
    """Return the row of one line of :func:`lm_eval_samples`."""
    sample = str(line["doc_id"])
    found = [name for name in ([metric] if metric else METRICS) if name in line]
    if not found:
        raise ValueError(f"no {metric or ' or '.join(METRICS)} in the line: pass metric=…")
    responses = line["resps"]
    generations = responses[0]
    if not isinstance(generations[0], str):  # multiple choice
        likelihood = np.array([float(choice[0][0]) for choice in responses])
        prediction = str(int(np.argmax(likelihood)))
        confidence = float(1 / np.exp(likelihood - likelihood.max()).sum())
    else:
        first = line["filtered_resps"][0] if line.get("filtered_resps") else generations
        if isinstance(first, list):
            answers = [text.strip() for text in first]
            prediction = answers[0]
        else:
            answers = list(map(answer, generations))
            prediction = first.strip()
        confidence = answers.count(prediction) / len(answers)
        if not confidence:
            raise ValueError(
                f"none of {len(answers)} generations is the filtered answer {prediction!r}: pass "
                "answer=, a function from a generation to its answer"
            )
        if len(answers) == 1:
            confidence = math.nan
    row = {
        "sample": sample,
        "model": model,
        "prediction": prediction,
        "confidence": confidence,
        "correct": float(line[found[0]]),
    }
    return [row]
