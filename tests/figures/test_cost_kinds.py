"""One object adds a kind of cost to searches, figures and the explorer."""

from tiny_stores import noisy_store

import cascadelib as cl
from cascadelib.explorer.page import describe_cascade
from cascadelib.figures.cost_kinds import COSTS, Cost, times_less


def test_one_object_adds_a_cost(monkeypatch):
    monkeypatch.setitem(COSTS, "joules", Cost("J", "joules a sample", "less energy", "more energy"))
    store = noisy_store(k=240, joules={f"m{i}": 3.0 ** (3 - i) for i in range(4)})
    front = cl.search(store, 2, cost="joules")
    assert front.cost_kind == "joules"
    assert front.singles.index[0] == "m3"
    figure = cl.figures.front_figure({"pairs": front.table}, front.singles, "joules")
    assert figure.layout.xaxis.title.text == "joules a sample"
    explorer = cl.explore(store, front=front)
    assert explorer.splits.costs == ["joules", "macs"]
    saving = explorer.runs["validation"].saving
    assert times_less(saving, "joules").endswith("less energy" if saving >= 1 else "more energy")
    assert f"for {times_less(saving, 'joules')}." in describe_cascade(explorer.runs)
