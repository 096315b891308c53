"""States: what stands after # in the page's address."""

import re

import pytest
from explorer_stores import STORE

import cascadelib as cl
from cascadelib.explorer.splits import goal_in, goal_text


@pytest.mark.parametrize(
    "goal", [{"goal": "near_best"}, {"goal": "match_best"}, {"budget": 2e6}, {"accuracy": 0.942}]
)
def test_a_goal_is_text_and_back(goal):
    assert goal_in(goal_text(goal)) == goal


def test_foreign_states_are_refused_by_name(explorer):
    good = explorer.state
    cl.explore(STORE, state=f" #{good}\n")
    for text, said in {
        7: "text of another explorer",
        "a" * 30_000: "bad query field",
        "models=m1": "unknown method ''",
        "<script>alert(1)</script>": "bad query field",
        f"{good}&images=x": "unknown part 'images'",
        f"{good}&method=entropy": "unknown method 'max_softmax entropy'",
        f"{good}&models=m9": "unknown model 'm9'",
        f"{good}&models=m4": "no cascade",
        good.replace("thresholds=", "thresholds=1&thresholds="): "with 2 thresholds is no cascade",
        good.replace("method=max_softmax", "method=%3Cb%3E"): "unknown method '<b>'",
        good.replace("method=max_softmax", "method=%ff"): "utf-8",
        good.replace("macs", "joules"): "unknown cost 'joules'",
        good.replace("top1", "f1"): "unknown score 'f1'",
        good.replace("near_best", "x"): "unknown goal 'x'",
        "&".join(f"a{i}=1" for i in range(200)): "fields",
        **{re.sub("thresholds=[^&]+", f"thresholds={t}", good): t for t in ("nan", "inf", "x")},
    }.items():
        with pytest.raises(ValueError, match=f"^state: .*{re.escape(said)}"):
            cl.explore(STORE, state=text)
