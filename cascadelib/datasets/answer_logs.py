"""Read logged chat completions into the form of ``ScoreTable.from_frame``."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..checks import error_context, validate_choice
from ..files import open_regular_file, parse_json_object
from ..stages import most_given

LARGEST_LOG = 2**30  # bytes


def chat_completions(
    path: str | os.PathLike,
    prices: Mapping[str, tuple[float, float]] | None = None,
    answer: Callable[[str], str] = str.strip,
) -> pd.DataFrame:
    """Read chat completions of the OpenAI API, which vLLM and llama.cpp also write.

    Parameters
    ----------
    path : str or os.PathLike
        JSONL file, or a folder whose ``*.jsonl`` are all read. Each line is
        ``{"custom_id": query, "response": …}``. The response is a completion, or the wrapper of one
        in batches of OpenAI and vLLM. A line may have the ``label`` of its query.
    prices : mapping, optional
        Prices by model: (per million prompt tokens, per million completion tokens).
    answer : callable, default=str.strip
        Function from the text of a choice to the answer, which is compared with labels as it is.

    Returns
    -------
    DataFrame
        One row per line with the columns sample, model, prediction and confidence, cost if `prices`
        are passed, and label if a line has one.

        The confidence of one choice is the probability of its tokens (``"logprobs": true`` in the
        request), nan without them. The confidence of several choices (``"n": 5``) is the share that
        agrees with the most frequent answer. A failed request, a refusal or a call of a tool has no
        content and is a missing answer (None). A failed request belongs to the model of its file.

    Raises
    ------
    ValueError
        If a line has another form or no custom_id, if a model has no price, or if a line names no
        model, and its file has not exactly one.

    See Also
    --------
    ScoreTable.from_frame : Convert the rows to a table that is searched.

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
    files = sorted(Path(path).glob("*.jsonl")) or [Path(path)]
    return pd.concat([read_log(file, prices, answer) for file in files], ignore_index=True)


def read_log(file: Path, prices: Mapping | None, answer: Callable[[str], str]) -> pd.DataFrame:
    """Return the rows of a file."""
    rows = []
    with open_regular_file(file, LARGEST_LOG) as lines:
        for number, line in enumerate(lines, 1):
            place = f"{file}, line {number}"
            if not line.strip():
                continue
            content = parse_json_object(line, place)
            with error_context(place):
                try:
                    rows.append(parse_completion(content, prices, answer))
                except (KeyError, TypeError, IndexError, AttributeError) as error:
                    raise ValueError(f"not in the documented form: {error!r}") from None
    models = {row["model"] for row in rows} - {None}
    if len(models) != 1 and (not rows or None in [row["model"] for row in rows]):
        raise ValueError(
            f"{file}: it has failed requests, which name no model, and completions of "
            f"{len(models)} models. Write one file per model"
        )
    return pd.DataFrame(rows).assign(model=[row["model"] or min(models) for row in rows])


def parse_completion(
    line: dict, prices: Mapping | None, answer: Callable[[str], str]
) -> dict[str, Any]:
    """Return the row of one line of :func:`chat_completions`."""
    response = line.get("response") or {}
    completion = response.get("body") or response
    choices = completion.get("choices") or []
    texts = [answer(choice["message"]["content"] or "") for choice in choices]
    prediction, confidence, _ = most_given(texts or [""])
    if len(choices) == 1:
        tokens = (choices[0].get("logprobs") or {}).get("content")
        total = sum(token["logprob"] for token in tokens or ())
        confidence = math.exp(min(total, 0.0)) if tokens else math.nan
    row = {
        "sample": str(line["custom_id"]),
        "model": completion.get("model"),
        "prediction": prediction or None,
        "confidence": confidence if prediction else math.nan,
    }
    if "label" in line:
        row["label"] = line["label"]
    if prices is not None:
        row["cost"] = price_of(completion, prices) if choices else 0.0
    return row


def price_of(completion: dict, prices: Mapping) -> float:
    """Return the price of a completion from the numbers of its tokens."""
    prompt, completed = prices[validate_choice(completion["model"], prices, "model with a price")]
    usage = completion["usage"]
    return (prompt * usage["prompt_tokens"] + completed * usage["completion_tokens"]) / 1e6
