"""cascadelib: find, check and run cascades of pretrained classifiers (Lebovitz et al., TMLR
2023)."""

from typing import TYPE_CHECKING

from ._lazy import attach

if TYPE_CHECKING:  # for editors and mypy; tests compare it with the table below
    from . import analysis as analysis
    from . import datasets as datasets
    from . import deployment as deployment
    from . import evaluation as evaluation
    from . import explorer as explorer
    from . import extraction as extraction
    from . import figures as figures
    from . import fronts as fronts
    from . import methods as methods
    from . import recipes as recipes
    from . import store as store
    from . import studies as studies
    from . import tables as tables
    from . import zoo as zoo
    from .analysis import DriftSignal as DriftSignal
    from .analysis import bootstrap as bootstrap
    from .analysis import certify as certify
    from .analysis import mean_improvement_moved as mean_improvement_moved
    from .analysis import replay as replay
    from .analysis import to_label as to_label
    from .deployment import Cascade as Cascade
    from .deployment import Policy as Policy
    from .deployment import answer_table as answer_table
    from .evaluation import Baseline as Baseline
    from .evaluation import Point as Point
    from .evaluation import StreamBudget as StreamBudget
    from .evaluation import evaluate as evaluate
    from .evaluation import pareto_front as pareto_front
    from .explorer import demo as demo
    from .explorer import explore as explore
    from .extraction import extract as extract
    from .files import __version__ as __version__
    from .front_end import has_front_end as has_front_end
    from .fronts import Front as Front
    from .fronts import ladder as ladder
    from .fronts import pair_table as pair_table
    from .fronts import peaks as peaks
    from .fronts import pick as pick
    from .fronts import search as search
    from .fronts import search_arrays as search_arrays
    from .fronts import search_outcomes as search_outcomes
    from .fronts import warm as warm
    from .methods import METHODS as METHODS
    from .methods import Method as Method
    from .methods import confidence as confidence
    from .methods import fit_temperature as fit_temperature
    from .sklearn import CascadeClassifier as CascadeClassifier
    from .store import LogitStore as LogitStore
    from .store import ScoreTable as ScoreTable
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
