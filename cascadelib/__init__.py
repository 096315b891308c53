"""cascadelib: find, check and run cascades of pretrained classifiers (Lebovitz et al., TMLR
2023)."""

from typing import TYPE_CHECKING

from ._lazy import attach

if TYPE_CHECKING:  # for editors and mypy; tests compare it with the table below
    from . import (
        analysis as analysis,
        datasets as datasets,
        deployment as deployment,
        evaluation as evaluation,
        explorer as explorer,
        extraction as extraction,
        figures as figures,
        fronts as fronts,
        methods as methods,
        recipes as recipes,
        store as store,
        studies as studies,
        tables as tables,
        zoo as zoo,
    )
    from .analysis import (
        DriftSignal as DriftSignal,
        bootstrap as bootstrap,
        certify as certify,
        mean_improvement_moved as mean_improvement_moved,
        replay as replay,
        to_label as to_label,
    )
    from .deployment import Cascade as Cascade, Policy as Policy, answer_table as answer_table
    from .evaluation import (
        Baseline as Baseline,
        Point as Point,
        StreamBudget as StreamBudget,
        evaluate as evaluate,
        pareto_front as pareto_front,
    )
    from .explorer import demo as demo, explore as explore
    from .extraction import extract as extract
    from .files import __version__ as __version__
    from .front_end import has_front_end as has_front_end
    from .fronts import (
        Front as Front,
        ladder as ladder,
        pair_table as pair_table,
        peaks as peaks,
        pick as pick,
        search as search,
        search_arrays as search_arrays,
        search_outcomes as search_outcomes,
        warm as warm,
    )
    from .methods import (
        METHODS as METHODS,
        Method as Method,
        confidence as confidence,
        fit_temperature as fit_temperature,
    )
    from .sklearn import CascadeClassifier as CascadeClassifier
    from .store import LogitStore as LogitStore, ScoreTable as ScoreTable
    from .studies import published as published
    from .tables import readable as readable
    from .zoo import count_macs as count_macs

# The same names for Python, which reads no block that only editors do.
__getattr__, __dir__, __all__ = attach(
    __name__,
    modules=(
        "analysis datasets deployment evaluation explorer extraction figures fronts methods "
        "recipes store studies tables zoo"
    ),
    analysis="DriftSignal bootstrap certify mean_improvement_moved replay to_label",
    deployment="Cascade Policy answer_table",
    evaluation="Baseline Point StreamBudget evaluate pareto_front",
    explorer="demo explore",
    extraction="extract",
    files="__version__",
    front_end="has_front_end",
    fronts=("Front ladder pair_table peaks pick search search_arrays search_outcomes warm"),
    methods="METHODS Method confidence fit_temperature",
    store="LogitStore ScoreTable",
    sklearn="CascadeClassifier",
    studies="published",
    tables="readable",
    zoo="count_macs",
)
