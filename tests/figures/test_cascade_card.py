"""The card of a policy states its figures and its guarantee, and is safe to open and to send."""

import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest
from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib.figures import card

HOSTILE = "<script>alert(1)</script>\"'&{0}%s\u2028\ud800"


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.tags = []
        self.attributes = []
        self.texts = []
        self.feed(path.read_text(encoding="utf-8"))
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def case():
    """A certified policy of a table with answers, its front, and the held-out half."""
    answers = cl.datasets.llm_answers()
    table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    tuning, held_out = (table.take(slice(start, None, 2)) for start in range(2))
    front = cl.search(tuning)
    certificate = cl.certify(held_out, front, epsilon=0.02)
    return cl.Policy.from_point(certificate.point, tuning, held_out), certificate, front, held_out


def test_the_card_states_the_certificate_its_premises_and_the_saving(case, tmp_path):
    policy, certificate, front, held_out = case
    path = tmp_path / "card.html"
    assert card(policy, path, front, held_out, per_month=40_000) == path
    text = Page(path).text
    sentence = str(certificate).split(". ")[0]
    assert sentence in text and certificate.promise in text
    for premise in certificate.checked:
        assert premise.name in text and premise.evidence in text
    run = cl.evaluate(held_out, policy)
    assert f"{run.saving:.4g} ×" in text and f"{run.accuracy:.2%}" in text
    assert "cost of a month" in text and "40,000 queries a month" in text
    assert "A single answer." in text and "Queries from another source" in text
    assert f"{len(held_out):,} of which chose or certified it" in text


def test_the_guarantee_is_that_of_the_file(case, tmp_path):
    policy, certificate, *_ = case
    policy.save(tmp_path / "policy.json")
    loaded = cl.Policy.load(tmp_path / "policy.json")
    assert loaded.point.guarantee == str(certificate).split(". ")[0] + "."
    card(loaded, tmp_path / "card.html")
    assert loaded.point.guarantee in Page(tmp_path / "card.html").text


def test_other_thresholds_have_no_guarantee(case, tmp_path):
    policy, *_ = case
    other = replace(policy, thresholds=[policy.thresholds[0] + 0.01])
    text = Page(card(other, tmp_path / "card.html")).text
    assert "This policy has no guarantee" in text
    assert policy.point.guarantee not in text and "What the guarantee assumes" not in text


def test_the_chart_has_the_policy_and_the_most_accurate_model(case, tmp_path):
    policy, _, front, held_out = case
    page = Page(card(policy, tmp_path / "card.html", front, held_out))
    assert front.reference.models[0] in {text.strip() for text in page.texts}
    assert "The policy as chosen." in page.text
    assert "The policy as measured on the table." in page.text
    without = Page(card(policy, tmp_path / "card.html"))
    assert "svg" not in without.tags and "Queries that are deferred" not in without.text


def test_examples_are_deferred_samples_of_the_table(case, tmp_path):
    policy, _, _, held_out = case
    card(policy, tmp_path / "card.html", table=held_out)
    page = (tmp_path / "card.html").read_text(encoding="utf-8")
    ids = re.findall("<tr><td>(.*?)</td>", page.split("Queries that are deferred")[1])
    deferred = cl.evaluate(held_out, policy).exit_stage > 0
    assert len(ids) == 6 and set(ids) <= set(map(escape, held_out.origin.sample_ids[deferred]))


def test_hostile_text_is_shown_and_never_run(tmp_path):
    rng = np.random.default_rng(0)
    names = ["a" + HOSTILE, "b" * 100_000]
    text = np.full((2, 50), HOSTILE, object)
    table = cl.ScoreTable(
        rng.random((2, 50)) < 0.8,
        rng.random((2, 50)),
        [1, 9],
        names,
        [f"{row}{HOSTILE}" for row in range(50)],
        predictions=text,
    )
    premises = [{"name": HOSTILE, "status": HOSTILE, "evidence": HOSTILE * 1000}]
    point = cl.search(table).point(-1)
    point = replace(point, premises=premises, guarantee=HOSTILE * 1000, score=point.score)
    path = card(point, tmp_path / "card.html", cl.search(table), table)
    page = Page(path)
    assert "script" not in page.tags and "alert(1)" in page.text
    assert path.stat().st_size < 300_000


def test_a_card_loads_nothing(case, tmp_path):
    policy, _, front, held_out = case
    path = card(policy, tmp_path / "card.html", front, held_out)
    page = Page(path)
    assert path.stat().st_size < 300_000
    loading = {"src", "href", "action", "srcset", "data", "poster"}
    assert loading.isdisjoint(dict(page.attributes)) and "link" not in page.tags
    text = path.read_text(encoding="utf-8")
    assert "://" not in text and "url(" not in text and "@import" not in text


@pytest.mark.parametrize("thresholds", [(), (0.5,), (np.inf,), (-np.inf,), (0.5, 0.7)])
@pytest.mark.parametrize("method", [None, cl.Method("entropy")])
def test_a_policy_without_figures_has_a_card(thresholds, method, tmp_path):
    point = cl.Point(tuple("abc"[: len(thresholds) + 1]), thresholds, method=method)
    text = Page(card(cl.Policy(point), tmp_path / "card.html")).text
    assert (
        "nan" not in text and "a receives each query first" in text or len(point.active_models) == 1
    )


def test_a_cascade_of_logits_has_a_card_with_its_costs_in_macs(tmp_path):
    store, other = map(noisy_store, range(2))
    front = cl.search(store, 2, "entropy")
    point = cl.pick(front, "match_best", caution=0)
    text = Page(card(point, tmp_path / "card.html", front, other, per_month=1e6)).text
    assert "if its entropy is above" in text and "MACs per sample" in text


def test_a_front_with_another_cost_and_no_queries_are_refused(tmp_path):
    store = noisy_store(0)
    front = cl.search(store, 2)
    point = replace(cl.pick(front, "match_best", caution=0), cost_kind="seconds")
    for options, message in (
        ({"front": front}, "differ in score or kind of cost"),
        ({"per_month": 0}, "per_month must be a number of queries, 1 or more, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            card(point, tmp_path / "card.html", **options)
    assert not (tmp_path / "card.html").exists()
