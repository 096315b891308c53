"""The explorer in a notebook: a widget around the page's module, which evaluates by itself; the
kernel searches fronts and knows the point."""

import asyncio
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from ..analysis.certificate import Certificate
from ..checks import brief
from ..deployment.cascade_file import point_for_file
from ..deployment.form import parts_as_json, threshold_to_json
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from ..files import replacing, short_path
from ..front_end import has_front_end
from ..fronts.front import Front
from ..fronts.selection import pick
from ..store.protocol import Store
from .address import as_state, state_in
from .examples import examples_of, shown_rows
from .packing import Packed
from .page import page_html, read_part, script, sentence, still_html, still_svg
from .splits import Choice, ExploredSplits

SENT_ON = 0.2  # by a stage that a cascade gains
STEPS = 1000  # of a slider
MOST_CASCADES = 60  # of a front whose outputs are packed prefix by prefix
IN_FILES = (2, 3)  # models, whose fronts every page has
TITLE = "Model cascades, interactively"


def explore(
    store: Store,
    held_out: Store | None = None,
    images: Any = None,
    front: Front | None = None,
    state: str = "",
    certificate: Certificate | None = None,
) -> "Explorer":
    """A page to drag the thresholds of cascades of ``store``, with the same cascade on ``held_out``
    beside it.

    ``.point`` is the present cascade, a :class:`Point`; ``.front`` the front of as many models;
    ``.sliders`` one ipywidget per threshold; ``.save_html(path)`` writes the page as one file.

    Parameters
    ----------
    store : LogitStore or ScoreTable
        The split that cascades are chosen on.
    held_out : LogitStore or ScoreTable, optional
        Another split, with all models of the first.
    images : sequence, optional
        The inputs of ``store`` in its order, of which at most 400 are shown as examples: arrays
        [h, w], [h, w, 3] or [3, h, w], PIL images, paths, texts, or a data set of ``cl.datasets``.
    front : Front, optional
        Found on ``store``, to start from instead of searching all pairs.
    state : str
        What another explorer's ``.state`` says, or what stands after # in its page's address, to
        open at the same cascade and thresholds.
    certificate : Certificate, optional
        Whose certified cascades are marked. The page says what is promised of them, and of no
        other cascade.

    Returns
    -------
    Explorer

    Raises
    ------
    TypeError
        For what is not a store.
    ValueError
        Where ``held_out`` lacks a model or has samples that the certificate has seen, the number of
        images is not that of the samples, or ``state`` (which the message names) says anything that
        these splits do not have.
    """
    return Explorer(store, held_out, images, front, state, certificate)


class ThresholdSlider(widgets.FloatSlider):
    """The threshold of one stage, in its metric's own units; the least and the largest value of
    ``min`` … ``max`` that a metric's confidences have stand for the two ends, always and never.

    heard: called with the new value when code, not a page, changes it.
    """

    def __init__(self, **options: Any) -> None:
        self.is_told = False
        super().__init__(**options)

    def set_state(self, sync_data: dict) -> None:
        """What a page says."""
        self.is_told = True
        super().set_state(sync_data)
        self.is_told = False


class Explorer(anywidget.AnyWidget):
    """See :func:`explore`."""

    _esm = script() + "\nexport default { render }\n"
    _css = read_part("page.css")
    packed = traitlets.Bytes().tag(sync=True)
    more = traitlets.Unicode("{}").tag(sync=True)
    state = traitlets.Unicode().tag(sync=True)
    said = traitlets.Unicode().tag(sync=True)
    sliders: Any = traitlets.List().tag(sync=True, **widgets.widget_serialization)

    def __init__(
        self,
        store: Store,
        held_out: Store | None,
        images: Any,
        front: Front | None,
        state: str,
        certificate: Certificate | None,
    ) -> None:
        super().__init__()
        if images is not None and len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        self.splits = ExploredSplits(store, held_out, front, certificate)
        self.images = images
        self.goal: dict[str, Any] = {"goal": "near_best"}
        self.choice, thresholds = self.begin(front, state)
        self.pack = Packed(self.splits, self.choice, self.offered())
        self.sliders = [ThresholdSlider() for _ in range(max(self.splits.lengths) - 1)]
        self.state = as_state(self.choice, self.pack.tasks[0].metric, thresholds, self.goal)
        self.publish()
        self.show(self.choice, thresholds)
        for stage, slider in enumerate(self.sliders):
            slider.observe(partial(self.slid, stage), "value")
        self.observe(self.heard, "state")
        self.on_msg(self.asked)

    def begin(self, front: Front | None, state: str) -> tuple[Choice, tuple[float, ...]]:
        """What ``state`` says; without one what matches the best single model, or is nearest to it,
        on the given front or on that of all pairs (of the one model there is)."""
        if state:
            choice, thresholds, self.goal = state_in(state, self.splits)
            return choice, thresholds
        names = tuple(self.splits.store.models.index[:2])
        choice = Choice(names, self.splits.first, self.splits.costs[0], self.splits.scores[0])
        point = pick(front or self.splits.search(choice), **self.goal, caution=0)
        return replace(choice, models=point.models), point.thresholds

    # What is known

    @property
    def point(self) -> Point:
        """The :class:`Point` on screen, as measured on the split that it is chosen on."""
        return self.runs["validation"].measured_point

    @property
    def front(self) -> Front | None:
        """The front of as many models as the present cascade has; None until it is searched."""
        return self.splits.front_of(self.choice)

    @property
    def runs(self) -> dict[str, Run]:
        """What the present cascade comes to: {split: what :func:`cascadelib.evaluate` returns}."""
        choice, thresholds, _ = state_in(self.state, self.splits)
        task = self.splits.task("validation", choice)
        point = Point(
            choice.models,
            thresholds,
            method=task.method,
            score=choice.score,
            cost_kind=choice.cost,
            found_on=task.found_on,
        )
        stores = self.splits.stores
        return {split: evaluate(store, point) for split, store in stores.items()}

    # What code does

    def resize(self, n: int) -> None:
        """The best cascade of n models by the present goal; searched first where that is needed."""
        if n not in self.splits.lengths:
            raise ValueError(f"cascades have {self.splits.lengths} models here, not {brief(n)}")
        choice = replace(self.choice, models=("",) * n)
        front = self.splits.front_of(choice) or self.splits.search(choice)
        self.to(pick(front, **self.goal, caution=0))

    def go(self, goal: dict) -> None:
        """To a point of the front, by the arguments of :func:`pick`: the goal from now on."""
        point = pick(self.front or self.splits.search(self.choice), **goal, caution=0)
        self.goal = goal
        self.to(point)

    def to(self, point: Point) -> None:
        """Show the cascade of a point of the present method, cost and score."""
        self.publish(point.models)
        self.show(replace(self.choice, models=point.models), point.thresholds)

    def show(self, choice: Choice, thresholds: Sequence[float]) -> None:
        """Show a cascade at thresholds in own units, on the page and on the sliders."""
        self.choice = choice
        metric = self.pack.tasks[0].metric
        self.state = as_state(choice, metric, thresholds, self.goal)
        for slider, name, threshold in zip(self.sliders, choice.models, thresholds):
            slider.description = name
            slider.value = float(np.clip(threshold, slider.min, slider.max))

    def slid(self, stage: int, change: Any) -> None:
        """Code moved a slider: so does the cascade."""
        slider = self.sliders[stage]
        choice, thresholds, _ = state_in(self.state, self.splits)
        asked = {slider.min: -math.inf, slider.max: math.inf}.get(change["new"], change["new"])
        if slider.is_told or stage >= len(thresholds) or thresholds[stage] == asked:
            return
        at = [*thresholds[:stage], asked, *thresholds[stage + 1 :]]
        self.state = as_state(choice, self.pack.tasks[0].metric, at, self.goal)

    def save_html(self, path: str | Path) -> Path:
        """Write the page at the present cascade as one file, which works without kernel, server or
        network; with the fronts of two and three models, and of others that were searched."""
        for n in IN_FILES:
            choice = replace(self.choice, models=("",) * n)
            if n in self.splits.lengths and self.splits.front_of(choice) is None:
                with suppress(ValueError):  # of three under F1 there is none
                    self.splits.search(choice)
        self.publish()
        runs = self.runs
        still = still_html(runs, self.front, self.state)
        more = json.loads(self.more) | {"state": self.state}
        text = page_html(TITLE, self.pack.to_bytes(more), still)
        with replacing(Path(path)) as place:
            place.write_text(text, encoding="utf-8")
        return Path(path)

    # What a page does

    def heard(self, change: Any) -> None:
        """A page, or code, set the state."""
        try:
            choice, _, self.goal = state_in(change["new"], self.splits)
        except ValueError as error:
            self.said = str(error)
            return
        is_other = (choice.method, choice.score) != (self.choice.method, self.choice.score)
        self.choice = choice
        holds = self.pack.holds(choice.models)
        if is_other or not holds:
            self.publish(choice.models)

    def asked(self, _: Any, message: dict, __: Any) -> None:
        """A page asks for what it lacks: the front of n models by a method, cost and score."""
        there = {
            "method": self.splits.methods,
            "score": self.splits.scores,
            "cost": self.splits.costs,
        }
        names: dict[str, Any] = {kind: message.get(kind) for kind in there}
        seconds = message.get("seconds")
        n = message.get("n")
        if any(names[kind] not in names_there for kind, names_there in there.items()):
            return
        if n not in self.splits.lengths or not (seconds is None or 0 < seconds <= 3600):
            return
        choice = Choice(("",) * n, **names)

        def search() -> None:
            if seconds is not None or self.splits.front_of(choice) is None:
                self.splits.search(choice, seconds)

        def ended(error: BaseException | None) -> None:
            self.choice = replace(choice, models=self.choice.models)
            if error is None:
                self.publish()
            self.said = "" if error is None else f"the front could not be searched: {error}"

        self.said = f"searching:{n}"
        beside(search, ended)

    def offered(self, *more: tuple[str, ...]) -> list[tuple[str, ...]]:
        """Cascades that the page can evaluate where a method's outputs depend on whole prefixes."""
        wanted = [self.choice.models, *more]
        certificate = self.splits.certificate
        if certificate is not None:
            wanted += [point.models for point in certificate.certified]
        for kind, front in self.splits.fronts.items():
            if kind[1:3] == (self.choice.score, self.choice.method):
                wanted += list(front.table["models"])[::-1]
        return list(dict.fromkeys(filter(all, wanted)))[:MOST_CASCADES]

    def publish(self, models: tuple[str, ...] = ()) -> None:
        """Give the page its arrays, fronts and whatever is shown beside; models: of a cascade that it
        must hold."""
        pack = self.pack
        is_other = (pack.choice.method, pack.choice.score) != (
            self.choice.method,
            self.choice.score,
        )
        wanted = self.offered(models)
        if is_other or not all(map(pack.holds, wanted)):
            self.pack = pack = Packed(self.splits, self.choice, wanted)
        ends = [output["ends"] for output in pack.outputs.values()]
        low = float(np.min(ends))
        high = float(np.max(ends))
        step = (high - low) / STEPS or 1.0
        for slider in self.sliders:
            with slider.hold_trait_notifications():
                slider.set_trait("min", low - step)
                slider.set_trait("max", high + step)
                slider.set_trait("step", step)
        if is_other or not self.packed:
            self.packed = pack.to_bytes({})
        self.more = json.dumps(self.beside_arrays(), ensure_ascii=False, allow_nan=False)

    def beside_arrays(self) -> dict[str, Any]:
        """What the page has beside its arrays."""
        stores = self.splits.stores.values()
        written: dict[str, Any] = {
            "fronts": {
                "|".join(map(str, kind)): self.front_in_short(front)
                for kind, front in self.splits.fronts.items()
                if kind[1:3] == (self.choice.score, self.choice.method)
            },
            "lengths": self.splits.lengths,
            "methods": list(self.splits.methods),
            "scores": self.splits.scores,
            "paths": [store.path and short_path(store.path) for store in stores],
            "policy": self.policy_parts(),
            "certificate": self.certified(),
        }
        if self.images is not None:
            written["examples"] = self.examples()
        return written

    def front_in_short(self, front: Front) -> dict[str, Any]:
        """A front's rows as the page reads them."""
        table = front.table
        rows = [
            self.cascade_in_short(models, thresholds, front.method)
            for models, thresholds in zip(table["models"], table["thresholds"])
        ]
        return {
            "accuracy": table["accuracy"].tolist(),
            "cost": table["cost"].tolist(),
            "gap": float(front.gap.max(initial=0)),
            "rows": rows,
        }

    def cascade_in_short(self, models: Any, thresholds: Any, method: Any) -> list:
        """[models (positions), thresholds (own units), cuts or null where it is not packed]."""
        units = None if method is None else method.units
        written = [threshold_to_json(units, threshold) for threshold in thresholds]
        cuts = self.pack.cuts(models, thresholds)
        row = list(map(self.pack.names.index, models))
        return [row, written, cuts]

    def certified(self) -> dict[str, Any] | None:
        """What the page says of a certificate: its promise, its cascades under the method that was
        certified, and how many labels without a loss it would take."""
        certificate = self.splits.certificate
        if certificate is None:
            return None
        task = self.pack.tasks[0]
        needed = None
        if certificate.epsilon:
            each = math.log1p(-certificate.epsilon)  # of a sample without a loss
            needed = math.ceil(math.log(certificate.delta) / each)
        return {
            "promise": certificate.promise,
            "epsilon": certificate.epsilon,
            "delta": certificate.delta,
            "samples": certificate.samples,
            "checked": certificate.overlap_checked,
            "needed": needed,
            "rows": [
                self.cascade_in_short(point.models, point.thresholds, point.method)
                for point in certificate.certified
                if point.method == task.method and point.score == task.score
            ],
        }

    def examples(self) -> list[dict[str, Any]]:
        """Inputs to show, chosen for the present cascade."""
        run = self.runs["validation"]
        correct = [np.asarray(each[0]) for each in run.outcomes]
        rows = shown_rows(correct)
        return examples_of(self.splits.store, self.images, rows)

    def policy_parts(self) -> dict[str, Any] | None:
        """The parts of a policy's file as JSON text, of all models, from which the page makes that of
        a cascade; None for a method that no such file can hold."""
        task = self.pack.tasks[0]
        method = task.method
        if method is not None and method.confidence is not None:
            return None
        point = Point(tuple(task.names), (math.inf,) * (len(task.names) - 1), method=method)
        point = replace(point, score=task.score, found_on=task.found_on)
        try:
            written = point_for_file(point, self.splits.store)
            parts = parts_as_json(written)
        except ValueError:  # a metric without a name
            return None
        kept = ("method", "chosen_on", "versions")
        texts: dict[str, Any] = {part: json.dumps(parts[part], sort_keys=True) for part in kept}
        records = [parts["models"][task.names.index(name)] for name in self.pack.names]
        texts["models"] = [json.dumps(record, sort_keys=True) for record in records]
        return texts

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; in a run without a front end a picture and a sentence."""
        if has_front_end():
            return super()._repr_mimebundle_(**options)
        runs = self.runs
        svg = still_svg(runs, self.front, self.state)
        text = sentence(runs)
        return {"text/plain": text, "image/svg+xml": svg}


def beside(work: Any, ended: Any) -> None:
    """``work()`` in a thread, then in the event loop ``ended(error)``; without a loop one after the
    other."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        ended(ThreadPoolExecutor(1).submit(work).exception())
        return
    loop.run_in_executor(None, work).add_done_callback(lambda done: ended(done.exception()))
