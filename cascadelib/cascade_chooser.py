"""Which cascade is explored: how many models and which, by what method, cost and score."""

from dataclasses import dataclass

import ipywidgets as widgets

from .tables import fraction, number


@dataclass(frozen=True)
class Choice:
    """A cascade without its thresholds: names in the order they run, and names of method, cost and score."""

    models: tuple[str, ...]
    method: str
    cost: str
    score: str


def replaced(models, position, name, cost):
    """The models by rising cost once ``name`` stands at ``position``; taken twice, it swaps places.

    cost: Series from model to cost.
    """
    chosen = [models[position] if m == name else m for m in models]
    chosen[position] = name
    return tuple(sorted(chosen, key=cost.get))


def resized(models, exit_rates, n, cost):
    """The cascade with n models: those that fewest inputs leave at go first, but never the last.

    What comes in is the nearest dearer model beyond the last one, else the dearest that is free. cost: Series from
    model to cost, cheapest first.
    """
    models, rates, names = list(models), list(exit_rates), list(cost.index)
    while len(models) > n:
        least = min(range(len(models) - 1), key=rates.__getitem__)
        del models[least], rates[least]
    while len(models) < n:
        dearer = names[names.index(models[-1]) + 1 :]
        models.append(dearer[0] if dearer else [m for m in names if m not in models][-1])
        models.sort(key=cost.get)
    return tuple(models)


def listed(label, options, width, label_width):
    """A list to choose from."""
    part = widgets.Dropdown(options=options, description=label, layout=widgets.Layout(width=width))
    part.style.description_width = label_width
    return part


class CascadeChooser(widgets.VBox):
    """Buttons and lists that show a :class:`Choice` and tell what of it is to change.

    lengths: how many models there may be; methods, costs, scores: names to choose from. Called on a change:
    ``resize(n)``, ``replace_model(position, name)``, ``change(kind, name)`` with kind "method", "cost" or "score".
    """

    def __init__(self, lengths, methods, costs, scores, resize, replace_model, change):
        self.quiet = False
        names = [(f"{n} model" + "s" * (n > 1), n) for n in lengths]
        self.number = widgets.ToggleButtons(options=names, style={"button_width": "84px"})
        self.models = [listed(f"{i + 1}", (), "345px", "20px") for i in range(max(lengths))]
        self.lists = {
            "method": listed("method", methods, "320px", "56px"),
            "cost": listed("cost", costs, "160px", "36px"),
            "score": listed("score", scores, "140px", "40px"),
        }
        line = widgets.Layout(flex_flow="row wrap", align_items="center")
        settings = widgets.HBox([self.number, *self.lists.values()], layout=line)
        super().__init__([settings, widgets.HBox(self.models, layout=line)])
        self.on(self.number, resize)
        for i, part in enumerate(self.models):
            self.on(part, lambda name, i=i: replace_model(i, name))
        for kind, part in self.lists.items():
            self.on(part, lambda name, kind=kind: change(kind, name))

    def on(self, part, listener):
        """Call ``listener(new value)`` when a hand, not :meth:`show`, changes a part."""
        part.observe(lambda news: None if self.quiet else listener(news["new"]), "value")

    def show(self, choice, singles):
        """Show a choice. singles: accuracy and cost of each model, cheapest first, as the lists show them."""
        self.quiet = True
        rows = zip(singles.index, singles["accuracy"], singles["cost"])
        options = tuple((f"{name} · {fraction(a)} · {number(c)}", name) for name, a, c in rows)
        self.number.value = len(choice.models)
        for part, name in zip(self.models, (*choice.models, *[None] * len(self.models))):
            part.layout.display = "none" if name is None else "flex"
            if name is not None:
                if part.options != options:
                    part.options = options
                part.value = name
        for kind, part in self.lists.items():
            part.value = getattr(choice, kind)
        self.quiet = False
