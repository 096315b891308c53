"""The strip of real inputs under the explorer's charts."""

from html import escape

import ipywidgets as widgets

from .examples import counts_of, example_html, example_rows, strip_html


class ExampleStrip(widgets.HTML):
    """Inputs of the first split that exit, are repaired, are broken; each drawn once and kept.

    store: LogitStore or ScoreTable with k samples; images: a sequence of k inputs, see :func:`examples.example_html`,
    or a data set of :mod:`cascadelib.datasets`. Raises ValueError where their number is not k.
    """

    def __init__(self, store, images):
        if len(images) != len(store):
            raise ValueError(f"{len(images)} images for the {len(store)} samples of the store")
        super().__init__()
        self.store, self.images, self.drawn = store, images, {}

    def show(self, models, cascade, reading):
        """Show examples of a cascade of ``models``."""
        rows = example_rows(cascade, reading)
        every = sorted({row for chosen in rows.values() for row in chosen.tolist()})
        for row in every:
            if row not in self.drawn:
                self.drawn[row] = example_html(self.item(row), row)
        captions = {row: self.caption(models, row) for row in every}
        self.value = strip_html(rows, counts_of(cascade, reading), self.drawn, captions)

    def item(self, row):
        """One input: of a data set, or of a sequence."""
        return self.images.batch(row, row + 1)[0] if hasattr(self.images, "batch") else self.images[row]

    def caption(self, models, row):
        """The label, and what each of the models alone answers."""
        if not hasattr(self.store, "labels"):
            return f"sample {row}"
        answers = [self.named(self.store.logits(model)[row].argmax()) for model in models]
        return f"<b>{escape(self.named(self.store.labels[row]))}</b><br>" + " → ".join(map(escape, answers))

    def named(self, number):
        """A class by its name where the store knows it."""
        return str(number) if self.store.classes is None else str(self.store.classes[number])
