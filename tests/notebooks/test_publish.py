"""Figures of executed notebooks become vector graphics, and tables become LaTeX."""

import nbformat
import pandas as pd
import plotly.graph_objects as go
import pytest

from cascadelib.figures.style import PLOTLY_JSON
from cascadelib.tables import readable
from tools import publish

new = nbformat.v4


def test_a_table_is_a_tabular_with_escaped_text():
    table = pd.DataFrame({"cost_ratio": [1.5], "a & b": ["50%, 2×"]}, ["m_1"])
    text = publish.latex_table(readable(table)._repr_html_())
    assert text.startswith("\\begin{tabular}{lll}\n")
    assert text.endswith("\\end{tabular}\n")
    assert r"m\_1 & 1.5 & 50\%, 2$\times$ \\" in text
    assert text.splitlines()[2] == r"\hline" and r"a \& b" in text.splitlines()[1]


@pytest.mark.browser
def test_each_figure_and_table_has_a_file(tmp_path):
    figure = {"data": [{"y": [1, 2]}], "layout": go.Figure().layout.to_plotly_json()}
    shown = [new.new_output("display_data", {PLOTLY_JSON: figure}) for _ in range(2)]
    page = pd.DataFrame({"a": [1]})._repr_html_()
    table = new.new_output("execute_result", {"text/html": page}, execution_count=1)
    outputs = {"charts": shown, "table": [table]}
    cells = [new.new_code_cell(outputs=found, id=name) for name, found in outputs.items()]
    path = tmp_path / "10_paper.ipynb"
    nbformat.write(new.new_notebook(cells=cells), path)
    found = publish.publish([path], tmp_path / "out")
    names = sorted(place.name for place in found)
    assert names == ["10_paper-charts-1.svg", "10_paper-charts-2.svg", "10_paper-table.tex"]
    assert found[-1].read_text(encoding="utf-8").startswith("<svg")
