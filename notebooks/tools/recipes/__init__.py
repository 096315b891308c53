"""Earlier recipes for cascades, to compare with the exact front: one file per family of systems."""

from cascadelib._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    big_little="park_2015_dynamic",
    chains="replay_points",
    ensemble_intervals="inoue_2019",
    envelope="oracle",
    greedy="streeter_2018",
    idk_cascades="wang_2018",
    multi_scale="huang_2018",
    shared_threshold="shared_threshold_front",
    patience="zhou_2020",
)
