"""One stage's threshold under the hand: as a share of inputs sent on, and in the metric's own units, always in step."""

from html import escape

import ipywidgets as widgets
import numpy as np

from .cascade_files import WORDS
from .confidence import own_units
from .threshold_state import between_ties, exiting, next_exits, shown, threshold_for

STEPS = 1000  # of a slider; the arrow buttons and the boxes reach what lies between


def control(kind, width, **settings):
    """A widget of a fixed width, such as "72px"."""
    return kind(layout=widgets.Layout(width=width), **settings)


def threshold_of_share(sure, share):
    """The achievable threshold that sends on nearest to ``share`` of the falling confidences [r]; 0 and 1: the ends."""
    return threshold_for(sure, between_ties(sure, round((1 - share) * len(sure))))


def share_sent_on(sure, threshold):
    """Share of the falling confidences [r] below the threshold; 0 where none arrives."""
    return 1 - exiting(sure, threshold) / len(sure) if len(sure) else 0.0


def snapped(sure, wanted):
    """The achievable threshold midway between the neighbours that ``wanted`` parts."""
    return threshold_for(sure, exiting(sure, wanted))


class ThresholdSlider(widgets.HBox):
    """Controls of the threshold of one stage; ``moved(stage, threshold)`` is called with thresholds inside.

    Thresholds snap to those that can be achieved among the samples that arrive at the stage. The control that a hand
    is on is never written to, so that a late answer does not pull a slider back. Both sliders count whole steps of a
    fixed range: front ends answer any other value, or another range, with a value of their own, as if it were a move.
    """

    def __init__(self, stage, moved):
        self.stage, self.moved = stage, moved
        self.sure, self.threshold, self.metric, self.range = np.zeros(1), -np.inf, None, (0.0, 1.0)
        self.quiet, self.source = False, None
        self.name = control(widgets.HTML, "170px")
        steps = {"min": 0, "max": STEPS, "readout": False}
        self.share = control(widgets.IntSlider, "225px", tooltip=f"stage {stage + 1}: share sent on", **steps)
        self.share_text = control(widgets.Text, "72px", continuous_update=False, tooltip="per cent sent on")
        self.slider = control(widgets.IntSlider, "225px", tooltip=f"stage {stage + 1}: threshold", **steps)
        self.text = control(widgets.Text, "100px", continuous_update=False, tooltip="threshold, or always, or never")
        self.fewer = control(widgets.Button, "32px", description="‹", tooltip="send one step fewer on")
        self.more = control(widgets.Button, "32px", description="›", tooltip="send one step more on")
        parts = [self.name, widgets.Label("sends on"), self.share, self.share_text, self.fewer, self.more]
        super().__init__([*parts, widgets.Label("threshold"), self.slider, self.text])
        self.layout.align_items, self.layout.flex_flow = "center", "row wrap"
        for part, read in (
            (self.share, lambda: threshold_of_share(self.sure, self.share.value / STEPS)),
            (self.share_text, lambda: threshold_of_share(self.sure, fraction_in(self.share_text.value))),
            (self.slider, self.slid),
            (self.text, self.typed),
        ):
            part.observe(lambda change, read=read: self.change(change["owner"], read), "value")
        self.fewer.on_click(lambda button: self.change(button, lambda: self.stepped(1)))
        self.more.on_click(lambda button: self.change(button, lambda: self.stepped(-1)))

    def change(self, source, read):
        """A control moved: pass its threshold on; text that is no threshold is put back."""
        if self.quiet or not len(self.sure):
            return
        try:
            threshold = read()
        except ValueError:
            self.show(self.threshold)
            return
        self.source = source
        try:
            self.moved(self.stage, threshold)
        finally:
            self.source = None

    def slid(self):
        """Threshold of the slider in own units: its ends mean always and never."""
        low, high = self.range
        wanted = float(own_units(self.metric, low + (high - low) * self.slider.value / STEPS))
        ends = sorted(own_units(self.metric, self.range).tolist())
        return -np.inf if wanted <= ends[0] else np.inf if wanted >= ends[1] else snapped(self.sure, wanted)

    def typed(self):
        """Threshold of the text: a number in own units, "always" or "never"."""
        word = self.text.value.strip().lower()
        return WORDS[word] if word in WORDS else snapped(self.sure, float(own_units(self.metric, float(word))))

    def stepped(self, step):
        """The next achievable threshold with more (1) or fewer (−1) exits."""
        return threshold_for(self.sure, next_exits(self.sure, exiting(self.sure, self.threshold), step))

    def show_model(self, name, metric, low, high):
        """Take on a model's name and the range of its confidences, in own units."""
        self.metric, self.range = metric, (low, high if high > low else low + 1)
        self.name.value = f"<b>{self.stage + 1}</b> {escape(name)}"

    def show(self, threshold):
        """Show a threshold (inside) among ``sure``, the falling confidences of the samples that arrive."""
        self.threshold, self.quiet = threshold, True
        share, (low, high) = share_sent_on(self.sure, threshold), self.range
        own = float(np.clip(own_units(self.metric, threshold), low, high))
        for slider, part in ((self.share, share), (self.slider, (own - low) / (high - low))):
            if slider is not self.source:
                slider.value = round(STEPS * part)
        self.share_text.value = f"{share:.2%}"
        self.text.value = shown(self.sure, threshold, self.metric)
        self.quiet = False


def fraction_in(text):
    """ "20%" and "20" as 0.2; ValueError where it is no share."""
    share = float(text.strip().rstrip("%") + "e-2")
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is no share from 0% to 100%")
    return share
