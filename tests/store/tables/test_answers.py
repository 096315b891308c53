"""Answers are read as labels by stated steps, and those that no step reads are unreadable."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.labels import fold, strip_marks
from cascadelib.store.tables.answers import find_option, plain_number, refuse_unreadable

K = 400
RNG = np.random.default_rng(0)
IDS = [f"q{row:03}" for row in range(K)]
LABELS = RNG.choice(["yes", "no", "3"], K)
OTHER = {"yes": "no", "no": "3", "3": "yes"}
WRONG = RNG.random((2, K)) < [[0.25], [0.1]]
PREDICTIONS = np.where(WRONG, [OTHER[label] for label in LABELS], LABELS)
CONFIDENCE = RNG.random((2, K)) + ~WRONG
NAMES = ("small", "large")
RESPELLINGS = {
    "full stop": lambda text: text + ".",
    "quotes and a full stop": lambda text: f"“{text}.”",
    "Markdown": lambda text: f"**{text}**\n",
    "upper case": lambda text: text.upper() if text != "3" else "3.0",
    "no-break space": lambda text: f"\u00a0{text}",
    "zero-width space": lambda text: f"{text}\u200b",
    "full-width letters": lambda text: "".join(chr(ord(sign) + 0xFEE0) for sign in text),
}


def table(predictions=PREDICTIONS, labels=LABELS, **options):
    return cl.ScoreTable(None, CONFIDENCE, [1, 9], NAMES, IDS, predictions, labels, **options)


def of_one_model(said, labels, **options):
    """Return the table of one model without ids."""
    confidence = np.ones((1, len(said)))
    return cl.ScoreTable(None, confidence, [1], predictions=[said], labels=labels, **options)


def respelled(spell, share):
    """Predictions of which a share of those of the large model are written in another way."""
    said = PREDICTIONS.astype("U40")
    rows = RNG.permutation(K)[: round(share * K)]
    said[1, rows] = [spell(text) for text in said[1, rows].tolist()]
    return said


@pytest.mark.parametrize("kind", RESPELLINGS)
def test_spellings_do_not_change_a_table(kind):
    said = respelled(RESPELLINGS[kind], 0.3)
    sound = table()
    read = table(said)
    frame = sound.to_frame().assign(prediction=said.ravel())
    for other in (
        read,
        table(said, None).labelled(np.char.upper(LABELS)),
        cl.ScoreTable.from_frame(frame, label="label", prediction="prediction"),
    ):
        np.testing.assert_array_equal(other.correct, sound.correct)
        assert not other.unreadable.any() and other.answered.all()
    np.testing.assert_array_equal(read.predictions, PREDICTIONS)
    assert read.spellings["count"].sum() == np.count_nonzero(said != PREDICTIONS)
    assert set(read.spellings["models"]) == {("large",)}


def read_slowly(text, labels):
    """Return the label of a text, or None, by comparing it with each label at each step."""
    for step in (str, strip_marks, fold):
        found = [label for label in labels if step(label) == step(text) != ""]
        if len(found) == 1:
            return found[0]
    return None


SIGNS = st.sampled_from(
    ["C", "c", "C++", "us", "US", "Us.", "no", " No!", "**no**", "”no”", "ｎｏ", ""]
)


@given(st.sets(SIGNS.filter(bool), min_size=2, max_size=5), st.lists(SIGNS, min_size=1, max_size=9))
def test_reading_is_that_of_a_comparison_with_each_label(labels, texts):
    labels = sorted(labels)
    k = 5 * len(labels)
    said = [*texts, *[""] * k][: k - 1] + labels[-1:]
    read = of_one_model(said, (labels * 5)[:k])
    for text, label, found, is_unreadable in zip(
        said, read.labels.tolist(), read.predictions[0].tolist(), read.unreadable[0].tolist()
    ):
        expected = read_slowly(text, labels) if text else ""
        assert found == (text if expected is None else expected)
        is_doubtful = found not in ("", label) and fold(found) == fold(label)
        assert is_unreadable == (expected is None or (expected != "" and is_doubtful))


PROSE = "It is hard to say"
FIRST_WORDS = {
    "A close look shows C.": None,
    "A look at the text": None,
    "A is correct": "A",
    "B. It is a fish": "B",
    "b, not C": None,
    "C, so C": "C",
    "Boston": None,
    "B, or New York": None,
    " ": None,
}


@pytest.mark.parametrize("text", FIRST_WORDS)
def test_a_first_word_is_no_answer_if_it_is_an_article_or_another_label_follows(text):
    labels = ["A", "B", "C", "New York"] * 5
    read = of_one_model([*labels[:-1], text], labels, answer="first word")
    expected = FIRST_WORDS[text]
    assert read.unreadable.sum() == (expected is None)
    assert read.predictions[0, -1] == (expected or text)


@pytest.mark.parametrize(
    ("answer", "spell"),
    [
        ("first word", lambda text: f"{text}, because of that"),
        (r"(?i)answer is (\w+)", lambda text: f"The answer is {text}."),
        (lambda text: text.split("####")[-1], lambda text: f"I think #### {text}"),
    ],
)
def test_an_option_reads_further_answers(answer, spell):
    said = respelled(spell, 0.5)
    assert table(said).unreadable[1].mean() == 0.5
    read = table(said, answer=answer)
    np.testing.assert_array_equal(read.correct, table().correct)
    assert not read.unreadable.any() and set(read.spellings["step"]) == {"by answer="}


def test_unreadable_answers_are_neither_correct_nor_wrong():
    read = table(respelled(lambda text: PROSE, 0.5))
    assert read.unreadable.sum(axis=1).tolist() == [0, K // 2]
    assert not read.answered[read.unreadable].any()
    readable = ~read.unreadable[1]
    assert read.models.loc["large", "top1"] == pytest.approx(1 - WRONG[1, readable].mean())
    assert repr(read).endswith("; answers of model 'large': 50.00% unreadable>")
    accepted = table(read.predictions, missing="wrong")
    assert accepted.answered.all() and accepted.models.loc["large", "top1"] < 0.5
    assert "50.00% unreadable; missing='wrong' counts all of them as wrong" in repr(accepted)


def test_more_than_one_percent_unreadable_answers_are_refused_by_name():
    read = table(respelled(lambda text: PROSE, 0.0125))
    with pytest.raises(
        ValueError, match=r"'large' that are unreadable \(1.2%\), such as 'It is ha"
    ):
        refuse_unreadable(read, NAMES)
    refuse_unreadable(read, ["small"])
    refuse_unreadable(table(respelled(lambda text: PROSE, 0.01)), NAMES)
    refuse_unreadable(table(read.predictions, missing="wrong"), NAMES)
    with pytest.raises(ValueError, match="answer='first word' reads all of them"):
        refuse_unreadable(table(respelled(lambda text: f"{text} I think", 0.1)), NAMES)


@pytest.mark.parametrize(
    ("texts", "option"),
    [
        (["Yes, of course", "no - never"], "first word"),
        (["The answer is yes", "Answer: no"], r"(?i)answer(?: is)?\W*(\w+)"),
        (["No wonder, the answer is yes"], None),
        (["It is not yes"], None),
        (["Perhaps"], None),
    ],
)
def test_an_option_is_named_if_it_reads_the_only_label_in_each_text(texts, option):
    assert find_option(texts, ("no", "yes")) == option


def test_without_labels_the_most_expensive_model_gives_the_label_set():
    said = respelled(RESPELLINGS["full stop"], 0.3)
    said[0, :9] = PROSE
    read = table(said, None)
    np.testing.assert_array_equal(read.predictions[1], PREDICTIONS[1])
    assert read.unreadable.sum(axis=1).tolist() == [9, 0]


def test_free_text_is_unreadable_only_if_it_contains_its_label():
    labels = [f"the answer {row}" for row in range(60)]
    said = [*labels[:30], *(f"I say: {label}!" for label in labels[30:40]), *["other"] * 20]
    said[:10] = [f"THE answer {row}." for row in range(10)]
    read = of_one_model(said, labels)
    assert np.flatnonzero(read.correct[0]).tolist() == list(range(30))
    assert np.flatnonzero(read.unreadable[0]).tolist() == list(range(30, 40))


PLAIN = {
    "1,024": "1024",
    "1.234,5": "1234.5",
    "(5)": "5",
    "-0.0": "0",
    "€ 1 024": "1024",
    "$7": "7",
    "So it is $\\boxed{7.50}$.": "7.5",
    "<think>1 or 2</think> **−3**": "-3",
    "12%": "",
    "1e5": "",
    "1,2,3": "",
    "5 apples": "",
    "1" * 28: "",
}


@pytest.mark.parametrize("text", PLAIN)
def test_a_number_has_one_plain_form(text):
    assert plain_number(text) == PLAIN[text]


@pytest.mark.parametrize(
    ("text", "label", "is_unreadable"),
    [
        ("1,024 apples", "1024", True),
        ("1,024", "1.024", True),  # a German reading
        ("72%", "0.72", True),
        ("nan", "7", True),
        ("N/A", "7", True),
        ("-5", "5", False),
        ("15", "5", False),
    ],
)
def test_a_number_that_may_be_its_label_is_neither_correct_nor_wrong(text, label, is_unreadable):
    labels = [*(str(row) for row in range(10, 40)), label]
    said = [*labels[:-1], text]
    read = of_one_model(said, labels)
    assert not read.correct[0, -1] and read.correct[0, :-1].all()
    assert read.unreadable[0, -1] == is_unreadable


def test_a_label_that_is_a_word_for_an_empty_cell_is_refused_unless_a_model_predicts_it():
    labels = np.where(np.arange(K) < 40, "None", LABELS)
    with pytest.raises(
        ValueError, match="'None', a word for an empty cell, .*: 40. Leave cells em"
    ):
        table(labels=labels)
    assert table(labels=labels, answer="exact").correct.any()
    said = np.where(np.arange(K) < 20, "none", PREDICTIONS)
    assert table(said, labels).correct[:, :20].all()


def test_whole_numbers_are_answers_if_all_labels_are():
    labels = np.array(["1", "2"] * 20)
    said = np.where(np.arange(40) < 5, "7", np.char.add(labels, ".0"))
    said[[0, 1]] = "0.5"
    read = of_one_model(said, labels)
    assert np.flatnonzero(read.unreadable[0]).tolist() == [0, 1] and read.correct.sum() == 35


@given(st.text(max_size=8))
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text) == fold(f" {text}\u3000")


FOLDED = {
    "3.0": "3",
    "03.": "3",
    "-0": "0",
    "3.5": "3.5",
    "1e5": "1e5",
    "1,000": "1,000",
    " New\u00a0 York\r\n": "new york",
    "Straße": "strasse",
    "\ufeffyes": "yes",
}


@pytest.mark.parametrize("text", FOLDED)
def test_spellings_of_one_text_have_one_form(text):
    assert fold(text) == FOLDED[text]
