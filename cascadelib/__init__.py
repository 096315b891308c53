"""cascadelib: find, check and run cascades of pretrained classifiers (Lebovitz et al., TMLR 2023)."""

from . import (
    datasets,
    display,
    figures,
    glue_models,
    published,
    published_figures,
    recipes,
    study,
    tables,
    task_figures,
    task_tables,
    zoo,
)
from .agreement import agreement
from .bootstrap import bootstrap
from .calibration import fit_temperature
from .cascade import Cascade
from .comparison import compare, fronts_of
from .confidence import confidence
from .costs import count_macs
from .curves import pair_curve, pair_table, partial_ranks
from .drift import holds, mean_improvement_moved, replay
from .drift_signal import DriftSignal
from .evaluation import evaluate
from .explorer import Explorer, explore
from .extraction import extract
from .front import Front, Point
from .guarantee import certify
from .methods import METHODS, Method
from .pareto import Baseline, pareto_front
from .rechoosing import selection_bias
from .scores import ScoreTable
from .search import search, shared_threshold_front
from .selection import hold_out, peaks, pick
from .store import LogitStore
from .stream_budget import StreamBudget
from .tables import readable
from .verification import same_decisions

__all__ = [
    "Baseline",
    "Cascade",
    "DriftSignal",
    "Explorer",
    "Front",
    "LogitStore",
    "METHODS",
    "Method",
    "Point",
    "ScoreTable",
    "StreamBudget",
    "agreement",
    "bootstrap",
    "certify",
    "compare",
    "confidence",
    "count_macs",
    "datasets",
    "display",
    "evaluate",
    "explore",
    "extract",
    "figures",
    "fit_temperature",
    "fronts_of",
    "glue_models",
    "hold_out",
    "holds",
    "mean_improvement_moved",
    "pair_curve",
    "pair_table",
    "partial_ranks",
    "pareto_front",
    "peaks",
    "pick",
    "published",
    "published_figures",
    "readable",
    "recipes",
    "replay",
    "same_decisions",
    "search",
    "selection_bias",
    "shared_threshold_front",
    "study",
    "tables",
    "task_figures",
    "task_tables",
    "zoo",
]
