"""The bundled answers of two language models."""

import runpy

import pandas as pd

import cascadelib as cl
from cascadelib.datasets import language_models
from cascadelib.files import ROOT


def test_the_bundled_answers_form_a_table_that_is_certified():
    answers = cl.datasets.llm_answers()
    table = cl.ScoreTable.from_frame(answers, label="label", prediction="prediction")
    assert len(table) == 3_000 and list(table.models.index) == ["llama-3.1-8b", "llama-3.3-70b"]
    assert table.models["top1"].tolist()[1] == 1
    certify_on = table.take(slice(1, None, 2))
    certificate = cl.certify(certify_on, cl.search(table.take(slice(0, None, 2))), epsilon=0.02)
    assert certificate.point.models == tuple(table.models.index)
    assert certificate.point.saving > 1.5


def test_the_script_reproduces_the_bundled_answers():
    path = ROOT / "data" / "semantic-sql" / "bundle.py"
    script = runpy.run_path(str(path), run_name="bundle")
    pd.testing.assert_frame_equal(script["bundled"](), language_models.llm_answers())
