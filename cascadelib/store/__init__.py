"""Scores of many models on one labelled split: logits on disk or in memory, or a plain table."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    logit_store="LogitStore",
    protocol="Store",
    score_file="ScoreFile",
    score_table="ScoreTable",
    splits="open_split open_splits",
)
