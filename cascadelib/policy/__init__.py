"""Run a chosen cascade: its policy file, its models and its decisions."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    answering="AnsweredTable answer_table",
    cascade="Cascade",
    cascade_file="expected_figures",
    decisions="FAILURES Decisions most_given",
    form="parse_cascade text_of",
    policy="Policy",
)
