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
from operator import attrgetter
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as widgets
import numpy as np
import traitlets

from ..checks import brief, check_number, items_of, known
from ..evaluation.point import Point
from ..evaluation.run import Run, evaluate
from ..files import replacing, short_path
from ..front_end import displays_widgets
from ..fronts.front import Front
from ..fronts.selection import pick
from ..guarantees.certificate import Certificate
from ..guarantees.premises import premises_text
from ..policy.cascade_file import point_for_file
from ..policy.form import parts_as_json
from ..store.protocol import Store
from .examples import examples_of, shown_rows
from .packing import Packed
from .page import page_html, read_part, script, sentence, still_html
from .splits import ONE, Choice, ExploredSplits, as_state, state_in

STEPS = 1000  # of a slider
MOST_CASCADES = 60  # of a front whose outputs are packed prefix by prefix
IN_FILES = (2, 3)  # models, whose fronts every page has


def explore(
    store: Store,
    held_out: Store | None = None,
    images: Any = None,
    front: Front | None = None,
    state: str = "",
    certificate: Certificate | Sequence[Certificate] | None = None,
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
        paths, texts, or a data set of ``cl.datasets``. The page shows at most 400 of them as
        examples.
    front : Front, optional
        Result of a search of `store`, to start from. By default all pairs are searched.
    state : str, default=""
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
        If `held_out` lacks a model or has samples of the certificate, if the number of images
        differs from the number of samples, or if `state` names something that the splits do not
        have.

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
    certificates = [] if certificate is None else items_of(certificate)
    return Explorer(store, held_out, images, front, state, certificates)


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
    pack: Packed
    choice: Choice
    thresholds: tuple[float, ...] = ()
    sliders: Any = traitlets.List().tag(sync=True, **widgets.widget_serialization)

    def __init__(
        self,
        store: Store,
        held_out: Store | None,
        images: Any,
        front: Front | None,
        state: str,
        certificates: Sequence[Certificate],
    ) -> None:
        super().__init__()
        if images is not None and len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        self.splits = ExploredSplits(store, held_out, front, certificates)
        self.images = images
        self.sliders = [ThresholdSlider() for _ in range(max(self.splits.lengths) - 1)]
        self.observe(self.heard, "state")
        self.on_msg(self.asked)
        self.begin(front, state)
        for stage, slider in enumerate(self.sliders):
            slider.observe(partial(self.slid, stage), "value")

    def begin(self, front: Front | None, state: str) -> None:
        """At what ``state`` says; without one at the cheapest certified cascade, else at what
        matches the best single model, or is nearest to it, on the given front or on that of all
        pairs (of the one model there is)."""
        splits = self.splits
        if state:
            choice, thresholds, self.goal = state_in(state, splits)
        else:
            names = splits.store.models.index[:2]
            choice = splits.choice(names, splits.first, splits.costs[0], splits.scores[0])
            self.goal = {"goal": "near_best"}
            if front is None and splits.certified:
                point = min(splits.certified, key=attrgetter("cost"))
            else:
                point = pick(front or splits.search(choice), **self.goal, caution=0)
            choice = replace(choice, models=point.models)
            thresholds = point.thresholds
        self.choice = choice
        self.show(choice, thresholds)

    # What is known

    @property
    def point(self) -> Point:
        """The :class:`Point` on screen, as measured on the split that it is chosen on."""
        return self.runs["validation"].measured_point

    @property
    def front(self) -> Front | None:
        """The front of as many models as the present cascade has; None until it is searched."""
        return self.splits.fronts.get(self.choice.kind)

    @property
    def runs(self) -> dict[str, Run]:
        """What the present cascade comes to: {split: what :func:`cascadelib.evaluate` returns}."""
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

    # What code does

    def resize(self, n: int) -> None:
        """The best cascade of n models by the present goal; searched first where that is needed."""
        if n not in self.splits.lengths:
            raise ValueError(f"cascades have {self.splits.lengths} models here, not {brief(n)}")
        self.to(self.best(self.goal, n))

    def go(self, goal: dict) -> None:
        """To a point of the front, by the arguments of :func:`pick`: the goal from now on."""
        point = self.best(goal, len(self.choice.models))
        self.goal = goal
        self.to(point)

    def best(self, goal: dict, n: int) -> Point:
        """What a goal names on the front of n models."""
        choice = replace(self.choice, models=("",) * n)
        is_new = choice.kind not in self.splits.fronts
        front = self.splits.search(choice)
        if is_new:
            self.publish(self.choice)
        return pick(front, **goal, caution=0)

    def to(self, point: Point) -> None:
        """Show the cascade of a point of the present method, cost and score."""
        self.show(replace(self.choice, models=point.models), point.thresholds)

    def show(self, choice: Choice, thresholds: Sequence[float]) -> None:
        """Show a cascade at thresholds in own units, on the page and on the sliders."""
        self.state = as_state(choice, self.splits, thresholds, self.goal)
        for slider, name, threshold in zip(self.sliders, choice.models, thresholds):
            slider.description = name
            slider.value = float(np.clip(threshold, slider.min, slider.max))

    def slid(self, stage: int, change: Any) -> None:
        """Code moved a slider: so does the cascade."""
        slider = self.sliders[stage]
        asked = {slider.min: -math.inf, slider.max: math.inf}.get(change["new"], change["new"])
        at = list(self.thresholds)
        if not slider.is_told and stage < len(at) and at[stage] != asked:
            at[stage] = asked
            self.show(self.choice, at)

    def save_html(self, path: str | Path) -> Path:
        """Write the page at the present cascade as one file, which works without kernel, server or
        network; with the fronts of two and three models, and of others that were searched."""
        for n in IN_FILES:
            if n in self.splits.lengths:
                with suppress(ValueError):  # of three under F1 there is none
                    self.splits.search(replace(self.choice, models=("",) * n))
        self.publish(self.choice)
        runs = self.runs
        still = still_html(runs, self.state)
        packed = self.pack.to_bytes(self.beside_arrays() | {"state": self.state})
        title = f"Model cascades on {self.splits.store.origin.dataset or 'your data'}"
        with replacing(Path(path)) as place:
            place.write_text(page_html(title, packed, still), encoding="utf-8")
        return Path(path)

    # What a page does

    def heard(self, change: Any) -> None:
        """A page, or code, set the state."""
        try:
            self.choice, self.thresholds, self.goal = state_in(change["new"], self.splits)
        except ValueError as error:
            self.said = str(error)
            return
        if not self.packed or not self.pack.shows(self.choice):
            self.publish(self.choice)

    def asked(self, _: Any, message: dict, __: Any) -> None:
        """A page asks for what it lacks: the front of n models by a method, cost and score."""
        n = message.get("n")
        seconds = message.get("seconds")
        names = {kind: message.get(kind) for kind in ONE}
        try:
            choice = self.splits.choice(("",) * known(n, self.splits.lengths, "length"), **names)
            if seconds is not None:
                check_number(seconds, "seconds", "a number up to 3600", 0, 3600)
        except ValueError as error:
            self.said = str(error)
            return

        def ended(error: BaseException | None) -> None:
            if error is None:
                self.publish(replace(choice, models=self.choice.models))
            self.said = "" if error is None else f"the front could not be searched: {error}"

        self.said = f"searching:{n}"
        beside(partial(self.splits.search, choice, seconds), ended)

    def publish(self, choice: Choice) -> None:
        """Give the page what it needs to show a choice: arrays, fronts and what stands beside."""
        fronts = self.fronts_of(choice).values()
        offered = [
            choice.models,
            *(point.models for point in self.splits.certified),
            *(models for front in fronts for models in front.table["models"][::-1]),
        ]
        wanted = list(dict.fromkeys(offered))[:MOST_CASCADES]
        if not self.packed or not all(self.pack.shows(replace(choice, models=m)) for m in wanted):
            self.pack = Packed(self.splits, choice, wanted)
            self.packed = self.pack.to_bytes({})
        low, high = self.pack.ends
        step = (high - low) / STEPS or 1.0
        for slider in self.sliders:
            with slider.hold_trait_notifications():
                slider.set_trait("min", low - step)
                slider.set_trait("max", high + step)
                slider.set_trait("step", step)
        self.more = json.dumps(self.beside_arrays(), ensure_ascii=False, allow_nan=False)

    def fronts_of(self, choice: Choice) -> dict[str, Front]:
        """The searched fronts of a method and score: {cost|score|method|how many models: front}."""
        return {
            "|".join(map(str, kind)): front
            for kind, front in self.splits.fronts.items()
            if kind[1:3] == (choice.score, choice.method)
        }

    def beside_arrays(self) -> dict[str, Any]:
        """What the page has beside its arrays."""
        stores = self.splits.stores.values()
        fronts = {}
        for kind, front in self.fronts_of(self.pack.choice).items():
            table = front.table
            fronts[kind] = {
                "accuracy": table["accuracy"].tolist(),
                "cost": table["cost"].tolist(),
                "gap": float(front.gap.max(initial=0)),
                "rows": list(map(self.pack.row, table["models"], table["thresholds"])),
            }
        written: dict[str, Any] = {
            "fronts": fronts,
            "lengths": self.splits.lengths,
            "methods": list(self.splits.methods),
            "scores": self.splits.scores,
            "paths": [store.path and short_path(store.path) for store in stores],
            "policy": self.policy_parts(),
            "certificate": self.certified(),
        }
        if self.images is not None:
            correct = [np.asarray(stage[0]) for stage in self.runs["validation"].outcomes]
            rows = shown_rows(correct)
            written["examples"] = examples_of(self.splits.store, self.images, rows)
        return written

    def certified(self) -> dict[str, Any] | None:
        """What the page says of certificates: the promise, their cascades under the method on
        screen."""
        certificates = self.splits.certificates
        if not certificates:
            return None
        task = self.pack.tasks[0]
        first = certificates[0]
        return {
            "promise": first.promise,
            "epsilon": first.epsilon,
            "deltas": [certificate.delta for certificate in certificates],
            "samples": first.samples,
            "premises": premises_text(first.checked),
            "rows": [
                self.pack.row(point.models, point.thresholds)
                for point in self.splits.certified
                if (point.method, point.score) == (task.method, task.score)
            ],
        }

    def policy_parts(self) -> dict[str, Any] | None:
        """The parts of a policy's file as JSON text, of all models, from which the page makes that
        of a cascade; None for a method that no such file can hold."""
        task = self.pack.tasks[0]
        if task.method is not None and task.method.confidence is not None:
            return None
        point = Point(
            tuple(task.names),
            (math.inf,) * (len(task.names) - 1),
            method=task.method,
            score=task.score,
            selected_on=task.selected_on,
        )
        try:
            parts = parts_as_json(point_for_file(point, self.splits.store))
        except ValueError:  # a metric without a name
            return None
        as_text = partial(json.dumps, sort_keys=True)
        texts = {part: as_text(parts[part]) for part in ("method", "chosen_on", "versions")}
        return texts | {"models": list(map(as_text, parts["models"]))}

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; in a run without a front end a sentence."""
        if displays_widgets():
            return super()._repr_mimebundle_(**options)
        runs = self.runs
        return {"text/plain": sentence(runs), "text/html": still_html(runs, self.state)}


def beside(work: Any, ended: Any) -> None:
    """``work()`` in a thread, then in the event loop ``ended(error)``; without a loop one after the
    other."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        ended(ThreadPoolExecutor(1).submit(work).exception())
        return
    loop.run_in_executor(None, work).add_done_callback(lambda done: ended(done.exception()))
