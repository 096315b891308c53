"""The explorer's export: three texts to copy, one to save."""

import ipywidgets as widgets

from .point_export import as_call, as_json, as_row, download, row_html


class ExportBox(widgets.Tab):
    """Python call, JSON and table row of the present point. store, held_out: as :func:`cascadelib.explore` has them."""

    def __init__(self, store, held_out):
        self.store, self.held_out = store, held_out
        tall = widgets.Layout(width="100%", height="190px")
        self.call, self.json = (widgets.Textarea(layout=tall, disabled=False) for _ in range(2))
        self.row, self.link = widgets.HTML(), widgets.HTML()
        parts = [self.call, widgets.VBox([self.json, self.link]), self.row]
        super().__init__(parts, titles=["Python", "JSON", "table row"])

    def show(self, point, held_out_reading):
        """Show a point; held_out_reading: its Reading on the held-out split, or None."""
        self.call.value = as_call(point, self.store)
        self.json.value = text = as_json(point, self.store, self.held_out)
        self.link.value = download(text, "cascade.json")
        self.row.value = row_html(as_row(point, held_out_reading))
