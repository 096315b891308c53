"""One stage's threshold under the hand: as a share of inputs sent on, and in the metric's own units, always in step."""

import ipywidgets as widgets
import numpy as np

from .confidence import own_units
from .threshold_state import between_ties, exiting, next_exits, shown, threshold_for

STEPS = 300  # at least, of a slider in own units; the arrow buttons and the boxes reach what lies between
WORDS = {"always": -np.inf, "never": np.inf}


def control(kind, width, **settings):
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
    is on is never written to, so that a late answer does not pull a slider back.
    """

    def __init__(self, stage, moved):
        self.stage, self.moved = stage, moved
        self.sure, self.metric, self.range = np.zeros(1), None, (0.0, 1.0)
        self.quiet, self.source, self.written = False, None, {}
        self.name = control(widgets.HTML, "170px")
        self.share = control(
            widgets.FloatSlider, "225px", min=0, max=100, step=0.1, readout=False,
            tooltip=f"stage {stage + 1}: share of the arriving inputs that it sends on",
        )  # fmt: skip
        self.share_text = control(widgets.Text, "72px", continuous_update=False, tooltip="per cent sent on")
        self.slider = control(
            widgets.FloatSlider, "225px", min=0, max=1, step=0.001, readout=False,
            tooltip=f"stage {stage + 1}: threshold in the metric's own units",
        )  # fmt: skip
        self.text = control(widgets.Text, "100px", continuous_update=False, tooltip="threshold, or always, or never")
        self.fewer = control(widgets.Button, "32px", description="‹", tooltip="send one step fewer on")
        self.more = control(widgets.Button, "32px", description="›", tooltip="send one step more on")
        parts = [self.name, widgets.Label("sends on"), self.share, self.share_text, self.fewer, self.more]
        super().__init__([*parts, widgets.Label("threshold"), self.slider, self.text])
        self.layout.align_items, self.layout.flex_flow = "center", "row wrap"
        for part, read in (
            (self.share, lambda: threshold_of_share(self.sure, self.share.value / 100)),
            (self.share_text, lambda: threshold_of_share(self.sure, fraction_in(self.share_text.value))),
            (self.slider, self.slid),
            (self.text, self.typed),
        ):
            part.observe(lambda change, read=read: self.change(change["owner"], read), "value")
        self.fewer.on_click(lambda button: self.change(button, lambda: self.stepped(1)))
        self.more.on_click(lambda button: self.change(button, lambda: self.stepped(-1)))

    def change(self, source, read):
        """A control moved: pass its threshold on; text that is no threshold is put back.

        Front ends answer what is written to a slider with the same value rounded to its steps: that is no move.
        """
        written = self.written.get(source)
        rounded = written is not None and abs(source.value - written) < 0.51 * source.step
        if self.quiet or rounded or not len(self.sure):
            return
        self.written.pop(source, None)
        try:
            threshold = read()
        except ValueError:
            self.show(self.sure, self.threshold)
            return
        self.source = source
        try:
            self.moved(self.stage, threshold)
        finally:
            self.source = None

    def slid(self):
        """Threshold of the slider in own units: its ends mean always and never."""
        low, high = sorted(own_units(self.metric, self.range).tolist())
        wanted = float(own_units(self.metric, self.slider.value))
        return -np.inf if wanted <= low else np.inf if wanted >= high else snapped(self.sure, wanted)

    def typed(self):
        """Threshold of the text: a number in own units, "always" or "never"."""
        word = self.text.value.strip().lower()
        return WORDS[word] if word in WORDS else snapped(self.sure, float(own_units(self.metric, float(word))))

    def stepped(self, step):
        """The next achievable threshold with more (1) or fewer (−1) exits."""
        return threshold_for(self.sure, next_exits(self.sure, exiting(self.sure, self.threshold), step))

    def show_model(self, name, metric, low, high):
        """Take on a model's name and the range of its confidences, in own units."""
        step = 10 ** np.floor(np.log10((high - low or 1) / STEPS))
        self.metric, self.range = metric, (on_grid(low, step, np.floor), on_grid(high, step, np.ceil))
        self.name.value = f"<b>{self.stage + 1}</b> {name}"
        self.quiet = True
        with self.slider.hold_trait_notifications():
            self.slider.min, self.slider.max = self.range
            self.slider.step = step
        self.quiet = False

    def show(self, sure, threshold):
        """Show a threshold (inside) among the falling confidences ``sure`` of the samples that arrive."""
        self.sure, self.threshold, self.quiet = sure, threshold, True
        share, ends = share_sent_on(sure, threshold), sorted(own_units(self.metric, self.range).tolist())
        own = float(own_units(self.metric, np.clip(threshold, *ends)))
        for slider, value in ((self.share, 100 * share), (self.slider, own)):
            if slider is not self.source:
                slider.value = on_grid(value, slider.step)
                self.written[slider] = slider.value
        self.share_text.value = f"{share:.2%}"
        self.text.value = shown(sure, threshold, self.metric)
        self.quiet = False


def on_grid(value, step, rounded=np.round):
    """The multiple of a step (a power of ten) next to a value."""
    return round(float(rounded(value / step)) * step, max(0, round(-np.log10(step))))


def fraction_in(text):
    """ "20%" and "20" as 0.2; ValueError where it is no share."""
    share = float(text.strip().rstrip("%")) / 100
    if not 0 <= share <= 1:
        raise ValueError(f"{text!r} is no share from 0% to 100%")
    return share
