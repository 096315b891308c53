"""cascadelib: find, check and run cascades of pretrained classifiers (Lebovitz et al., TMLR 2023)."""

from . import datasets, display, figures, zoo
from .agreement import agreement
from .calibration import fit_temperature
from .confidence import confidence
from .costs import count_macs
from .curves import pair_curve, pair_table
from .evaluation import evaluate
from .extraction import extract
from .front import Front, Point
from .methods import METHODS, Method
from .pareto import Baseline, pareto_front
from .scores import ScoreTable
from .search import search
from .selection import hold_out, peaks, pick
from .store import LogitStore
from .tables import readable

__all__ = [
    "METHODS",
    "Baseline",
    "Front",
    "LogitStore",
    "Method",
    "Point",
    "ScoreTable",
    "agreement",
    "confidence",
    "count_macs",
    "datasets",
    "display",
    "evaluate",
    "extract",
    "figures",
    "fit_temperature",
    "hold_out",
    "pair_curve",
    "pair_table",
    "pareto_front",
    "peaks",
    "pick",
    "readable",
    "search",
    "zoo",
]
