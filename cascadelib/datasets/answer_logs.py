"""Answers of language models in the logs that their tools write, as ScoreTable.from_frame takes
them.

Both readers follow the public documentation of these formats.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd

from ..checks import about, known
from ..files import opened
from ..scoring import most_given

METRICS = ("acc", "exact_match")
LARGEST = 2**30  # bytes of a log


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Errors within name the line, also those of a line that lacks what is documented."""
    with about(where):
        try:
            yield
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ValueError(f"not in the documented form: {error!r}") from None


def json_lines(path: str | os.PathLike) -> Iterator[tuple[str, dict]]:
    """(where it stands, object) of each line of a JSONL file that is not blank."""
    with opened(Path(path), LARGEST) as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if line.strip():
                with reading(where):
                    yield where, dict(json.loads(line))


def chat_completions(
    path: str | os.PathLike,
    prices: Mapping[str, tuple[float, float]] | None = None,
    answer: Callable[[str], str] = str.strip,
    logprobs: str = "sum",
) -> pd.DataFrame:
    """Chat completions in the form of the OpenAI API, which vLLM and llama.cpp also write.

    Parameters
    ----------
    path : str or os.PathLike
        A JSONL file of lines ``{"custom_id": query, "response": …}``: the completion, or what the
        batch API writes around it. Lines of failed requests (without choices) are left out. A
        folder: all of its ``*.jsonl``.
    prices : mapping, optional
        {model: (price of a million prompt tokens, of a million completion tokens)}.
    answer : callable
        From the text of a choice to the answer that is compared.
    logprobs : {"sum", "mean"}
        Confidence of one choice: the probability of all its tokens, exp(sum of log-probabilities),
        or their geometric mean, exp(mean), if answers have many tokens: the probability of 60
        tokens of 0.67 each is 4e-11.

    Returns
    -------
    DataFrame
        A row per line: sample, model, prediction, confidence; with ``prices`` also cost. The
        confidence of one choice is read from its tokens (``"logprobs": true`` in the request), nan
        without them: such a model can only be the last stage. That of several choices (``"n": 5``)
        is the share that agrees with the answer given most often.

    Raises
    ------
    ValueError
        If a line is no JSON or has no custom_id, or a model has no price.
    """
    known(logprobs, ["sum", "mean"], "value of logprobs")
    rows = []
    for file in sorted(Path(path).glob("*.jsonl")) or [Path(path)]:
        for where, line in json_lines(file):
            with reading(where):
                rows += completion_rows(line, prices, answer, logprobs == "mean")
    if not rows:
        raise ValueError(f"{path}: no line with a completion")
    return pd.DataFrame(rows)


def completion_rows(
    line: dict, prices: Mapping | None, answer: Callable[[str], str], by_token: bool
) -> list[dict]:
    """Return the row of one line of :func:`chat_completions`, none of a failed request."""
    if "custom_id" not in line:
        raise ValueError(
            "no custom_id, so that answers of several models to one query can't be joined: "
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
    row = {"sample": str(line["custom_id"]), "model": model}
    row |= {"prediction": prediction, "confidence": confidence}
    if prices is not None:
        prompt, completed = prices[known(model, prices, "model with a price")]
        usage = completion["usage"]
        spent = prompt * usage["prompt_tokens"] + completed * usage["completion_tokens"]
        row["cost"] = spent / 1e6
    return [row]


def lm_eval_samples(
    paths: Mapping[str, str | os.PathLike],
    metric: str | None = None,
    answer: Callable[[str], str] = str.strip,
) -> pd.DataFrame:
    """Samples that lm-evaluation-harness logs (``--log_samples``), of one task.

    Parameters
    ----------
    paths : mapping
        {model: its ``samples_*.jsonl``}.
    metric : str, optional
        The key of a line that says whether the answer is correct; default: ``acc``, else
        ``exact_match``.
    answer : callable
        From a raw generation to the answer, if the task's filter leaves one of several.

    Returns
    -------
    DataFrame
        A row per model and document: sample, model, prediction, confidence, correct. Multiple
        choice: the choice of the largest log-likelihood, and its softmax among the choices.
        Generations: the answer that the harness scored, which is the first filtered one, and the
        share of all generations (``repeats``) that agree with it; nan for a single one: such a
        model can only be the last stage.

    Raises
    ------
    ValueError
        If a line is no JSON or has no such metric, or no generation agrees with the filtered
        answer.
    """
    rows = []
    for model, path in paths.items():
        for where, line in json_lines(path):
            with reading(where):
                rows.append(
                    {"sample": str(line["doc_id"]), "model": model, **scored(line, metric, answer)}
                )
    return pd.DataFrame(rows)


def scored(line: dict, metric: str | None, answer: Callable[[str], str]) -> dict:
    """Return prediction, confidence and correctness of one line of :func:`lm_eval_samples`."""
    found = [name for name in ([metric] if metric else METRICS) if name in line]
    if not found:
        raise ValueError(f"none of {metric or ', '.join(METRICS)}: name the metric by metric=")
    given = line["resps"]
    if isinstance(given[0][0], str):
        prediction, confidence = generated(given[0], line.get("filtered_resps"), answer)
    else:
        likelihood = np.array([float(choice[0][0]) for choice in given])
        prediction = str(int(np.argmax(likelihood)))
        confidence = float(1 / np.exp(likelihood - likelihood.max()).sum())
    return {"prediction": prediction, "confidence": confidence, "correct": float(line[found[0]])}


def generated(
    raw: list[str], filtered: list | None, answer: Callable[[str], str]
) -> tuple[str, float]:
    """Return (the answer that the harness scored, the share of the generations that agree)."""
    first = filtered[0] if filtered else raw
    answers = (
        [text.strip() for text in first] if isinstance(first, list) else list(map(answer, raw))
    )
    prediction = first.strip() if isinstance(first, str) else answers[0]
    share = answers.count(prediction) / len(answers)
    if not share:
        raise ValueError(
            f"none of {len(answers)} generations is the filtered answer {prediction!r}: give "
            "answer=, from a generation to its answer"
        )
    return prediction, share if len(answers) > 1 else math.nan
