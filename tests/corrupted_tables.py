"""Corruptions of a certification split, read by every public call, in four shares of the rows.

The result is correct, an error, or a certificate that states the premise.

``python tests/corrupted_tables.py`` writes the table of docs/premises.md.
"""

import contextlib
import io
import json
import re
import tempfile
import warnings
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import cascadelib as cl
from cascadelib.__main__ import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "premises.md"
HARMLESS = 5e-4  # of the observed loss: half a sample of a thousand
SHARES = (0.01, 0.05, 0.15, 1.0)
EPSILON = 0.03
K = 1200
CLASSES = np.array(["red", "blue", "3"])
NAMES = ["small", "large"]
COST = [1.0, 20.0]
WIDE = str.maketrans("abcdelru3", "ａｂｃｄｅｌｒｕ３")


@dataclass(eq=False)
class Split:
    """An export of k samples: ids, labels, and the answers of two models."""

    ids: np.ndarray
    labels: np.ndarray
    predictions: np.ndarray
    confidence: np.ndarray

    def take(self, rows):
        return Split(
            self.ids[rows], self.labels[rows], self.predictions[:, rows], self.confidence[:, rows]
        )


def drawn(k, seed):
    """A sound split: both models find the same samples difficult."""
    rng = np.random.default_rng(seed)
    ease = rng.normal(size=k)
    margin = np.array([[0.9], [2.6]]) + 1.5 * ease + 0.7 * rng.normal(size=(2, k))
    number = rng.integers(0, 3, k)
    other = (number + rng.integers(1, 3, (2, k))) % 3
    confidence = 1 / (1 + np.exp(-abs(margin + 0.5 * rng.normal(size=(2, k)))))
    predictions = CLASSES[np.where(margin > 0, number, other)]
    ids = np.array([f"q{seed}-{row:05}" for row in range(k)])
    return Split(ids, CLASSES[number], predictions.astype(object), confidence)


CHOOSE = drawn(K, 1)
CHECK = drawn(K, 2)


def some_rows(k, share, seed=0):
    """A random share of k rows, in ascending order."""
    return np.sort(np.random.default_rng(seed).permutation(k)[: round(share * k)])


def shuffled(rows, seed=0):
    """The rows in another order."""
    return np.random.default_rng(seed).permutation(rows)


# Spellings: functions of one text.
SPELLINGS = {
    "a space at the end": lambda text: text + " ",
    "another case": str.upper,
    "a no-break space": lambda text: "\u00a0" + text,
    "full-width letters": lambda text: text.translate(WIDE),
    "3.0 for 3": lambda text: "3.0" if text == "3" else text,
}


def respelled(values, rows, spell):
    """Return texts of which some rows are spelled in another way."""
    values = np.array(values, object)
    values[rows] = [spell(text) for text in values[rows]]
    return values


# Corruptions of the answers of an export: functions of a split and a share of its rows.
def reference_respelled(spell):
    def corrupt(split, share):
        rows = some_rows(len(split.ids), share)
        if spell("3") == "3.0":
            rows = rows[split.predictions[1, rows] == "3"]
        predictions = split.predictions.copy()
        predictions[1] = respelled(predictions[1], rows, spell)
        return replace(split, predictions=predictions)

    return corrupt


def reference_missing(split, share):
    predictions = split.predictions.copy()
    confidence = split.confidence.copy()
    rows = some_rows(len(split.ids), share)
    predictions[1, rows] = ""
    confidence[1, rows] = np.nan
    return replace(split, predictions=predictions, confidence=confidence)


def confidence_missing(split, share):
    confidence = split.confidence.copy()
    confidence[0, some_rows(len(split.ids), share)] = np.nan
    return replace(split, confidence=confidence)


def confidence_in_percent(split, share):
    confidence = split.confidence.copy()
    confidence[0, some_rows(len(split.ids), share)] *= 100
    return replace(split, confidence=confidence)


def reference_of_other_rows(split, share):
    """The first rows of the reference are shifted by one, as by a line that is missing."""
    order = np.arange(len(split.ids))
    last = round(share * len(order))
    order[:last] = np.roll(order[:last], 1)
    return moved(split, order)


def reference_shuffled(split, share):
    rows = some_rows(len(split.ids), share)
    order = np.arange(len(split.ids))
    order[rows] = shuffled(rows)
    return moved(split, order)


def moved(split, order):
    """Return a split with the answers of the reference in another order."""
    predictions = split.predictions.copy()
    confidence = split.confidence.copy()
    predictions[1] = predictions[1, order]
    confidence[1] = confidence[1, order]
    return replace(split, predictions=predictions, confidence=confidence)


def selection_again(split, share):
    """Replace a share of the rows by rounded rows of the selection split, under other ids."""
    rows = some_rows(len(split.ids), share)
    mixed = [np.array(part) for part in (split.labels, split.predictions, split.confidence)]
    for part, other in zip(mixed, (CHOOSE.labels, CHOOSE.predictions, CHOOSE.confidence)):
        part[..., rows] = other[..., rows]
    mixed[2][:, rows] = np.round(mixed[2][:, rows], 4)
    return Split(split.ids, *mixed)


def samples_twice(split, share):
    rows = some_rows(len(split.ids), share)
    twice = split.take(np.concatenate([np.arange(len(split.ids)), rows]))
    twice.ids = np.array([f"{name}/{row}" for row, name in enumerate(twice.ids)])
    return twice


def labels_missing(split, share):
    labels = np.array(split.labels, object)
    labels[some_rows(len(split.ids), share)] = ""
    return replace(split, labels=labels)


EXPORTS = {
    **{f"{name} (the reference)": reference_respelled(how) for name, how in SPELLINGS.items()},
    "no answer of the reference": reference_missing,
    "empty confidences": confidence_missing,
    "confidences in percent": confidence_in_percent,
    "the reference shifted by one row": reference_of_other_rows,
    "the reference shuffled": reference_shuffled,
    "the selection split again, rounded, other ids": selection_again,
    "samples twice, other ids": samples_twice,
    "no label": labels_missing,
}


def values_shuffled(ids, values, share):
    values = np.array(values, object)
    rows = some_rows(len(ids), share)
    values[rows] = values[shuffled(rows)]
    return pd.Series(values, ids)


def values_respelled(spell):
    def corrupt(ids, values, share):
        rows = some_rows(len(ids), share)
        return pd.Series(respelled(values, rows, spell), ids)

    return corrupt


TEXTS = {name: values_respelled(how) for name, how in SPELLINGS.items()}
SHUFFLED = {"values shuffled, ids kept": values_shuffled}


# The public calls. Each takes a corrupted split or Series, and returns an Outcome.
@dataclass
class Outcome:
    """A result that is compared with that on sound data, its text, and the loss of each cascade."""

    compared: Any
    text: str = ""
    losses: Any = ()


def certified(table, **keywords):
    certificate = cl.certify(table, tested(), EPSILON, reference="large", **keywords)
    tried = certificate.table
    return Outcome(tried["p_value"].tolist(), str(certificate), tried["accuracy_loss"].tolist())


@lru_cache(maxsize=2)
def frame_of(split):
    """Return a table with a row per sample and model. Calls of one split share it."""
    frames = []
    for row, name in enumerate(NAMES):
        columns = {
            "sample": split.ids,
            "model": name,
            "prediction": split.predictions[row],
            "confidence": split.confidence[row],
            "cost": COST[row],
            "label": split.labels,
        }
        frames.append(pd.DataFrame(columns))
    frame = pd.concat(frames)
    return frame.replace({"prediction": {"": None}, "label": {"": None}})


def read(frame, **keywords):
    return cl.ScoreTable.from_frame(frame, prediction="prediction", label="label", **keywords)


@cache
def tested():
    """Return eight cascades of the front whose losses rise from 0 to epsilon."""
    front = cl.search(table_of(CHOOSE), 2)
    loss = front.reference.accuracy - front.table["accuracy"].to_numpy()
    rows = np.flatnonzero((loss >= 0) & (loss <= EPSILON))[::-1]
    return [front.point(int(row)) for row in rows[np.linspace(0, len(rows) - 1, 8).astype(int)]]


def table_of(split):
    return cl.ScoreTable(
        None,
        split.confidence,
        COST,
        NAMES,
        sample_ids=split.ids,
        predictions=split.predictions,
        labels=split.labels,
    )


def by_frame(split, **keywords):
    return certified(read(frame_of(split), **keywords))


def by_constructor(split):
    return certified(table_of(split))


def by_command(split):
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("choose.csv", "check.csv", "policy.json")]
        for path, part in zip(paths, (CHOOSE, split)):
            frame_of(part).to_csv(path, index=False)
        command = ["certify", paths[0], "--held-out", paths[1], "--out", paths[2], "--json"]
        command += ["--prediction", "prediction", "--label", "label", "--epsilon", EPSILON]
        out = io.StringIO()
        err = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([str(each) for each in [*command, "--reference", "large"]])
        if status == 2:
            raise ValueError(err.getvalue())
        printed = json.loads(out.getvalue())
        text = printed.pop("certificate")
        printed.pop("policy", None)
        observed = re.search(r"Observed loss: (.*?) points", text)
        if not observed:
            return Outcome(printed, text, [np.nan])
        sound = table_of(CHECK)  # another split may certify another cascade
        accuracy = cl.evaluate(sound, cl.Policy.load(paths[2])).accuracy
        loss = sound.models.loc["large", "top1"] - accuracy
        return Outcome(printed, text, [float(observed[1]) / 100 - loss])


def by_log(split):
    """Read the chat completions of both models from one file, and join labels by id."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        lines = []
        for row, name in enumerate(NAMES):
            for sample, answer, confidence in zip(
                split.ids, split.predictions[row], split.confidence[row]
            ):
                token = {"token": answer, "logprob": float(np.log(confidence))}
                choice = {"message": {"content": answer}, "logprobs": {"content": [token]}}
                body = {"model": name, "choices": [choice] if answer else []}
                lines.append(json.dumps({"custom_id": str(sample), "response": body}))
        path.write_text("\n".join(lines), encoding="utf-8")
        frame = cl.datasets.chat_completions(path)
    frame["label"] = frame["sample"].map(dict(zip(split.ids, split.labels))).replace("", None)
    return certified(read(frame, cost=dict(zip(NAMES, COST))))


def by_labelled(labels):
    unlabelled = replace(table_of(CHECK), correct=None, labels=None, sample_ids=CHECK.ids)
    return certified(unlabelled.labelled(labels))


def by_few_labels(labels):
    unlabelled = replace(table_of(CHECK), correct=None, labels=None, sample_ids=CHECK.ids)
    return certified(unlabelled, labels=labels)


@cache
def small_table():
    return cl.ScoreTable(
        None,
        CHECK.confidence[:1],
        COST[:1],
        NAMES[:1],
        sample_ids=CHECK.ids,
        predictions=CHECK.predictions[:1],
    )


def by_ask(answers):
    """Look answers up in a Series, which returns them in its order as a database does."""
    truth = pd.Series(CHECK.predictions[1], CHECK.ids)

    def ask(ids):
        return answers[answers.index.isin(set(ids))] if len(answers) else answers

    result = cl.answer_table(small_table(), ask, 0.05, labels=400, seed=0)
    wrong = float(np.mean(result.answers != truth.to_numpy()))
    return Outcome(result.answers.tolist(), str(result), [-max(0.0, wrong - 0.05)])


@cache
def learning():
    """Return inputs of two classifiers, and their classes."""
    rng = np.random.default_rng(0)
    k = 1000
    inputs = pd.DataFrame(rng.normal(size=(k, 6)), [f"p{row}" for row in range(k)])
    score = inputs[0] + inputs[1] * inputs[2] + 0.3 * rng.normal(size=k)
    return inputs, np.where(score > 0, "red", "3")


def by_sklearn(labels):
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression

    from cascadelib.sklearn import CascadeClassifier

    two = [("line", LogisticRegression()), ("trees", HistGradientBoostingClassifier(max_iter=10))]
    cascade = CascadeClassifier(two, [1, 20], epsilon=0.1, random_state=0)
    certificate = cascade.fit(learning()[0], labels).certificate_
    return Outcome(certificate.table["p_value"].tolist(), str(certificate))


LABELS = (CHECK.ids, CHECK.labels)
VALUES = {
    "store.labelled": (by_labelled, LABELS, TEXTS | SHUFFLED),
    "certify(labels=)": (by_few_labels, LABELS, TEXTS | SHUFFLED),
    "answer_table(ask)": (by_ask, (CHECK.ids, CHECK.predictions[1]), TEXTS | SHUFFLED),
    "CascadeClassifier.fit": (
        by_sklearn,
        (learning()[0].index.to_numpy(), learning()[1]),
        TEXTS,
    ),
}
TABLES = {
    "from_frame": by_frame,
    'from_frame(missing="abstain")': partial(by_frame, missing="abstain"),
    'from_frame(missing="drop")': partial(by_frame, missing="drop"),
    "ScoreTable": by_constructor,
    "chat_completions": by_log,
    "cascadelib certify": by_command,
}


def result_of(call, sound, *inputs):
    """Return the result of a call on corrupted data in one word, its hidden loss, and its text.

    The hidden loss is the largest amount by which the observed loss of a cascade is too small.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = call(*inputs)
    except ValueError as error:
        return "error", 0.0, str(error)
    differences = [np.subtract(*pair) for pair in zip(sound.losses, found.losses)]
    hidden = max([0.0, *np.nan_to_num(differences).tolist()])
    if premises_in(found.text) - premises_in(sound.text):
        return "stated", hidden, found.text
    if found.compared == sound.compared:
        return "correct", hidden, found.text
    return "undetected" if hidden > HARMLESS else "cautious", hidden, found.text


def premises_in(text):
    """Return the premises that the text of a certificate does not verify."""
    from cascadelib.guarantees.premises import CHECKS

    listed = text.partition("Not verifiable: ")[2] + text.partition("Violated, but")[2]
    return {name for name in CHECKS if name in listed}


@cache
def results():
    """Return a table with the result of each corruption, call and share."""
    rows = []
    sound = {name: call(CHECK) for name, call in TABLES.items()}
    for name, corrupt in EXPORTS.items():
        for share in SHARES:
            split = corrupt(CHECK, share)
            for name_of_call, call in TABLES.items():
                found = result_of(call, sound[name_of_call], split)
                rows.append((name, name_of_call, share, *found))
    for name_of_call, (call, inputs, corruptions) in VALUES.items():
        sound = call(pd.Series(inputs[1], inputs[0]))
        for name, corrupt in corruptions.items():
            for share in SHARES:
                found = result_of(call, sound, corrupt(*inputs, share))
                rows.append((name, name_of_call, share, *found))
    columns = ["corruption", "call", "share", "result", "hidden", "text"]
    return pd.DataFrame(rows, columns=columns)


def described(found):
    """Return {(corruption, call): its results by share, in few words}."""
    hidden = (100 * found["hidden"]).map(" ({:.1f})".format)
    words = found["result"] + hidden.where(found["result"] == "undetected", "")
    return words.groupby([found["corruption"], found["call"]], sort=False).agg(list).to_dict()


def page_table():
    """Return the table of docs/premises.md. Corruptions and calls of equal results share a row."""
    calls = {}
    for (name, call), words in described(results()).items():
        cell = " / ".join(words if len(set(words)) > 1 else words[:1])
        calls.setdefault(name, {}).setdefault(cell, []).append(f"`{call}`")
    lines = ["| corruption | call | 1% / 5% / 15% / 100% of the rows |", "|---|---|---|"]
    while calls:
        first = next(iter(calls.values()))
        alike = [name for name, cells in calls.items() if cells == first]
        for place, (cell, named) in enumerate(first.items()):
            lines.append(f"| {'' if place else '; '.join(alike)} | {', '.join(named)} | {cell} |")
        calls = {name: cells for name, cells in calls.items() if name not in alike}
    return "\n".join(lines)


def with_table(text):
    """Return the text of a page with the current table between its marks."""
    marks = "<!-- corruptions -->", "<!-- /corruptions -->"
    before, _, rest = text.partition(marks[0])
    return f"{before}{marks[0]}\n\n{page_table()}\n\n{marks[1]}{rest.partition(marks[1])[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
