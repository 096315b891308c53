"""States: the text after # in the page's address."""

import re

import pytest
from explorer_stores import STORE

import cascadelib as cl
from cascadelib.explorer.splits import format_goal, parse_goal


@pytest.mark.parametrize(
    "goal", [{"goal": "near_best"}, {"goal": "match_best"}, {"budget": 2e6}, {"accuracy": 0.942}]
)
def test_a_goal_is_parsed_from_its_text(goal):
    assert parse_goal(format_goal(goal)) == goal


def test_invalid_states_are_refused_with_the_wrong_part(explorer):
    good = explorer.state
    cl.explore(STORE, state=f" #{good}\n")
    for text, message in {
        7: "text of another explorer",
        "a" * 30_000: "bad query field",
        "models=m1": "unknown method ''",
        "<script>alert(1)</script>": "bad query field",
        f"{good}&images=x": "unknown part 'images'",
        f"{good}&method=entropy": "unknown method 'max_softmax entropy'",
        f"{good}&models=m9": "unknown model 'm9'",
        f"{good}&models=m4": "is not a cascade",
        good.replace(
            "thresholds=", "thresholds=1&thresholds="
        ): "with 2 thresholds is not a cascade",
        good.replace("method=max_softmax", "method=%3Cb%3E"): "unknown method '<b>'",
        good.replace("method=max_softmax", "method=%ff"): "utf-8",
        good.replace("macs", "joules"): "unknown cost 'joules'",
        good.replace("top1", "f1"): "unknown score 'f1'",
        good.replace("near_best", "x"): "unknown goal 'x'",
        "&".join(f"a{i}=1" for i in range(200)): "fields",
        **{re.sub("thresholds=[^&]+", f"thresholds={t}", good): t for t in ("nan", "inf", "x")},
    }.items():
        with pytest.raises(ValueError, match=f"^state: .*{re.escape(message)}"):
            cl.explore(STORE, state=text)
