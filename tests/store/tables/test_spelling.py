"""Predictions that equal their label only after normalizing are found, and never in sound data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cascadelib as cl
from cascadelib.labels import normalize_text
from cascadelib.store.tables.spelling import find_near_misses, normalize_texts

K = 400
RNG = np.random.default_rng(0)
IDS = [f"q{row:03}" for row in range(K)]
LABELS = RNG.choice(["yes", "no", "3"], K)
WRONG = RNG.random((2, K)) < [[0.25], [0.1]]
PREDICTIONS = np.where(WRONG, "maybe", LABELS)
CONFIDENCE = RNG.random((2, K)) + ~WRONG
NAMES = ("small", "large")
RESPELLINGS = {
    "trailing space": lambda text: text + " ",
    "upper case": lambda text: text.upper() if text != "3" else "3.0",
    "no-break space": lambda text: f"\u00a0{text}",
    "zero-width space": lambda text: f"{text}\u200b",
    "full-width letters": lambda text: "".join(chr(ord(sign) + 0xFEE0) for sign in text),
    "decimals": lambda text: "3.0" if text == "3" else f"{text}\t",
}


def frame(predictions=PREDICTIONS, labels=LABELS):
    """A long table of the two models."""
    parts = [
        pd.DataFrame(
            {
                "sample": IDS,
                "model": name,
                "prediction": predictions[row],
                "confidence": CONFIDENCE[row],
                "cost": [1.0, 9.0][row],
                "label": labels,
            }
        )
        for row, name in enumerate(NAMES)
    ]
    return pd.concat(parts)


def table(predictions=PREDICTIONS, labels=LABELS, **options):
    return cl.ScoreTable(None, CONFIDENCE, [1, 9], NAMES, IDS, predictions, labels, **options)


def respelled(kind, share):
    """Predictions of which a share of those of the large model are written in another way."""
    said = PREDICTIONS.astype("U20")
    rows = np.flatnonzero(~WRONG[1])[: max(1, round(share * K))]
    said[1, rows] = [RESPELLINGS[kind](text) for text in said[1, rows].tolist()]
    return said


def certified_with_labels(said):
    point = cl.Point(NAMES, (1.5,), (0.5, 0.5), 0.5, 5.0, 1.0, cost_kind="cost")
    labels = dict(zip(IDS, LABELS.tolist()))
    options = {"labels": labels, "accept": ("confidences",)}  # they are made of the labels here
    return cl.certify(table(said, None), [point], 0.2, reference="large", **options)


CALLS = {
    "from_frame": lambda said: cl.ScoreTable.from_frame(
        frame(said), label="label", prediction="prediction"
    ),
    "constructor": table,
    "labelled": lambda said: table(said, None).labelled(LABELS),
    "certify(labels=)": certified_with_labels,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", RESPELLINGS)
@pytest.mark.parametrize("share", [0.01, 0.05, 0.15, 1])
def test_respelled_predictions_are_an_error_by_every_call(call, kind, share):
    said = respelled(kind, share)
    if call == "certify(labels=)":  # of one model to the other first
        with pytest.raises(ValueError, match="predictions of 'large': .*'small' that differ from"):
            CALLS[call](said)
        return
    with pytest.raises(ValueError, match="'large' that differ from their label only in") as error:
        CALLS[call](said)
    first = int(np.flatnonzero((said != PREDICTIONS)[1])[0])
    assert f"{str(said[1, first])!r} for {str(LABELS[first])!r} at sample '{IDS[first]}'" in str(
        error.value
    )
    assert "'small'" not in str(error.value) and 'normalize="text"' in str(error.value)


@pytest.mark.parametrize("call", CALLS)
def test_sound_predictions_are_read(call):
    CALLS[call](PREDICTIONS)


@pytest.mark.parametrize("kind", RESPELLINGS)
def test_normalized_tables_have_the_accuracies_of_sound_ones(kind):
    sound = table()
    for share in (0.01, 1):
        said = respelled(kind, share)
        others = [
            table(said, normalize="text"),
            table(said, None, normalize="text").labelled(np.char.upper(LABELS)),
            cl.ScoreTable.from_frame(
                frame(said), label="label", prediction="prediction", normalize="text"
            ),
        ]
        for other in others:
            np.testing.assert_array_equal(other.correct, sound.correct)
            assert other.normalize == other.take([0, 2]).normalize == "text"


def test_exact_comparison_counts_near_misses_as_wrong():
    said = respelled("upper case", 0.15)
    exact = table(said, normalize="exact")
    assert exact.correct[1].sum() == np.count_nonzero(said[1] == LABELS)
    assert exact.normalize == exact.select("large").normalize == "exact"
    assert exact.labelled(LABELS).normalize == "exact"
    assert table().normalize is None


def test_classes_that_differ_in_case_need_exact():
    labels = np.array(["a", "A", "b", "a"])
    said = np.array([["a", "A", "b", "a"], ["A", "A", "b", "a"]])
    arguments = (None, np.ones((2, 4)), [1, 2], NAMES, None, said, labels)
    assert cl.ScoreTable(*arguments, normalize="exact").correct[1].tolist() == [0, 1, 1, 1]


def test_models_that_spell_differently_are_not_compared():
    """Without labels, where models differ decides whose labels are bought."""
    point = cl.Point(NAMES, (1.5,), (0.5, 0.5), 0.5, 5.0, 1.0, cost_kind="cost")
    said = respelled("upper case", 1)
    with pytest.raises(ValueError, match="'small' that differ"):
        cl.to_label(table(said, None), [point], "large")
    text = table(said, None, normalize="text")
    expected = cl.to_label(table(PREDICTIONS, None), [point], "large").tolist()
    assert cl.to_label(text, [point], "large").tolist() == expected


def test_integer_labels_and_free_text_are_sound():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 10, 200)
    said = np.where(rng.random((2, 200)) < 0.8, labels, rng.integers(0, 10, (2, 200)))
    numbers = cl.ScoreTable(None, np.ones((2, 200)), [1, 2], predictions=said, labels=labels)
    np.testing.assert_array_equal(numbers.correct, said == labels)
    truth = [f"the answer {row}" for row in range(200)]
    free = [f"the answer {row + row % 2}" for row in range(200)]
    assert cl.ScoreTable(
        None, np.ones((1, 200)), [1], predictions=[free], labels=truth
    ).correct.mean() == pytest.approx(0.5)


def naive_near_misses(labels, predictions):
    return [
        [
            said not in ("", label) and normalize_text(said) == normalize_text(label)
            for said, label in pairs
        ]
        for pairs in (zip(row, labels) for row in predictions)
    ]


TEXTS = st.sampled_from(["a", "A", " a", "ａ", "1", "1.0", "01", "+1", "1.5", "", "b", "ﬁ", "fi"])


@given(st.lists(st.tuples(TEXTS.filter(bool), TEXTS, TEXTS), min_size=1, max_size=12))
def test_near_misses_are_those_of_a_comparison_cell_by_cell(rows):
    labels, *said = np.array(rows).T
    texts = np.unique(rows).tolist()
    found = find_near_misses(labels, np.array(said), texts)
    assert found.tolist() == naive_near_misses(labels.tolist(), np.array(said).tolist())


@given(st.text(max_size=8))
def test_normalizing_twice_is_normalizing_once(text):
    form = normalize_text(text)
    assert normalize_text(form) == form == normalize_text(f" {text}\u3000") == normalize_text(
        text.upper().lower().upper()
    ) or (text.upper().lower().upper().casefold() != text.casefold())
    if "\0" not in text:
        assert normalize_texts(np.array([[text], [form]])).tolist() == [[form]] * 2


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("3.0", "3"),
        ("03", "3"),
        ("３", "3"),
        ("-0", "0"),
        ("3.5", "3.5"),
        ("1e5", "1e5"),
        ("1,000", "1,000"),
        (" New\u00a0 York\r\n", "new york"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("é", "é"),
        ("\ufeffyes", "yes"),
    ],
)
def test_spellings_of_one_text_have_one_form(text, form):
    assert normalize_text(text) == form
