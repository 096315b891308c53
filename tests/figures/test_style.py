"""Names in figures are escaped, and colours and axes are readable."""

import numpy as np
import plotly.io as pio
import pytest
from plotly.subplots import make_subplots
from skimage.color import deltaE_ciede2000, rgb2lab

from cascadelib.figures.style import (
    BLACK,
    GREY,
    LINE,
    PALETTE,
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


# Deuteranopia in linear RGB: Machado, Oliveira and Fernandes (2009), table 1.
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
LUMINANCE = [0.2126, 0.7152, 0.0722]


def linear(colours):
    """Linear RGB [n, 3] of colours such as "#0073B5"."""
    rgb = np.array([list(bytes.fromhex(colour[1:])) for colour in colours]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def least_difference(rgb):
    """Minimum CIEDE2000 between any two of linear colours [n, 3]."""
    rgb = np.clip(rgb, 0, 1)
    lab = rgb2lab(np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055))
    return deltaE_ciede2000(lab[:, None], lab[None])[np.triu_indices(len(lab), 1)].min()


def least_contrast(colours):
    """Minimum contrast ratio (WCAG 2) of colours to a white page."""
    return (1.05 / (linear(colours) @ LUMINANCE + 0.05)).min()


def test_colours_differ_for_deuteranopes_and_from_the_page():
    rgb = linear([*PALETTE, BLACK, GREY])
    assert least_difference(rgb) > 10 and least_difference(rgb @ np.transpose(DEUTERANOPIA)) > 9.9
    assert (
        least_difference(rgb[:5] @ np.transpose(DEUTERANOPIA)) > 12
    )  # few lines are more distinct
    assert least_contrast([*PALETTE, BLACK, GREY]) > 3
    assert least_contrast([BLACK, LINE]) > 7  # text


@pytest.mark.parametrize(("titles", "room"), [([], 10), (["left", "right"], 30)])
def test_titles_of_panels_have_room_below_the_title_in_text(titles, room, monkeypatch):
    panels = Figure(make_subplots(1, 2, subplot_titles=titles)).titled("a title")
    shown = []
    monkeypatch.setattr(pio, "show", lambda figure, renderer: shown.append(figure))
    monkeypatch.setattr(pio.renderers, "default", "png")
    panels._ipython_display_()
    assert shown[0].layout.margin.t == room and shown[0].layout.title.text is None
