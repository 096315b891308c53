"""Published accuracies have binomial draws. The values are tested with the ledger."""

import numpy as np
import pytest

from tools.claims.published import IMAGES_V2, evidence


def test_losses_on_v2_have_binomial_errors():
    found = evidence()["shift-lose"]
    errors = np.std(found.draws, axis=0)
    assert found.samples == IMAGES_V2 and len(found.value) == 27
    assert errors.mean() == pytest.approx(np.sqrt(0.7 * 0.3 / IMAGES_V2), rel=0.5)
