"""Readable tables and figures: what is shown is what was measured."""

import numpy as np
import pandas as pd
import pytest

from cascadelib import LogitStore, figures, pair_table, readable, search
from cascadelib.figures.style import decimated
from cascadelib.fronts.pairs import pair_curve
from cascadelib.store.pairing import agreement
from cascadelib.tables import digits, fraction, number


@pytest.fixture(scope="module")
def store():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, 400)
    ease = rng.normal(size=(400, 1))
    logits = {f"m{i}": (1 + i) * np.eye(5)[labels] * (1 + ease) + rng.normal(size=(400, 5)) for i in range(4)}
    return LogitStore.from_arrays(labels, logits, macs={f"m{i}": 10.0 ** (i + 1) for i in range(4)})


def test_numbers_have_four_significant_digits():
    assert [number(v) for v in (14.391e9, 735.21e6, 1234.5, 0.71123, 2.6e-5, np.nan)] == [
        "14.39G", "735.2M", "1.234k", "0.7112", "2.6e-05", "–",
    ]  # fmt: skip
    assert digits((0.45512, np.inf)) == "0.4551, inf"
    assert fraction(0.87321) == "87.32%"


def test_readable_formats_columns_by_name_and_keeps_the_ends(store):
    front = search(store, 2)
    shown = readable(front.table, 5)
    assert len(shown) == 5
    assert shown.index[0] == 0
    assert shown.index[-1] == len(front) - 1
    assert shown["models"].iloc[0] == " → ".join(front.table["models"].iloc[0])
    assert shown["accuracy"].iloc[0] == f"{front.table['accuracy'].iloc[0]:.2%}"
    assert "largest improvement" in front._repr_html_()


def test_front_figure_draws_the_points_of_the_table(store):
    front = search(store, 2)
    fig = figures.front_figure({"pairs": front.table}, front.singles)
    trace = next(t for t in fig.data if t.name == "pairs")
    np.testing.assert_array_equal(trace.x, front.table["cost"])
    np.testing.assert_array_equal(trace.y, front.table["accuracy"])
    assert fig.layout.xaxis.type == "log"


def test_large_tables_are_decimated_with_their_ends():
    table = pd.DataFrame({"x": range(100_000)})
    shown = decimated(table, 100)
    assert len(shown) == 100
    assert shown["x"].iloc[[0, -1]].tolist() == [0, 99_999]


def test_every_figure_takes_plain_tables(store):
    front = search(store, 2)
    curves = {"a": front.improvement_curve(points=11)}
    made = [
        figures.singles_figure(front.singles),
        figures.singles_figure(front.singles, pd.Series("family", index=store.models.index)),
        figures.improvement_figure(curves, references=["a"]),
        figures.members_figure(front.members(), list(store.models.index)),
        figures.shares_figure(front.shares()),
        figures.exit_rate_figure({"m0 → m3": pair_curve(store, "m0", "m3")}),
        figures.pairs_figure(pair_table(store, models="all")),
    ]
    assert all(fig.data and fig.layout.title.text for fig in made)
    assert all(len(fig.to_json()) < 200_000 for fig in made)


def test_members_and_shares_leave_out_models_that_no_sample_reaches(store):
    front = search(store, 2)
    first = front.members().query("accuracy == accuracy.min()")
    assert first["model"].tolist() == [front.table["models"].iloc[0][0]]
    shares = front.shares()
    assert (shares > 0).all()
    assert (shares <= 1 + 1e-12).all()


def test_agreement_finds_a_changed_logit_and_refuses_other_samples(store):
    changed = {n: np.array(store.logits(n)) for n in store.models.index}
    changed["m1"][3] = changed["m1"][3][::-1] + 1
    other = LogitStore.from_arrays(store.labels, changed, macs=store.models["macs"].to_dict())
    table = agreement(other, store)
    assert table.loc["m0", "largest_gap"] == 0
    assert table.loc["m1", "largest_gap"] >= 1
    with pytest.raises(ValueError, match="other samples"):
        agreement(store.take(slice(0, 10)), store)
