"""Monitor a running cascade from its log: exits, cost, failures, drift, and the loss."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    audit="audited_table is_audited renew_policy",
    report="Report monitor",
    rows="log_rows",
    schema="SCHEMA",
)
