"""Buttons that go to a point of the front: largest improvement, the best single model, a budget, an accuracy."""

import ipywidgets as widgets

SIZES = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def amount(text):
    """ "11.5M" as 11500000.0, with k, M, G or T or without; ValueError where it is no number."""
    text = text.strip()
    size = SIZES.get(text[-1:], 1)
    return float(text.rstrip("kMGT") if size > 1 else text) * size


def share(text):
    """ "94.2%", "94.2" or "0.942" as 0.942; ValueError where it is no number."""
    text = text.strip()
    per_cent = text.endswith("%") or float(text) > 1
    return float(text.removesuffix("%") + "e-2") if per_cent else float(text)  # 94.2 / 100 is not 0.942


class GoalButtons(widgets.HBox):
    """``wanted(goal)`` is called with the arguments of :func:`cascadelib.pick` as a dict, ``undone()`` for undo.

    ``failed(message)`` is called where a box holds no number.
    """

    def __init__(self, wanted, undone, failed):
        self.wanted, self.failed = wanted, failed
        self.budget, self.accuracy = (
            widgets.Text(placeholder=example, continuous_update=False, layout=widgets.Layout(width="84px"))
            for example in ("e.g. 11M", "e.g. 94.2%")
        )
        self.goals = {
            "largest improvement": lambda: {"goal": "max_improvement"},
            "match the best single model": lambda: {"goal": "match_best"},
            "this budget": lambda: {"budget": amount(self.budget.value)},
            "this accuracy": lambda: {"accuracy": share(self.accuracy.value)},
        }
        self.buttons = {
            label: widgets.Button(description=label, layout=widgets.Layout(width="auto")) for label in self.goals
        }
        for label, button in self.buttons.items():
            button.on_click(lambda _, label=label: self.go(label))
        self.undo = widgets.Button(description="undo", layout=widgets.Layout(width="auto"), disabled=True)
        self.undo.on_click(lambda _: undone())
        best, match, budget, accuracy = self.buttons.values()
        super().__init__([best, match, self.budget, budget, self.accuracy, accuracy, self.undo])
        self.layout.flex_flow = "row wrap"

    def go(self, label):
        try:
            goal = self.goals[label]()
        except ValueError:
            self.failed(f"{label}: write a number such as 11M, 94.2% or 0.942")
            return
        self.wanted(goal)

    def enable(self, ready):
        """Allow the goals once there is a front to pick from."""
        for button in self.buttons.values():
            button.disabled = not ready
