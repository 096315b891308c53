"""Read logged answers of language models into the form of ``ScoreTable.from_frame``.

The readers follow the public documentation of these formats. Recorded files test them.
"""

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..checks import error_context, validate_choice
from ..files import open_regular_file
from ..scoring import most_given

METRICS = ("acc", "exact_match")
INVALID = "[invalid]"  # written by filters of lm-evaluation-harness that find no answer
MAX_LOG_BYTES = 2**30  # bytes of a log


def parse_json_lines(path: str | os.PathLike, parse: Callable[[dict], Any]) -> Iterator[Any]:
    """Yield what is parsed from each line of a JSONL file that is not blank.

    A file ``*.json`` is an array of such lines. Errors name the line. Errors of incomplete lines
    are converted to ValueError.
    """
    with open_regular_file(Path(path), MAX_LOG_BYTES) as file:
        is_array = Path(path).suffix.lower() == ".json"
        with error_context(f"{path}, an array of objects"):
            lines = json.load(file) if is_array else file
        for number, line in enumerate(lines, 1):
            if not is_array and not line.strip():
                continue
            with error_context(f"{path}, {'object' if is_array else 'line'} {number}"):
                try:
                    row = parse(dict(line if is_array else json.loads(line)))
                except (KeyError, TypeError, IndexError, AttributeError) as error:
                    raise ValueError(f"not in the documented form: {error!r}") from None
            yield row


def read_log(path: str | os.PathLike, **options: Any) -> pd.DataFrame:
    """Read a log of JSON lines, or a folder of logs, in the form that its first line has.

    A file ``*.json`` is an array of such lines.

    Parameters
    ----------
    path : str or os.PathLike
        A file of chat completions, of samples of lm-evaluation-harness, or of one flat object per
        query and model. In a folder, all files have one form. A file ``samples_*.jsonl`` belongs to
        the model that its folder is named after.
    **options : str
        ``default_model`` of :func:`chat_completions`, or ``filter`` and ``metric`` of
        :func:`lm_eval_samples`.

    Returns
    -------
    DataFrame
        One row per query and model, for :meth:`ScoreTable.from_frame`.

    Raises
    ------
    ValueError
        If a line has another form, if lines of an object have nested values, or if an option
        belongs to another form.

    See Also
    --------
    chat_completions, lm_eval_samples : Read one form, with options.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> import cascadelib as cl
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "log.jsonl")
    ...     _ = path.write_text(json.dumps({"id": "01", "model": "small", "answer": "yes"}))
    ...     frame = cl.datasets.read_log(path)
    >>> frame.to_dict("records")
    [{'id': '01', 'model': 'small', 'answer': 'yes'}]
    """
    path = Path(path)
    files = sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]
    first = next((row for file in files for row in parse_json_lines(file, dict)), None)
    if first is None:
        raise ValueError(f"{path}: no file *.jsonl has a line")
    is_of_harness = "resps" in first
    is_completion = not first.keys().isdisjoint(("custom_id", "choices"))
    accepted = ["filter", "metric"] * is_of_harness + ["default_model"] * is_completion
    if foreign := [name for name in options if name not in accepted]:
        raise ValueError(f"{path}: {foreign[0]}= belongs to logs of another form. Leave it out")
    if is_of_harness:
        return lm_eval_samples({file.parent.name: file for file in files}, **options)
    if is_completion:
        return chat_completions(path, **options)
    rows = [row for file in files for row in parse_json_lines(file, check_flat)]
    return pd.DataFrame(rows)


def check_flat(row: dict) -> dict:
    """Return a row whose values are not nested. Text and numbers are unchanged."""
    nested = [name for name, value in row.items() if isinstance(value, dict | list)]
    if nested:
        raise ValueError(f"{nested[0]!r} is nested: write one flat object per query and model")
    return row


def chat_completions(
    path: str | os.PathLike,
    prices: Mapping[str, tuple[float, float]] | None = None,
    answer: Callable[[str], str] = str.strip,
    logprobs: str = "sum",
    default_model: str | None = None,
    tool_calls: bool = False,
) -> pd.DataFrame:
    """Read chat completions of the OpenAI API, which vLLM and llama.cpp also write.

    Parameters
    ----------
    path : str or os.PathLike
        JSONL file, or a folder whose ``*.jsonl`` are all read. Each line is
        ``{"custom_id": query, "response": …}``. The response is a completion, or the wrapper of one
        in batches of OpenAI and vLLM. A line may have the ``label`` of its query. Lines of failed,
        expired and rate-limited requests are missing answers, at no cost.
    prices : mapping, optional
        Prices by model: (per million prompt tokens, per million completion tokens).
    answer : callable, default=str.strip
        Function from the text of a choice to the answer that is compared.
    logprobs : {"sum", "mean"}, default="sum"
        Confidence of one choice. "sum" is the probability of all its tokens, the exponential of the
        sum of log-probabilities. "mean" is the geometric mean of the tokens' probabilities, for
        answers of many tokens. For example, 60 tokens of 0.67 each have the probability 4e-11.
    default_model : str, optional
        Model of failed requests, whose lines do not name it. It is not needed if all other lines of
        a file are of one model.
    tool_calls : bool, default=False
        Whether a call of a tool is an answer, as the text ``name(arguments)``. Otherwise it is a
        missing answer.

    Returns
    -------
    DataFrame
        One row per line with the columns sample, model, prediction and confidence, cost if `prices`
        are passed, and label if a line has one. ``failure`` has the error of failed requests, if
        there are any. A missing answer is None, with the confidence nan.

        The confidence of one choice is computed from its tokens (``"logprobs": true`` in the
        request). Without them it is nan, and the model can only be the last stage. The confidence
        of several choices (``"n": 5``) is the share that agrees with the most frequent answer.

    Raises
    ------
    ValueError
        If a line is not JSON or has no custom_id, if a model has no price, or if the model of a
        failed request is unknown.

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
    parse = partial(parse_completion, prices, answer, logprobs == "mean", tool_calls)
    tables = []
    for file in sorted(Path(path).glob("*.jsonl")) or [Path(path)]:
        table = pd.DataFrame(parse_json_lines(file, parse))
        tables.append(name_models(table, file, default_model) if len(table) else table)
    table = pd.concat(tables, ignore_index=True)
    if not len(table) or table["prediction"].isna().all():
        raise ValueError(f"{path}: no line with a completion")
    return table


def name_models(table: pd.DataFrame, file: Path, model: str | None) -> pd.DataFrame:
    """Return the rows of a file with a model in each, also in those of failed requests."""
    unknown = table["model"].isna()
    if model is None and unknown.any():
        models = table["model"].dropna().unique().tolist()
        if len(models) != 1:
            raise ValueError(
                f"{file}: {unknown.sum()} failed requests name no model, such as "
                f"{table.loc[unknown, 'sample'].iloc[0]!r}, and the other lines are of "
                f"{len(models)} models. Pass default_model=, or use one file per model"
            )
        model = models[0]
    return table.assign(model=table["model"].where(~unknown, model))


def parse_completion(
    prices: Mapping | None,
    answer: Callable[[str], str],
    by_token: bool,
    tool_calls: bool,
    line: dict,
) -> dict[str, Any]:
    """Return the row of one line of :func:`chat_completions`."""
    if "custom_id" not in line:
        raise ValueError(
            "no custom_id, so the answers of several models to one query cannot be joined: "
            'write {"custom_id": query, "response": completion}'
        )
    response = line.get("response") or {}
    completion = response.get("body") or response
    choices = completion.get("choices") or []
    prediction, confidence = answer_in(choices, answer, by_token, tool_calls)
    row = {
        "sample": str(line["custom_id"]),
        "model": completion.get("model"),
        "prediction": prediction,
        "confidence": confidence,
    }
    if "label" in line:
        row["label"] = line["label"]
    if not choices:
        row["failure"] = failed_request_code(line)
    if prices is not None:
        row["cost"] = price_of(completion, prices) if choices else 0.0
    return row


def failed_request_code(line: dict) -> str:
    """Return the code of the error of a failed request."""
    response = line.get("response") or {}
    error = line.get("error") or (response.get("body") or {}).get("error") or {}
    return str(error.get("code") or response.get("status_code") or "no completion")


def answer_in(
    choices: list[dict], answer: Callable[[str], str], by_token: bool, tool_calls: bool
) -> tuple[str | None, float]:
    """Return the most frequent answer of choices and its confidence, (None, nan) without one."""
    texts = [answer(message_text(choice["message"], tool_calls)) for choice in choices]
    prediction, confidence, _ = most_given(texts or [""])
    if not prediction:
        return None, math.nan
    return prediction, confidence_of(choices[0], by_token) if len(choices) == 1 else confidence


def message_text(message: dict, tool_calls: bool) -> str:
    """Return the text of a message, "" for a refusal, and for a call of a tool if not accepted."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    if not calls or (tool_calls and message.get("content")):
        return message["content"] or ""
    return " ".join(f"{call['name']}({call['arguments']})" for call in calls if tool_calls)


def confidence_of(choice: dict, by_token: bool) -> float:
    """Return the probability of the tokens of a choice, or their mean one, nan if unknown."""
    tokens = (choice.get("logprobs") or {}).get("content")
    if tokens is None:
        return math.nan
    total = min(sum(token["logprob"] for token in tokens), 0.0)
    return math.exp(total / max(len(tokens), 1) if by_token else total)


def price_of(completion: dict, prices: Mapping) -> float:
    """Return the price of a completion from the numbers of its tokens."""
    model = completion["model"]
    prompt, completed = prices[validate_choice(model, prices, "model with a price")]
    usage = completion["usage"]
    spent = prompt * usage["prompt_tokens"] + completed * usage["completion_tokens"]
    return spent / 1e6


def lm_eval_samples(
    paths: Mapping[str, str | os.PathLike],
    metric: str | None = None,
    answer: Callable[[str], str] = str.strip,
    filter: str | None = None,
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
    filter : str, optional
        The filter of the task whose scores are read. It is needed if a file has several.

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
        If a line is not JSON or has no such metric, if no generation agrees with the filtered
        answer, or if a file has several filters and `filter` names none of them.

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
        lines = list(parse_json_lines(path, dict))
        found = list(dict.fromkeys(line.get("filter", "none") for line in lines))
        if filter is None and len(found) > 1:
            raise ValueError(f"{path} has the filters {', '.join(found)}. Pass filter= with one")
        wanted = found[0] if filter is None else validate_choice(filter, found, "filter")
        parse = partial(parse_sample, model, metric, answer, wanted)
        rows += [row for row in parse_json_lines(path, parse) if row]
    return pd.DataFrame(rows)


def parse_sample(
    model: str, metric: str | None, answer: Callable[[str], str], wanted: str, line: dict
) -> dict | None:
    """Return the row of one line of :func:`lm_eval_samples`, None for another filter."""
    if line.get("filter", "none") != wanted:
        return None
    sample = str(line["doc_id"])
    found = [name for name in ([metric] if metric else METRICS) if name in line]
    if not found:
        raise ValueError(
            f"no {metric or ' or '.join(METRICS)} among the keys {', '.join(line)}: pass metric= "
            "with one of them"
        )
    responses = line["resps"]
    generations = responses[0]
    prediction: str | None
    if not isinstance(generations[0], str):  # multiple choice
        likelihood = np.array([float(choice[0][0]) for choice in responses])
        prediction = str(int(np.argmax(likelihood)))
        confidence = float(1 / np.exp(likelihood - likelihood.max()).sum())
    else:
        prediction, confidence = vote_of(generations, line.get("filtered_resps"), answer)
    return {
        "sample": sample,
        "model": model,
        "prediction": prediction,
        "confidence": confidence,
        "correct": float(line[found[0]]),
    }


def vote_of(
    generations: list[str], filtered: list | None, answer: Callable[[str], str]
) -> tuple[str | None, float]:
    """Return the scored answer of generations, and the share of them that agree with it.

    A filter that finds no answer writes :data:`INVALID`. The answer is then None.
    """
    first = filtered[0] if filtered else generations
    if isinstance(first, list):
        answers = [text.strip() for text in first]
        prediction = answers[0]
    else:
        answers = list(map(answer, generations))
        prediction = first.strip()
    if prediction == INVALID:
        return None, math.nan
    confidence = answers.count(prediction) / len(answers)
    if not confidence:
        raise ValueError(
            f"none of {len(answers)} generations is the filtered answer {prediction!r}. In Python, "
            "lm_eval_samples(answer=…) takes a function from a generation to its answer"
        )
    return prediction, math.nan if len(answers) == 1 else confidence
