"""Names in figures are escaped, and colours and axes are readable."""

import numpy as np
import plotly.io as pio
import pytest
from plotly.subplots import make_subplots

from cascadelib.figures.style import (
    Figure,
    cost_axis,
    escape_text,
    figure,
)


def test_text_is_escaped_for_plotly():
    assert (
        escape_text('<b>a & b</b> "c" $x$\nd')
        == '&lt;b&gt;a &amp; b&lt;/b&gt; "c" &#36;x&#36;<br>d'
    )
    assert escape_text(("<a>", None)) == escape_text(np.array(["<a>", None])) == ["&lt;a&gt;", None]
    numbers = np.arange(3.0)
    assert escape_text(numbers) is numbers and escape_text(None) is None


def test_traces_and_titles_are_escaped():
    fig = figure("a <b> & c\nsmall")
    fig.add_bar(x=np.arange(2.0), y=["<i>", "y"], name="<n>", text=["a\nb", "<t>"])
    bar = fig.data[0]
    assert (bar.y, bar.name, bar.text) == (("&lt;i&gt;", "y"), "&lt;n&gt;", ("a<br>b", "&lt;t&gt;"))
    assert (
        bar.x.dtype == float and fig.layout.title.text == "a &lt;b&gt; &amp; c<br><sup>small</sup>"
    )


def test_a_cost_axis_has_units_and_enough_labels():
    """All kinds set the same keys, since a live axis keeps omitted ones."""
    macs, seconds, other = (cost_axis(kind) for kind in ("macs", "seconds", "joules"))
    assert (seconds["tickformat"], seconds["ticksuffix"]) == ("~s", "s") and not macs["ticksuffix"]
    assert macs.keys() == seconds.keys() == other.keys() and not other["tickformat"]
    assert (
        cost_axis("macs", [1e6, 2.9e8])["dtick"] is None
    )  # plotly's own: 1, 2, 5, or linear within a decade
    assert cost_axis("macs", [1e6, 3.1e8])["dtick"] == macs["dtick"] == 1


@pytest.mark.parametrize(("titles", "room"), [([], 10), (["left", "right"], 30)])
def test_titles_of_panels_have_room_below_the_title_in_text(titles, room, monkeypatch):
    panels = Figure(make_subplots(1, 2, subplot_titles=titles)).titled("a title")
    shown = []
    monkeypatch.setattr(pio, "show", lambda figure, renderer: shown.append(figure))
    monkeypatch.setattr(pio.renderers, "default", "png")
    panels._ipython_display_()
    assert shown[0].layout.margin.t == room and shown[0].layout.title.text is None
