"""Scores of many models on one labelled split: logits on disk or in memory, or a plain table."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .logit_store import LogitStore as LogitStore
    from .pairing import agreement as agreement
    from .pairing import check_same_task as check_same_task
    from .pairing import matched as matched
    from .score_table import ScoreTable as ScoreTable

__getattr__, __dir__, __all__ = attach(__name__)
