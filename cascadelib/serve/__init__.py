"""Run a policy in a service: many callers, monitoring without labels, a controlled mean cost."""

from .._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    modules="http",
    drift_signal="DriftReport DriftSignal",
    monitor="Monitor",
    records="AuditRecord Record read_log",
    renewal="Renewal",
    service="Service",
    stages="DeadlineExceeded Overloaded",
    stream_budget="StreamBudget",
)
