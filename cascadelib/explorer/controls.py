"""What hands do in the explorer: choose the cascade, drag a threshold, go to a goal."""

from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import pandas as pd
from traitlets import Bool, Int, Unicode

from ..checks import check_number
from ..methods.thresholds import (
    WORDS,
    between_ties,
    exiting,
    next_exits,
    own_units,
    threshold_for,
)
from ..tables import fraction, in_words, number
from .later import Later
from .state import Choice, Metric, threshold_text

AUTO = {"width": "auto"}  # as wide as what is in it
STEPS = 1000  # of a slider; the arrow buttons and the boxes reach what lies between


def threshold_of_share(confidences: np.ndarray, share: float) -> float:
    """The achievable threshold that sends on nearest to ``share`` of the falling confidences [r];
    0 and 1: the ends."""
    count = round((1 - share) * len(confidences))
    return threshold_for(confidences, between_ties(confidences, count))


def share_sent_on(confidences: np.ndarray, threshold: float) -> float:
    """Share of the falling confidences [r] below the threshold; 0 where none arrives."""
    if not len(confidences):
        return 0.0
    return 1 - exiting(confidences, threshold) / len(confidences)


class Slider(anywidget.AnyWidget):
    """The browser's own range input, of whole steps from 0 to STEPS. That of ipywidgets has no name
    and value in words for screen readers (label, text), and does not tell when a hand is on it
    (held)."""

    _esm = Path(__file__).with_name("slider.js")
    value = Int().tag(sync=True)
    most = Int(STEPS).tag(sync=True)
    held = Bool().tag(sync=True)
    label = Unicode().tag(sync=True)
    text = Unicode().tag(sync=True)


class ThresholdSlider(widgets.HBox):
    """Controls of the threshold of one stage; ``moved(stage, threshold)`` is called with thresholds
    inside, ``released()`` once a hand lets a slider go.

    Thresholds snap to those that can be achieved among the samples that arrive. The control that a
    hand is on is never written to, so that a late answer does not pull it back. Both sliders count
    whole steps of a fixed range: front ends answer anything else with a value of their own, as if
    it were a move.
    """

    def __init__(
        self, stage: int, moved: Callable[[int, float], None], released: Callable[[], None]
    ) -> None:
        self.stage = stage
        self.moved = moved
        self.confidences = np.zeros(1)  # falling, of the samples that arrive
        self.threshold = -np.inf
        self.range = (0.0, 1.0)
        self.metric: Metric = None
        self.source: widgets.DOMWidget | None = None
        self.quiet = False
        self.name = widgets.HTML()
        self.share = Slider()
        self.slider = Slider()
        self.share_text = widgets.Text(continuous_update=False, tooltip="per cent sent on")
        self.text = widgets.Text(continuous_update=False, tooltip='threshold, "always" or "never"')
        self.fewer = widgets.Button(description="‹", tooltip="send fewer samples on, by one step")
        self.more = widgets.Button(description="›", tooltip="send more samples on, by one step")
        parts = [
            self.name,
            widgets.Label("sends on"),
            self.share,
            self.share_text,
            self.fewer,
            self.more,
            widgets.Label("threshold"),
            self.slider,
            self.text,
        ]
        super().__init__(parts)
        self.add_class("cascadelib-threshold")
        for slider in (self.share, self.slider):
            slider.observe(lambda change: None if change["new"] else released(), "held")
        reads = {
            self.share: self.shared,
            self.share_text: self.share_typed,
            self.slider: self.slid,
            self.text: self.typed,
        }
        for part, read in reads.items():
            part.observe(lambda change, read=read: self.change(change["owner"], read), "value")
        self.fewer.on_click(lambda button: self.change(button, lambda: self.stepped(1)))
        self.more.on_click(lambda button: self.change(button, lambda: self.stepped(-1)))

    def change(self, source: widgets.DOMWidget, read: Callable[[], float]) -> None:
        """A control moved: pass its threshold on; text that is not a threshold is put back."""
        if self.quiet or not len(self.confidences):
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

    def shared(self) -> float:
        """Threshold of the slider of shares."""
        return threshold_of_share(self.confidences, self.share.value / STEPS)

    def share_typed(self) -> float:
        """Threshold of the share as text."""
        return threshold_of_share(self.confidences, fraction_in(self.share_text.value))

    def slid(self) -> float:
        """Threshold of the slider in own units: its ends mean always and never."""
        low, high = self.range
        wanted = float(own_units(self.metric, low + (high - low) * self.slider.value / STEPS))
        ends = sorted(own_units(self.metric, self.range).tolist())
        if wanted <= ends[0]:
            return -np.inf
        if wanted >= ends[1]:
            return np.inf
        return self.snapped(wanted)

    def typed(self) -> float:
        """Threshold of the text: a number in own units, "always" or "never"."""
        word = self.text.value.strip().lower()
        if word in WORDS:
            return WORDS[word]
        return self.snapped(float(own_units(self.metric, float(word))))

    def snapped(self, wanted: float) -> float:
        """The achievable threshold midway between the neighbours that ``wanted`` parts."""
        return threshold_for(self.confidences, exiting(self.confidences, wanted))

    def stepped(self, step: int) -> float:
        """The next achievable threshold with more (1) or fewer (−1) exits."""
        count = next_exits(self.confidences, exiting(self.confidences, self.threshold), step)
        return threshold_for(self.confidences, count)

    def show_model(self, name: str, metric: Metric, low: float, high: float) -> None:
        """Take on a model's name and the range of its confidences, in own units."""
        self.metric = metric
        self.range = (low, high if high > low else low + 1)
        self.name.value = f"<b>{self.stage + 1}</b> {escape(name)}"
        self.share.label = f"stage {self.stage + 1}, {name}: share sent on"
        self.slider.label = f"stage {self.stage + 1}, {name}: threshold"

    def show(self, threshold: float) -> None:
        """Show a threshold (inside) among ``confidences``."""
        self.threshold = threshold
        self.quiet = True
        low, high = self.range
        share = share_sent_on(self.confidences, threshold)
        own = float(np.clip(own_units(self.metric, threshold), low, high))
        for slider, part in ((self.share, share), (self.slider, (own - low) / (high - low))):
            if slider is not self.source:
                slider.value = round(STEPS * part)
        shown = f"{share:.2%}"
        self.share_text.value = shown
        self.share.text = shown
        text = threshold_text(self.confidences, threshold, self.metric)
        self.text.value = text
        self.slider.text = text
        self.quiet = False


def fraction_in(text: str) -> float:
    """A share written as "20%" or "20": 0.2; ValueError where it is not one."""
    exact = float(text.strip().rstrip("%") + "e-2")  # 94.2 / 100 is not 0.942
    return check_number(exact, "a share", "from 0% to 100%", 0, 1)


def resized(models: Sequence[str], n: int, names: Sequence[str]) -> list[str]:
    """Models of a cascade of n: the last one and the first of the others, or all and the last of
    ``names`` that are free."""
    if n <= len(models):
        return [*models[: n - 1], models[-1]]
    free = [name for name in names if name not in models]
    return [*models, *free[len(models) - n :]]


class CascadeChooser(widgets.VBox):
    """Buttons and lists that show a :class:`Choice` and tell what of it is to change.

    lengths: how many models there may be; names: those of each kind ("method", "cost", "score") to
    choose from; told: has ``resize(n)``, ``replace_model(position, name)`` and ``change(kind,
    name)``, which are called on a change.
    """

    def __init__(self, lengths: list[int], names: dict[str, list[str]], told: Any) -> None:
        self.quiet = False
        numbers = [(f"{n} model" if n == 1 else f"{n} models", n) for n in lengths]
        self.number = widgets.ToggleButtons(options=numbers, style={"button_width": "84px"})
        listed = partial(widgets.Dropdown, style={"description_width": "initial"})
        self.models = [
            listed(description=f"{i + 1}", layout={"width": "345px"}) for i in range(max(lengths))
        ]
        self.lists = {}
        for kind, there in names.items():
            options = [(in_words(name), name) for name in there]
            self.lists[kind] = listed(description=kind, options=options, layout=AUTO)
        line = widgets.Layout(flex_flow="row wrap", align_items="center")
        settings = widgets.HBox([self.number, *self.lists.values()], layout=line)
        super().__init__([settings, widgets.HBox(self.models, layout=line)])
        self.on(self.number, told.resize)
        for i, part in enumerate(self.models):
            self.on(part, partial(told.replace_model, i))
        for kind, part in self.lists.items():
            self.on(part, partial(told.change, kind))

    def on(self, part: widgets.DOMWidget, listener: Callable) -> None:
        """Call ``listener(new value)`` when a hand, not :meth:`show`, changes a part."""
        part.observe(lambda news: None if self.quiet else listener(news["new"]), "value")

    def show(self, choice: Choice, singles: pd.DataFrame) -> None:
        """Show a choice. singles: accuracy and cost of each model, cheapest first, as the lists
        show them."""
        self.quiet = True
        rows = zip(singles.index, singles["accuracy"], singles["cost"])
        options = tuple(
            (f"{name} · {fraction(accuracy)} · {number(cost)}", name)
            for name, accuracy, cost in rows
        )
        self.number.value = len(choice.models)
        for i, part in enumerate(self.models):
            part.layout.display = "flex" if i < len(choice.models) else "none"
        for part, name in zip(self.models, choice.models):
            part.options = options
            part.value = name
        for kind, part in self.lists.items():
            part.value = getattr(choice, kind)
        self.quiet = False


ENTERED = 0.1  # seconds from Enter in a box until it counts
SIZES = str.maketrans({"k": "e3", "M": "e6", "G": "e9", "T": "e12"})  # of an amount


def share(text: str) -> float:
    """A share written as "94.2%", "94.2" or "0.942": 0.942; ValueError where it is not a number."""
    return fraction_in(text) if "%" in text or float(text) > 1 else float(text)


class GoalButtons(widgets.HBox):
    """Buttons that go to a point of the front.

    told: ``told.go(goal)`` is called with the arguments of :func:`cascadelib.pick` as a dict,
    ``told.undo()`` for undo, ``told.say(message)`` where a box holds no number.
    """

    def __init__(self, told: Any) -> None:
        self.told = told
        box = partial(widgets.Text, layout={"width": "84px"}, continuous_update=False)
        self.budget = box(placeholder="e.g. 11M")
        self.accuracy = box(placeholder="e.g. 94.2%")
        self.goals: dict[str, Callable[[], dict]] = {
            "match the best single model": lambda: {"goal": "match_best"},
            "largest improvement (optimistic)": lambda: {"goal": "max_improvement"},
            "this budget": lambda: {"budget": float(self.budget.value.translate(SIZES))},
            "this accuracy": lambda: {"accuracy": share(self.accuracy.value)},
        }
        self.buttons = {
            label: widgets.Button(description=label, layout=AUTO) for label in self.goals
        }
        for label, button in self.buttons.items():
            button.on_click(lambda _, label=label: self.go(label))
        self.undo = widgets.Button(description="undo", disabled=True, layout=AUTO)
        self.undo.on_click(lambda _: told.undo())
        self.enter(self.budget, "this budget")
        self.enter(self.accuracy, "this accuracy")
        match, best, budget, accuracy = self.buttons.values()
        super().__init__([match, best, self.budget, budget, self.accuracy, accuracy, self.undo])
        self.layout.flex_flow = "row wrap"

    def enter(self, box: widgets.Text, label: str) -> None:
        """Let Enter in a box do what the button of this label does."""
        soon = Later(ENTERED, partial(self.go, label), True)  # its value is the next message

        def heard(_: Any, message: dict, __: Any) -> None:
            if message.get("event") == "submit":
                soon.again()

        box.on_msg(heard)

    def go(self, label: str) -> None:
        """To the point that the button of this label names, or say why there is none."""
        try:
            goal = self.goals[label]()
        except ValueError:
            self.told.say(f"{label}: write a number such as 11M, 94.2% or 0.942")
        else:
            self.told.go(goal)
