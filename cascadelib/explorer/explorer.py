"""Show the explorer in a notebook, as a widget around the page's module.

The page evaluates cascades. The kernel searches fronts and stores the current cascade.
"""

import asyncio
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets
from IPython.display import display

from ..checks import brief, validate_choice
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from ..figures.front_end import displays_widgets
from ..figures.tables import in_words
from ..files import short_path, write_text
from ..fronts.front import Front
from ..fronts.selection import pick
from ..store.protocol import Store
from .examples import describe_examples, select_examples
from .packing import Packed
from .page import format_page, format_still, read_part, read_script, still_outputs
from .splits import KINDS, Choice, ExploredSplits, format_state, parse_state

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
SLIDER_STEPS = 1000
# The outputs of at most this number of cascades are sent. The limit only matters for ensembles,
# whose outputs depend on all previous models.
MAX_CASCADES = 60
LENGTHS_IN_FILES = (2, 3)  # models per cascade of the fronts that a saved page contains


def explore(
    store: Store,
    held_out: Store | None = None,
    images: Any = None,
    front: Front | None = None,
    state: str | None = None,
    certificate: Any = None,
) -> "Explorer":
    """Show a page with a slider for each threshold of a cascade.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        Split on which cascades are selected.
    held_out : LogitStore or ScoreTable, optional
        Another split with all models of the first. The page evaluates each cascade on it too.
    images : sequence, optional
        Inputs of `store` in its order: arrays of shape (h, w), (h, w, 3) or (3, h, w), PIL images,
        paths, texts, or a data set of ``cl.datasets``. The page shows at most 160 of them as
        examples.
    front : Front, optional
        Result of a search of `store`, to start from. By default all pairs are searched.
    state : str, optional
        The ``.state`` of another explorer, or the part after # of its page's address. The page
        opens with the same cascade and thresholds.
    certificate : Certificate or list of Certificate, optional
        Certificates whose cascades are marked. Several certificates hold simultaneously with a
        probability of at least 1 minus the sum of their δ.

    Returns
    -------
    Explorer
        ``.point`` is the current cascade, ``.front`` the front of cascades of the same length,
        ``.sliders`` one ipywidget per threshold. ``.save_html(path)`` writes the page as one file.

    Raises
    ------
    TypeError
        If an argument is not a store.
    ValueError
        If `held_out` lacks a model, or has samples on which `certificate` was tested. If the number
        of images differs from the number of samples. If `state` does not fit the splits, for
        example if they lack one of its models.

    See Also
    --------
    demo : The explorer of bundled answers.
    search : The front that the page starts from.

    Examples
    --------
    >>> import cascadelib as cl
    >>> answers = cl.datasets.llm_answers()
    >>> table = cl.ScoreTable.from_frame(answers, prediction="prediction", label="label")
    >>> explorer = cl.explore(table.take(slice(0, None, 2)), table.take(slice(1, None, 2)))
    >>> explorer.point.models
    ('llama-3.1-8b', 'llama-3.3-70b')
    """
    return Explorer(ExploredSplits(store, held_out, front, certificate, images), state)


class PageWidget(widgets.Widget):
    """Widget that distinguishes the values of a page from those of Python code."""

    received: frozenset[str] = frozenset()  # traits in the message of the page that is handled

    def set_state(self, sync_data: dict) -> None:
        """Set traits from a message of the page."""
        self.received = frozenset(sync_data)
        try:
            super().set_state(sync_data)
        finally:
            self.received = frozenset()

    def take_received(self, name: str) -> bool:
        """Return whether the page has set a trait. Further changes of the trait are by code."""
        is_received = name in self.received
        self.received -= {name}
        return is_received


class ThresholdSlider(PageWidget, widgets.FloatSlider):
    """Slider of one threshold in the metric's native units. Its ends mean "always" and "never"."""

    def rescale(self, low: float, high: float) -> None:
        """Set the ends beyond two confidences. A value that they clip is not a choice of code."""
        step = (high - low) / SLIDER_STEPS or 1.0
        self.received = frozenset({"value"})
        with self.hold_trait_notifications():
            for name, number in {"min": low - step, "max": high + step, "step": step}.items():
                self.set_trait(name, number)
        self.received = frozenset()


class Explorer(PageWidget, anywidget.AnyWidget):
    """Widget of the explorer, see :func:`explore`."""

    _esm = read_script() + "\nexport default { render }\n"
    _css = read_part("page.css")
    packed = traitlets.Bytes().tag(sync=True)
    details = traitlets.Unicode("{}").tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    notice = traitlets.Unicode().tag(sync=True)
    pack: Packed
    choice: Choice
    thresholds: tuple[float, ...] = ()
    sliders: Any = traitlets.List().tag(sync=True, **widgets.widget_serialization)

    def __init__(self, splits: ExploredSplits, state: str | None) -> None:
        super().__init__()
        self.splits = splits
        self.requests = 0  # number of the page's last request. Only this request is answered
        self.sliders = [ThresholdSlider() for _ in range(splits.lengths[-1] - 1)]
        self.observe(self.load_state, "state")
        self.on_msg(self.handle_request)
        with self.hold_sync():  # the page gets arrays and state in one message
            self.show(*self.first_cascade(state))
        for stage, slider in enumerate(self.sliders):
            slider.observe(partial(self.apply_slider, stage), "value")

    def first_cascade(self, state: str | None) -> tuple[Choice, tuple[float, ...]]:
        """Return the cascade that is shown first and its thresholds, and set the goal.

        With `state`, it is the cascade of the state. Without a front, it is the cheapest certified
        cascade, if there is one. Otherwise it is the "near_best" cascade (:func:`pick`) of the
        front, or of all pairs.
        """
        splits = self.splits
        if state is not None:
            choice, thresholds, self.goal = parse_state(state, splits)
            return choice, thresholds
        names = splits.store.models.index[:2]
        choice = splits.choice(names, splits.first, splits.costs[0], splits.scores[0])
        self.goal = {"goal": "near_best"}
        if splits.front is None and splits.certified:
            point = min(splits.certified, key=attrgetter("cost"))
        else:
            point = pick(splits.front or splits.search(choice), **self.goal, caution=0)
        return replace(choice, models=point.models), point.thresholds

    @property
    def point(self) -> Point:
        """The current :class:`Point`, measured on the selection split."""
        return self.runs["validation"].measured_point

    @property
    def front(self) -> Front | None:
        """The front of cascades with the current number of models, None before its search."""
        return self.splits.fronts.get(self.choice.kind)

    @property
    def runs(self) -> dict[str, Run]:
        """The evaluation of the current cascade on each split."""
        task = self.splits.task("validation", self.choice)
        point = Point(
            self.choice.models,
            self.thresholds,
            method=task.method,
            score=task.score,
            cost_kind=task.cost_kind,
            selected_on=task.selected_on,
        )
        return {split: evaluate(store, point) for split, store in self.splits.stores.items()}

    # Methods for code

    def resize(self, n: int) -> None:
        """Show the best cascade of `n` models by the current goal, after a search if needed."""
        if n not in self.splits.lengths:
            raise ValueError(f"n must be one of {self.splits.lengths}, not {brief(n)}")
        self.go(self.goal, n)

    def go(self, goal: dict, n: int | None = None) -> None:
        """Show the point of a front that meets a goal, and keep the goal.

        goal: arguments of :func:`pick`. n: number of models, by default the current one.
        """
        choice = replace(self.choice, models=("",) * (n or len(self.choice.models)))
        is_new = choice.kind not in self.splits.fronts
        front = self.splits.search(choice)
        if is_new:
            self.publish(self.choice)
        point = pick(front, **goal, caution=0)
        self.goal = goal
        self.show_point(point)

    def show_point(self, point: Point) -> None:
        """Show the cascade of a point of the current method, cost and score."""
        self.show(replace(self.choice, models=point.models), point.thresholds)

    def show(self, choice: Choice, thresholds: Sequence[float]) -> None:
        """Show a cascade at thresholds in native units, on the page and on the sliders."""
        self.state = format_state(choice, self.splits, thresholds, self.goal)
        for slider, name, threshold in zip(self.sliders, choice.models, thresholds):
            slider.description = name
            slider.value = float(np.clip(threshold, slider.min, slider.max))

    def apply_slider(self, stage: int, change: Any) -> None:
        """Show the cascade at a slider's value, if Python code changed the value.

        If the page changed it, nothing is done: the page also sends its state, which is exact.
        """
        slider = self.sliders[stage]
        if slider.take_received("value"):
            return
        ends = {slider.min: -math.inf, slider.max: math.inf}
        threshold = ends.get(change["new"], change["new"])
        thresholds = list(self.thresholds)
        if stage < len(thresholds) and thresholds[stage] != threshold:
            thresholds[stage] = threshold
            self.show(self.choice, thresholds)

    def save_html(self, path: str | Path, note: str = "") -> Path:
        """Write the page of the current cascade as one file, without kernel, server or network.

        The page contains the fronts of two and three models, and other fronts that were searched.
        note: text about the data, which the page shows.
        """
        for n in LENGTHS_IN_FILES:
            if n in self.splits.lengths:
                with suppress(ValueError):  # F1 has no front of three models
                    self.splits.search(replace(self.choice, models=("",) * n))
        self.publish(self.choice)
        packed = self.pack.to_bytes(self.describe())
        dataset = self.splits.store.origin.dataset
        title = f"Model cascades on {dataset}" if dataset else "Model cascades"
        still = format_still(self.runs, self.state)
        write_text(path, format_page(title, packed, still, note))
        return Path(path)

    # Messages of a page

    def load_state(self, _: Any) -> None:
        """Load the current state, which a page or code has set."""
        is_from_page = self.take_received("state")
        try:
            parsed = parse_state(self.state, self.splits)
        except ValueError as error:
            self.notice = str(error)
            return
        if self.packed and is_from_page:
            sent = replace(self.pack.choice, models=parsed[0].models)
            if (parsed[0].method, parsed[0].score) != (sent.method, sent.score):
                # The page sent this before it got the last arrays. It then sends its state again.
                self.publish(sent)
                return
        self.choice, self.thresholds, self.goal = parsed
        if not self.packed or not self.pack.shows(self.choice):
            self.publish(self.choice)

    def handle_request(self, _: Any, message: dict, __: Any) -> None:
        """Search the front that a page requests by number of models, method, cost and score.

        A later request, such as ``{"stop": True}``, replaces it: the page then does not get the
        front, and the search ends in the background.
        """
        self.notice = ""
        self.requests += 1
        request = self.requests
        if message.get("stop"):
            return
        n = message.get("n")
        seconds = message.get("seconds")
        names = {kind: message.get(kind) for kind in KINDS}
        try:
            choice = self.splits.choice(
                ("",) * validate_choice(n, self.splits.lengths, "length"), **names
            )
        except ValueError as error:
            self.notice = str(error)
            return

        def finish(error: BaseException | None) -> None:
            if request != self.requests:
                return
            if error is None:
                self.publish(replace(choice, models=self.choice.models))
            self.notice = "" if error is None else f"the front could not be searched: {error}"

        self.notice = f"searching:{n}"
        run_in_thread(partial(self.splits.search, choice, seconds), finish)

    def publish(self, choice: Choice) -> None:
        """Send the arrays and fronts of a choice to the page."""
        fronts = self.fronts_of(choice).values()
        cascades = [
            choice.models,
            *(point.models for point in self.splits.certified),
            *(models for front in fronts for models in front.table["models"][::-1]),
        ]
        sent = list(dict.fromkeys(cascades))[:MAX_CASCADES]
        with self.hold_sync():
            if not self.packed or not all(
                self.pack.shows(replace(choice, models=models)) for models in sent
            ):
                self.pack = Packed(self.splits, choice, sent)
                self.packed = self.pack.to_bytes({})
            self.details = json.dumps(self.describe(), ensure_ascii=False, allow_nan=False)
        for slider in self.sliders:
            slider.rescale(*self.pack.ends)

    def fronts_of(self, choice: Choice) -> dict[str, Front]:
        """Return the searched fronts of a method and score {cost|score|method|length: front}."""
        return {
            "|".join(map(str, kind)): front
            for kind, front in self.splits.fronts.items()
            if kind[1:3] == (choice.score, choice.method)
        }

    def describe(self) -> dict[str, Any]:
        """Return what the page needs in addition to the arrays: fronts, names, certificates."""
        splits = self.splits
        fronts = {}
        for kind, front in self.fronts_of(self.pack.choice).items():
            table = front.table
            fronts[kind] = {
                **table[["accuracy", "cost"]].to_dict("list"),
                "gap": float(np.nan_to_num(front.gap).max(initial=0)),
                "candidates": len(front.candidates),
                "rows": list(map(self.pack.row, table["models"], table["thresholds"])),
            }
        details: dict[str, Any] = {
            "state": self.state,
            "fronts": fronts,
            "lengths": splits.lengths,
            "methods": {name: in_words(name) for name in splits.methods},
            "scores": {name: in_words(name) for name in splits.scores},
            "paths": [store.path and short_path(store.path) for store in splits.stores.values()],
            "certificate": self.describe_certificates(),
        }
        if splits.images is not None:
            correct = [np.asarray(stage[0]) for stage in self.runs["validation"].outcomes]
            details["examples"] = describe_examples(
                splits.store, splits.images, select_examples(correct)
            )
        return details

    def describe_certificates(self) -> dict[str, Any] | None:
        """Return the guarantee, and the certified cascades of the current method."""
        certificates = self.splits.certificates
        if not certificates:
            return None
        task = self.pack.tasks[0]
        first = certificates[0]
        return {
            "promise": first.promise,
            "epsilon": first.terms.epsilon,
            "deltas": [certificate.terms.delta for certificate in certificates],
            "samples": first.samples,
            "assumption": first.terms.assumption,
            "rows": [
                self.pack.row(point.models, point.thresholds)
                for point in self.splits.certified
                if (point.method, point.score) == (task.method, task.score)
            ],
        }

    def _ipython_display_(self) -> None:
        """Display the cascade in words and as a figure and, in a front end, the widget below them.

        The widget hides both while it is shown. A saved notebook has only these two.
        """
        is_live = displays_widgets()
        for output in still_outputs(self.runs, self.front, self.state, is_live):
            display(output, raw=True)
        if is_live:
            bundle: Any = self._repr_mimebundle_()
            display({WIDGET_VIEW: bundle[0][WIDGET_VIEW]}, raw=True)  # without the long text form


def run_in_thread(work: Callable, finish: Callable) -> None:
    """Call ``work()`` in a thread and then ``finish(error)`` in the event loop, if there is one."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        finish(ThreadPoolExecutor(1).submit(work).exception())
        return
    loop.run_in_executor(None, work).add_done_callback(lambda done: finish(done.exception()))
