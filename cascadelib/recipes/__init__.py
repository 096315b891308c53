"""Earlier recipes for cascades, beside the exact front."""

from typing import TYPE_CHECKING

from .._lazy import attach

if TYPE_CHECKING:
    from .earlier import all_recipes as all_recipes
    from .earlier import compare_recipes as compare_recipes
    from .earlier import excess_cost as excess_cost
    from .earlier import inoue_2019 as inoue_2019
    from .earlier import park_2015 as park_2015
    from .earlier import streeter_2018 as streeter_2018
    from .earlier import wang_2018 as wang_2018
    from .earlier import wang_2022 as wang_2022
    from .oracles import oracle as oracle

__getattr__, __dir__, __all__ = attach(__name__)
