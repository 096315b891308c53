"""Messy files of answers with planted truth, as people export them.

Each file is drawn from the same kind of data: questions whose difficulty both models share. The
true loss of a cascade is measured on the planted table, never on the file.
"""

import csv
import io
import json
from dataclasses import dataclass

import numpy as np

import cascadelib as cl

K = 1600
ACCURACY = {"small": 0.833, "large": 0.943}
PRICE = {"small": 0.0004, "large": 0.006}
CLASSES = ("yes", "no")


@dataclass(frozen=True)
class Planted:
    """The truth of a file: answers, confidences and labels [samples], by model."""

    labels: np.ndarray
    answers: dict
    confidence: dict

    @property
    def ids(self):
        return [f"q{row:04}" for row in range(len(self.labels))]

    def table(self, models=("small", "large")):
        """Return the planted table, with nothing to read."""
        return cl.ScoreTable(
            np.array([self.answers[name] == self.labels for name in PRICE]),
            np.array([self.confidence[name] for name in PRICE]),
            list(PRICE.values()),
            models,
            self.ids,
        )

    def rows(self):
        """Yield a row per model and sample, all as text."""
        for name in PRICE:
            for sample, label, answer, confidence in zip(
                self.ids, self.labels, self.answers[name], self.confidence[name]
            ):
                yield {
                    "sample": sample,
                    "model": name,
                    "prediction": str(answer),
                    "confidence": f"{confidence:.4f}",
                    "cost": f"{PRICE[name]:.4f}",
                    "label": str(label),
                }


def of_difficulty(rng, ease, labels, other):
    """Return answers of two models that find the same questions difficult.

    other: a function that draws a wrong answer to each question.
    """
    answers = {}
    confidence = {}
    for name, accuracy in ACCURACY.items():
        is_correct = ease + 0.02 * rng.normal(size=K) > 1 - accuracy
        answers[name] = np.where(is_correct, labels, other())
        confidence[name] = np.clip(0.45 + 0.5 * ease + 0.02 * rng.normal(size=K), 0.001, 0.999)
    return Planted(labels, answers, confidence)


def planted(rng):
    """Draw labels of two classes, and answers."""
    ease = rng.random(K)
    labels = rng.choice(CLASSES, K)
    return of_difficulty(rng, ease, labels, lambda: np.where(labels == "yes", "no", "yes"))


def csv_of(rows, separator=",", names=None, encoding="utf-8", end="\n"):
    """Return rows as the bytes of a CSV file, with other names of columns."""
    rows = list(rows)
    names = names or {}
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator=end)
    writer.writerow({name: names.get(name, name) for name in rows[0]})
    writer.writerows(rows)
    return file.getvalue().encode(encoding)


def changed(truth, rng, share, change, models=("large",)):
    """Yield rows of which a share of those of some models is changed by a function of the row."""
    for row in truth.rows():
        is_changed = row["model"] in models and rng.random() < share
        yield row | (change(row) if is_changed else {})


def spelled(form, models=("large",)):
    """Return the maker of a file in which a share of the answers is spelled in a form."""

    def make(truth, rng, share):
        return csv_of(
            changed(truth, rng, share, lambda row: {"prediction": form(row["prediction"])}, models)
        )

    return make


def each(change, **options):
    """Return the maker of a file in which all rows are changed by a function of the row."""

    def make(truth, rng, share):
        return csv_of((row | change(row) for row in truth.rows()), **options)

    return make


HEADER = {
    "sample": "Question ID",
    "model": "LLM",
    "prediction": "Answer",
    "confidence": "Conf.",
    "cost": "Price ($)",
    "label": "Gold",
}
GERMAN = {
    "sample": "Frage-ID",
    "model": "Modell",
    "prediction": "Antwort",
    "confidence": "Konfidenz",
    "cost": "Preis",
    "label": "Wahrheit",
}
FRENCH = {
    "sample": "Question",
    "model": "Modèle",
    "prediction": "Réponse",
    "confidence": "Confiance",
    "cost": "Coût",
    "label": "Vérité",
}


def german(row):
    return {
        "confidence": row["confidence"].replace(".", ","),
        "cost": f"{1000 * float(row['cost']):.2f}".replace(".", ",") + " €",
    }


def french(row):
    percent = f"{100 * float(row['confidence']):.1f}".replace(".", ",")
    price = f"{1e7 * float(row['cost']):,.2f}".replace(",", "\u202f").replace(".", ",")
    return {"confidence": f"{percent} %", "cost": price}


def english(row):
    return {
        "confidence": f"{100 * float(row['confidence']):.1f}%",
        "cost": f"${1e6 * float(row['cost']):,.2f}",
    }


def judged(yes, no):
    """Return the maker of a file with words for correctness instead of labels."""

    def make(truth, rng, share):
        rows = []
        for row in truth.rows():
            is_correct = row["prediction"] == row["label"]
            row = {name: row[name] for name in ("sample", "model", "confidence", "cost")}
            rows.append(row | {"Correct?": yes if is_correct else no})
        return csv_of(rows, names=HEADER)

    return make


def missing_rows(truth, rng, share):
    return csv_of(row for row in truth.rows() if row["model"] == "large" or rng.random() > 0.05)


def repeated_rows(truth, rng, share):
    rows = list(truth.rows())
    return csv_of(rows + rows[:50])


def other_rows_repeated(truth, rng, share):
    rows = list(truth.rows())
    return csv_of(rows + [row | {"confidence": "0.5"} for row in rows[:50]])


def wide(truth, rng, share):
    rows = {}
    for row in truth.rows():
        at = rows.setdefault(row["sample"], {"id": row["sample"], "gold": row["label"]})
        for name in ("prediction", "confidence", "cost"):
            at[f"{row['model']}_{name}"] = row[name] + ("." if name == "prediction" else "")
    return csv_of(rows.values())


def completion(row, text):
    token = {"token": text, "logprob": float(np.log(float(row["confidence"])))}
    choice = {"message": {"content": text}, "logprobs": {"content": [token]}}
    return {"model": row["model"], "choices": [choice]}


def completions(form, failed=0.0):
    """Return the maker of a batch output, in which a share of the large model's requests failed."""

    def make(truth, rng, share):
        lines = []
        for row in truth.rows():
            line = {"custom_id": row["sample"], "label": row["label"]}
            if row["model"] == "large" and rng.random() < failed:
                body = {"model": "large", "error": {"code": "rate_limit_exceeded"}}
                line["response"] = {"status_code": 429, "body": body}
            else:
                body = completion(row, form(row["prediction"]))
                line["response"] = {"status_code": 200, "body": body}
            lines.append(json.dumps(line))
        return "\n".join(lines).encode()

    return make


def flat_lines(truth, rng, share):
    rows = (
        row | {"confidence": float(row["confidence"]), "cost": float(row["cost"])}
        for row in truth.rows()
    )
    return "\n".join(map(json.dumps, rows)).encode()


LAST = "After some thought, the answer is {}.".format


def numbered(form):
    """Return a world whose labels are numbers of many values, written in a form."""

    def draw(rng):
        ease = rng.random(K)
        numbers = rng.integers(20, 99_999, K)

        def written(values):
            return np.array([form(number) for number in values.tolist()])

        def other():
            return written(numbers + rng.integers(1, 9, K))

        return of_difficulty(rng, ease, written(numbers), other)

    return draw


def lost(column, text, share=0.3):
    """Return the maker of a file in which a text replaces some of the large model's cells."""

    def make(truth, rng, _):
        return csv_of(changed(truth, rng, share, lambda row: {column: text}))

    return make


def unlabelled(text):
    """Return the maker of a file in which a text replaces the labels of some samples."""

    def make(truth, rng, share):
        gone = {sample for sample in truth.ids if rng.random() < 0.3}
        return csv_of(
            row | ({"label": text} if row["sample"] in gone else {}) for row in truth.rows()
        )

    return make


def difficult_missing(truth, rng, share):
    """The small model was not called for questions of which it would have been unsure."""
    unsure = np.array(truth.ids)[truth.confidence["small"] < 0.53]
    return csv_of(
        row for row in truth.rows() if row["model"] == "large" or row["sample"] not in unsure
    )


def empty_rows(truth, rng, share):
    return csv_of(truth.rows()) + b",,,,,\n" * 20


def json_array(truth, rng, share):
    return json.dumps(list(truth.rows())).encode()


def index_column(truth, rng, share):
    rows = enumerate(truth.rows())
    return csv_of({"": number} | row for number, row in rows)


def percent_of_large(truth, rng, share):
    return csv_of(
        changed(truth, rng, 1, lambda row: {"confidence": f"{100 * float(row['confidence']):.1f}"})
    )


def in_parentheses(truth, rng, share):
    rows = {}
    for row in truth.rows():
        at = rows.setdefault(row["sample"], {"Question ID": row["sample"], "Gold": row["label"]})
        for name, title in (("prediction", "Answer"), ("confidence", "Conf."), ("cost", "Price")):
            at[f"{title} ({row['model']})"] = row[name]
    return csv_of(rows.values())


# {name: maker of the file}. The comment above a group is what happens to its files.
FILES = {
    # They are read.
    "plain": each(lambda row: {}),
    "two prices": each(lambda row: {"seconds": row["confidence"]}),
    "an index column": index_column,
    "percent of one model": percent_of_large,
    # They are refused, and the printed lines of pandas repair them.
    "full stops, both models": spelled("{}.".format, tuple(PRICE)),
    "Markdown and a full stop": spelled("**{}.**\n".format),
    "first word": spelled("{}, since the text says so.".format),
    "explanation": spelled(LAST),
    "explanation of the small model": spelled(LAST, ("small",)),
    "labels in capitals": each(lambda row: {"label": row["label"].upper()}),
    "answers in other words": spelled("not {}".format),
    "thoughts": spelled("<think>yes or no</think>\n\n{}.".format),
    "thousands": each(lambda row: {"cost": f"{1e6 * float(row['cost']):,.1f}"}),
    "cents": each(lambda row: {"cost": f"{100 * float(row['cost']):.2f}¢"}),
    "repeated rows": repeated_rows,
    "empty rows": empty_rows,
    "thousands in answers": spelled(lambda text: f"{int(text):,}"),
    "boxed numbers": spelled("So it is $\\boxed{{{}}}$.".format),
    "numbers with a full stop": spelled("{}.".format),
    "floats": spelled("{}.0".format),
    "euros": spelled("{} €".format),
    "a sentence": spelled("It is {}.".format),
    "bold numbers": spelled("**{}**".format),
    "a leading zero": spelled("0{}".format),
    # They are refused.
    "labels with a full stop": each(lambda row: {"label": row["label"] + "."}),
    "an English spreadsheet": each(english, names=HEADER),
    "a German spreadsheet": each(german, separator=";", names=GERMAN, encoding="cp1252"),
    "a French spreadsheet": each(french, separator=";", names=FRENCH, encoding="utf-8-sig"),
    "yes and no": judged("yes", "no"),
    "pass and fail": judged("pass", "fail"),
    "check marks": judged("✓", "✗"),
    "two readings": each(lambda row: {"cost": "1,234"}),
    "missing rows": missing_rows,
    "difficult rows missing": difficult_missing,
    "other rows repeated": other_rows_repeated,
    "wide": wide,
    "models in parentheses": in_parentheses,
    "tabs": each(lambda row: {}, separator="\t", encoding="utf-16"),
    "completions": completions("{}.".format),
    "completions, 1% failed": completions("**{}**".format, 0.01),
    "explained completions": completions(LAST),
    "flat lines": flat_lines,
    "a JSON array": json_array,
    "prose": spelled(lambda text: "It is hard to say."),
    "XML tags": spelled("<answer>{}</answer>".format),
    "JSON answers": spelled('{{"answer": "{}", "why": "so"}}'.format),
    "a label of None": unlabelled("None"),
    "answers of nan": lost("prediction", "nan"),
}
FIRST_REPAIRED = "full stops, both models"
FIRST_REFUSED = "labels with a full stop"
NUMBERED = "thousands in answers", "a leading zero"  # the first and last file of free text
SUFFIXES = {
    "tabs": ".tsv",
    "flat lines": ".jsonl",
    "completions": ".jsonl",
    "completions, 1% failed": ".jsonl",
    "explained completions": ".jsonl",
    "a JSON array": ".json",
}


def world_of(name):
    """Return the function that draws the truth of a file."""
    names = list(FILES)
    first, last = map(names.index, NUMBERED)
    if first <= names.index(name) <= last:
        return numbered(str)
    return numbered("city {}".format) if name == "answers of nan" else planted


def outcome_of(name):
    """Return what happens to a file: "read", "repaired" or "refused"."""
    place = list(FILES).index(name)
    bounds = [list(FILES).index(first) for first in (FIRST_REPAIRED, FIRST_REFUSED)]
    return ("read", "repaired", "refused")[sum(place >= bound for bound in bounds)]
