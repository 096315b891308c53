"""What a file keeps of samples: forms of ids, digests, columns of numbers."""

import numpy as np
import pytest

from cascadelib.contents import KEY, MOST_FORMS, Contents, forms_of


@pytest.mark.parametrize(
    ("ids", "count"),
    [
        (["img_1.png", "img_22.png"], 1),
        (["a1", "b1"], 2),
        (["00ff00ffa1", "deadbeef99"], 1),
        ([f"{chr(97 + n)}x" for n in range(MOST_FORMS + 1)], 1),
    ],
)
def test_ids_that_differ_in_numbers_have_one_form(ids, count):
    assert len(np.frombuffer(forms_of(np.array(ids)), KEY)) == count


def test_each_model_gives_equally_many_columns_of_numbers():
    columns = {"a": [np.arange(3.0), np.array(["x", "y", "z"])], "b": [np.ones(3)] * 9}
    contents = Contents(columns, columns.__getitem__)
    assert contents.columns(["b", "a"]).tolist() == [[0, 1, 2], [1, 1, 1], [1, 1, 1]]
    assert contents.columns(["b"]).shape == (4, 3)
    assert contents.columns([]) is None
    assert contents.columns(["c"]) is None
    assert Contents(columns, None).columns(["a"]) is None
