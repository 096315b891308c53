"""Names are text in a figure, whatever plotly would read in them."""

import numpy as np
import pandas as pd

from cascadelib.figures import members_figure
from cascadelib.figures.style import cost_axis, figure, plain


def test_plain_is_text_for_plotly():
    assert plain('<b>a & b</b> "c" $x$\nd') == '&lt;b&gt;a &amp; b&lt;/b&gt; "c" &#36;x&#36;<br>d'
    assert plain(("<a>", None)) == plain(np.array(["<a>", None])) == ["&lt;a&gt;", None]
    numbers = np.arange(3.0)
    assert plain(numbers) is numbers and plain(None) is None


def test_traces_and_titles_are_plain_and_numbers_stay():
    fig = figure("a <b> & c\nsmall")
    fig.add_bar(x=np.arange(2.0), y=["<i>", "y"], name="<n>", text=["a\nb", "<t>"])
    bar = fig.data[0]
    assert (bar.y, bar.name, bar.text) == (("&lt;i&gt;", "y"), "&lt;n&gt;", ("a<br>b", "&lt;t&gt;"))
    assert bar.x.dtype == float and fig.layout.title.text == "a &lt;b&gt; &amp; c<br><sup>small</sup>"


def test_categories_stand_in_the_order_given():
    members = pd.DataFrame({"model": ["<b>", "a"], "stage": 1, "accuracy": [0.1, 0.2]})
    fig = members_figure(members, ["<b>", "a", "unused"])
    assert fig.layout.yaxis.categoryarray == ("&lt;b&gt;", "a") and set(fig.data[0].y) == {"&lt;b&gt;", "a"}


def test_a_cost_axis_has_units_and_labels_enough():
    """Any two kinds set the same keys: a live axis keeps what it is not told."""
    macs, seconds, other = (cost_axis(kind) for kind in ("macs", "seconds", "joules"))
    assert (seconds["tickformat"], seconds["ticksuffix"]) == ("~s", "s") and not macs["ticksuffix"]
    assert macs.keys() == seconds.keys() == other.keys() and not other["tickformat"]
    assert cost_axis("macs", [1e6, 2.9e8])["dtick"] is None  # plotly's own: 1, 2, 5, or linear within a decade
    assert cost_axis("macs", [1e6, 3.1e8])["dtick"] == macs["dtick"] == 1
