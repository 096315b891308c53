"""Exact search: the Pareto front over all cascades and all thresholds, and points picked from it."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .exact import search as search
    from .exact import search_arrays as search_arrays
    from .exact import search_outcomes as search_outcomes
    from .exact import shared_threshold_front as shared_threshold_front
    from .front import Front as Front
    from .front import Point as Point
    from .pairs import Curve as Curve
    from .pairs import pair_curve as pair_curve
    from .pairs import pair_table as pair_table
    from .pairs import partial_ranks as partial_ranks
    from .selection import hold_out as hold_out
    from .selection import peaks as peaks
    from .selection import pick as pick

__getattr__, __dir__, __all__ = attach(__name__)
