"""An interactive explorer of cascades, for JupyterLab, Notebook 7 and Voilà."""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from html import escape
from typing import Any

import ipywidgets as widgets
import numpy as np

from ..evaluation.point import Point
from ..evaluation.run import evaluate
from ..figures import style
from ..front_end import has_front_end
from ..fronts.front import Front
from ..fronts.selection import pick
from ..methods.thresholds import own_units
from ..store.protocol import Store
from ..tables import arrow, in_words
from .charts import Charts
from .controls import (
    CascadeChooser,
    GoalButtons,
    ThresholdSlider,
    resized,
    share_sent_on,
    threshold_of_share,
)
from .examples import ExampleStrip
from .export import ExportBox, as_state, state_in
from .later import Later, beside
from .readout import numbers_html, points_text
from .splits import ExploredSplits
from .state import Choice, falling, reading_at

DRAWN = 0.02  # seconds that charts and later stages leave the page to show the numbers first
SETTLED = 0.4  # seconds after the hand let go until examples and export follow
SENT_ON = 0.2  # by a stage that a cascade gains
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()


def explore(
    store: Store,
    held_out: Store | None = None,
    images: Any = None,
    front: Front | None = None,
    state: str = "",
) -> "Explorer":
    """A widget to drag the thresholds of cascades of ``store``, with the same cascade on
    ``held_out`` beside it.

    The present cascade is ``.point``, a :class:`Point`.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split that cascades are chosen on.
    held_out : LogitStore or ScoreTable, optional
        Another split, with all models of the first.
    images : sequence, optional
        The inputs of ``store`` in its order, shown as examples: arrays [h, w], [h, w, 3] or
        [3, h, w], PIL images, paths, texts, or a data set of ``cl.datasets``.
    front : Front, optional
        Found on ``store``, to start from instead of searching all pairs.
    state : str
        What another explorer's ``.state`` says, to open at the same cascade and thresholds.

    Returns
    -------
    Explorer

    Raises
    ------
    TypeError
        For what is not a store.
    ValueError
        Where ``held_out`` lacks a model, the number of images is not that of the samples, or
        ``state`` (which the message names) says anything that these splits do not have.
    """
    return Explorer(store, held_out, images, front, state)


def certainty(front: Front | None) -> str:
    """What to say of a front: nothing where it is exact."""
    if front is None:
        return "searching the front …"
    gap = float(front.gap.max(initial=0))
    if not gap:
        return ""
    cheaper = f"more than {gap / (1 + gap):.1%} cheaper at equal accuracy"
    return f"front certified: no cascade of its kind is {cheaper}"


class Explorer(widgets.VBox):
    """See :func:`explore`. ``point``: the :class:`Point` on screen; ``readings``: {split: its
    Reading there}."""

    def __init__(
        self, store: Store, held_out: Store | None, images: Any, front: Front | None, state: str
    ) -> None:
        self.splits = ExploredSplits(store, held_out, front)
        self.past: list[tuple[Choice, list[float]]] = []
        self.gesture: int | None = None
        self.thresholds: list[float] = []
        self.drawn: tuple | None = None
        self.searching: tuple | None = None
        self.failed: dict[tuple, str] = {}
        self.goal: dict = {"goal": "near_best"}
        self.awaited = False
        self.undrawn = 0
        self.settling = Later(SETTLED, self.settle, True)
        self.drawing = Later(DRAWN, self.draw, False)
        names = {
            "method": list(self.splits.methods),
            "cost": self.splits.costs,
            "score": self.splits.scores,
        }
        self.chooser = CascadeChooser(self.splits.lengths, names, self)
        self.goals = GoalButtons(self)
        self.sliders = [
            ThresholdSlider(stage, self.drag, self.settling.again)
            for stage in range(max(self.splits.lengths) - 1)
        ]
        self.numbers = widgets.HTML()
        self.message = widgets.HTML()
        alive = widgets.HTML()
        alive.add_class("cascadelib-alive")  # until its kernel ends: page.css
        self.charts = Charts(self.splits.stores, len(self.sliders), self.clicked)
        self.strip = None if images is None else ExampleStrip(store, images)
        self.export = ExportBox(store, held_out)
        self.begin(front, state)
        parts = [alive, self.chooser, self.goals, self.message, *self.sliders, self.numbers]
        parts.append(self.charts.live())
        if self.strip is not None:
            parts.append(self.strip)
        super().__init__([*parts, self.export])
        self.add_class("cascadelib-explorer")

    def begin(self, front: Front | None, state: str) -> None:
        """Show what ``state`` says; without one what matches the best single model, or is nearest
        to it, on the given front or on that of all pairs (of the one model there is)."""
        if state:
            self.use(*state_in(state, self.splits))
        else:
            names = tuple(self.splits.store.models.index[:2])
            choice = Choice(names, self.splits.first, self.splits.costs[0], self.splits.scores[0])
            point = pick(front or self.splits.search(choice), **self.goal, caution=0)
            self.use(replace(choice, models=point.models), point.inside.tolist())
        self.settle()

    def _repr_mimebundle_(self, **options: Any) -> dict:
        """The widget; in a run without a front end also its charts, which a report draws and a
        notebook keeps."""
        still = {} if has_front_end() else {style.PLOTLY_JSON: self.charts.still()}
        return (super()._repr_mimebundle_(**options) or {}) | still

    # What hands do

    def drag(self, stage: int, threshold: float) -> None:
        """A slider moved: the only path that has to be fast."""
        self.remember(stage)
        self.thresholds[stage] = threshold
        self.undrawn = min(self.undrawn, stage)
        self.show_numbers()
        for later in range(stage, len(self.thresholds)):
            self.sliders[later].confidences = self.arriving(later)
        self.sliders[stage].show(threshold)
        self.drawing.again()

    def draw(self) -> None:
        """What follows a drag: the later stages' sliders, the charts."""
        for stage in range(self.undrawn + 1, len(self.thresholds)):
            self.sliders[stage].show(self.thresholds[stage])
        self.charts.show_thresholds(self.thresholds, self.readings, self.undrawn)
        self.undrawn = len(self.thresholds)

    def resize(self, n: int) -> None:
        """The best cascade of n models by the present goal; until its front is known, or where it
        holds none, one that is made from the present models."""
        names = self.splits.singles(self.choice)["validation"].index
        self.take(models=resized(self.choice.models, n, names))
        self.awaited = True
        self.offer()

    def replace_model(self, position: int, name: str) -> None:
        """Another model at a position; taken twice, it swaps places."""
        models = list(self.choice.models)
        if name in models:
            models[models.index(name)] = models[position]
        models[position] = name
        self.take(models=models)

    def change(self, kind: str, name: str) -> None:
        """Another "method", "cost" or "score"."""
        self.take(**{kind: name})

    def go(self, goal: dict) -> None:
        """To a point of the front, by the arguments of :func:`pick`: the goal from now on."""
        front = self.splits.front_of(self.choice)
        try:
            if front is not None:  # a click may come before its button is disabled
                self.load(pick(front, **goal, caution=0))
                self.goal = goal
            self.tell()
        except ValueError as error:
            self.say(str(error))

    def offer(self) -> None:
        """To the point of a front that was waited for, by the present goal, unless a hand moved
        something meanwhile."""
        front = self.splits.front_of(self.choice)
        if self.awaited and front is not None:
            self.awaited = False
            try:
                point = pick(front, **self.goal, caution=0)
                if len(point.models) == len(self.choice.models):
                    self.use(replace(self.choice, models=point.models), point.inside.tolist())
            except ValueError as error:
                self.say(str(error))

    def clicked(self, row: int) -> None:
        """To the point of the front that was clicked."""
        self.load(self.splits.fronts[self.choice.kind].point(row))

    def undo(self) -> None:
        """Back to before the last change."""
        if self.past:
            self.gesture = None
            self.awaited = False
            self.use(*self.past.pop())

    # What follows

    def load(self, point: Point) -> None:
        """Show the cascade of a point of the present front."""
        self.remember()
        self.use(replace(self.choice, models=point.models), point.inside.tolist())

    def take(self, **changed: Any) -> None:
        """Another cascade, its models by rising cost: each stage sends on the share that it sent on
        before."""
        choice = replace(self.choice, **changed)
        cost = self.splits.singles(choice)["validation"]["cost"]
        self.remember()
        self.use(replace(choice, models=tuple(sorted(choice.models, key=cost.get))))

    def remember(self, gesture: int | None = None) -> None:
        """Keep what is on screen for undo; moves of one stage's threshold without anything between
        count as one."""
        same = gesture is not None and gesture == self.gesture
        self.gesture = gesture
        self.awaited = False
        if not same:
            self.past.append((self.choice, list(self.thresholds)))
            self.goals.undo.disabled = False

    def use(self, choice: Choice, thresholds: list[float] | None = None) -> None:
        """Show a cascade; without thresholds, each stage sends on the share that it sent on
        before."""
        shares = [
            share_sent_on(slider.confidences, threshold)
            for slider, threshold in zip(self.sliders, self.thresholds)
        ]
        self.choice = choice
        self.cascades = self.splits.cascades(choice)
        self.thresholds = [] if thresholds is None else list(thresholds)
        for stage in range(len(self.thresholds), len(choice.models) - 1):
            share = shares[stage] if stage < len(shares) else SENT_ON
            self.thresholds.append(threshold_of_share(self.arriving(stage), share))
        self.show_cascade()
        self.show_front()
        self.goals.undo.disabled = not self.past

    def arriving(self, stage: int) -> np.ndarray:
        """Falling confidences of the samples that arrive at a stage of the first split."""
        return falling(self.cascades["validation"], self.thresholds, stage)

    # What is shown

    def show_cascade(self) -> None:
        """All that depends on the cascade, and its thresholds."""
        models = self.choice.models
        first = self.cascades["validation"]
        metric = first.task.metric
        self.chooser.show(self.choice, self.splits.singles(self.choice)["validation"])
        for stage, slider in enumerate(self.sliders):
            slider.layout.display = None if stage < len(models) - 1 else "none"
        for stage, threshold in enumerate(self.thresholds):
            slider = self.sliders[stage]
            confidence = first.confidences[stage]
            low, high = sorted(own_units(metric, [confidence.min(), confidence.max()]).tolist())
            slider.show_model(models[stage], metric, low, high)
            slider.confidences = self.arriving(stage)
            slider.show(threshold)
        self.show_numbers()
        self.charts.show_cascade(self.cascades, self.thresholds, self.readings)
        self.undrawn = len(self.thresholds)

    def show_front(self) -> None:
        """The front of as many models by the present method, cost and score; searched meanwhile if
        it is not known."""
        if self.choice.kind == self.drawn:
            return
        self.drawn = self.choice.kind
        front = self.splits.front_of(self.choice)
        singles = self.splits.singles(self.choice)
        score = in_words(self.choice.score)
        self.charts.show_front(singles, self.choice.cost, score, front)
        for button in self.goals.buttons.values():
            button.disabled = front is None
        self.tell()
        for choice in (self.choice, self.fewer):
            known = not choice.models or choice.kind in (*self.splits.fronts, *self.failed)
            # One at a time: what is wanted by then comes next.
            if not known and self.searching is None:
                self.searching = choice.kind
                beside(partial(self.splits.search, choice), self.searched)

    def searched(self, error: BaseException | None) -> None:
        """A search ended, or failed: draw the front that is wanted now, and search what is still
        wanted."""
        ended = self.searching
        self.searching = None
        self.drawn = None
        if error is not None and ended is not None:
            self.failed[ended] = f"the front could not be searched: {error}"
        self.show_front()
        self.offer()

    def tell(self) -> None:
        """Say what is certain of the front, and what its last model adds."""
        certain = self.failed.get(self.choice.kind) or certainty(self.splits.front_of(self.choice))
        self.say("; ".join(filter(None, [certain, self.added()])))

    @property
    def fewer(self) -> Choice:
        """The present choice without its last model."""
        return replace(self.choice, models=self.choice.models[:-1])

    def added(self) -> str:
        """What the best cascade of as many models has over the best of one fewer, both by the
        present goal, on the held-out split where there is one; nothing while a front is unknown, or
        holds none."""
        n = len(self.choice.models)
        points = []
        with suppress(ValueError):  # where a front lacks such a point
            fronts = [self.splits.front_of(choice) for choice in (self.fewer, self.choice)]
            points = [pick(front, **self.goal, caution=0) for front in fronts if front is not None]
        if [len(point.models) for point in points] != [n - 1, n]:
            return ""
        split, store = list(self.splits.stores.items())[-1]
        less, more = points
        before = evaluate(store, less)
        after = evaluate(store, more)
        accuracy = points_text(after.accuracy - before.accuracy, len(store))
        cost = f"{after.cost / before.cost - 1:+.1%}"
        added = f"a {ORDINALS[n - 1]}"
        if n == 2 and less.models == more.models[1:]:
            added = "the first"
        return (
            f"adding {added} model: accuracy {accuracy}, cost {cost} "
            f"on the {split} split ({arrow(more.models)} instead of {arrow(less.models)})"
        )

    def show_numbers(self) -> None:
        """Numbers at the present thresholds."""
        self.readings = {
            split: reading_at(cascade, self.thresholds) for split, cascade in self.cascades.items()
        }
        single = self.splits.best_single(self.choice)
        self.numbers.value = numbers_html(self.readings, self.cascades, single)
        self.settling.again()

    def settle(self) -> None:
        """Examples and export, which follow once no hand is on a slider."""
        if any(slider.share.held or slider.slider.held for slider in self.sliders):
            return
        if self.strip is not None:
            self.strip.show(
                self.choice.models, self.cascades["validation"], self.readings["validation"]
            )
        self.export.show(self.point, self.readings.get("held-out"), self.state)
        self.charts.rest()

    def say(self, text: str) -> None:
        """A line of text above the sliders."""
        self.message.value = f"<em>{escape(text)}</em>" if text else ""

    @property
    def point(self) -> Point:
        """The :class:`Point` on screen, as measured on the split that it is chosen on."""
        return self.readings["validation"].measured_point

    @property
    def state(self) -> str:
        """Cascade and thresholds as URL-like text, which opens another explorer there."""
        return as_state(self.choice, self.point)
