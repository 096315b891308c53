"""A chosen cascade that runs: its file, its members, its statistics, its budget."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .cascade import Cascade as Cascade
    from .cascade import Decisions as Decisions
    from .cascade import same_decisions as same_decisions
    from .cascade_file import expected as expected
    from .cascade_file import point_of as point_of
    from .monitoring import Running as Running
    from .policy import Policy as Policy
    from .policy import parse_cascade as parse_cascade
    from .stream_budget import StreamBudget as StreamBudget
    from .timing import pieces_of as pieces_of
    from .timing import savings as savings
    from .timing import time_cascade as time_cascade

__getattr__, __dir__, __all__ = attach(__name__)
