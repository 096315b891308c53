"""cascadelib: find, check and run cascades of pretrained classifiers (Lebovitz et al., TMLR
2023)."""

from typing import TYPE_CHECKING

from ._lazy import attach

if TYPE_CHECKING:  # for editors and mypy; tests compare it with the table below
    from . import (
        analysis as analysis,
        datasets as datasets,
        evaluation as evaluation,
        explorer as explorer,
        extraction as extraction,
        figures as figures,
        fronts as fronts,
        guarantees as guarantees,
        methods as methods,
        monitoring as monitoring,
        policy as policy,
        published as published,
        store as store,
        zoo as zoo,
    )
    from .analysis import (
        bootstrap as bootstrap,
        mean_improvement_moved as mean_improvement_moved,
        replay as replay,
    )
    from .evaluation import (
        Baseline as Baseline,
        Point as Point,
        evaluate as evaluate,
        pareto_front as pareto_front,
    )
    from .explorer import demo as demo, explore as explore
    from .extraction import extract as extract
    from .files import __version__ as __version__
    from .fronts import (
        Front as Front,
        pair_table as pair_table,
        peaks as peaks,
        pick as pick,
        search as search,
        search_arrays as search_arrays,
        search_outcomes as search_outcomes,
        warm as warm,
    )
    from .guarantees import certify as certify, ladder as ladder, to_label as to_label
    from .methods import (
        METHODS as METHODS,
        Method as Method,
        confidence as confidence,
        fit_temperature as fit_temperature,
    )
    from .monitoring import is_audited as is_audited, monitor as monitor
    from .policy import Cascade as Cascade, Policy as Policy, answer_table as answer_table
    from .sklearn import CascadeClassifier as CascadeClassifier
    from .store import (
        LogitStore as LogitStore,
        ScoreTable as ScoreTable,
    )
    from .zoo import count_macs as count_macs

# The same names at run time, when the block above is skipped.
__getattr__, __dir__, __all__ = attach(
    __name__,
    modules=(
        "analysis datasets evaluation explorer extraction figures fronts guarantees methods "
        "monitoring policy published store zoo"
    ),
    analysis="bootstrap mean_improvement_moved replay",
    evaluation="Baseline Point evaluate pareto_front",
    explorer="demo explore",
    extraction="extract",
    files="__version__",
    fronts=("Front pair_table peaks pick search search_arrays search_outcomes warm"),
    guarantees="certify ladder to_label",
    methods="METHODS Method confidence fit_temperature",
    monitoring="is_audited monitor",
    policy="Cascade Policy answer_table",
    store="LogitStore ScoreTable",
    sklearn="CascadeClassifier",
    zoo="count_macs",
)
