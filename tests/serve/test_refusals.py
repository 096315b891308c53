"""Invalid calls of a service, its monitor, its drift signal and its budget are refused."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from deciding import decide
from faulty_server import POINT
from policies import POINT as THREE
from policies import TABLE
from watched_policy import WATCHED, record_of

from cascadelib import Cascade, Method, Point, Policy
from cascadelib.serve import AuditRecord, DriftSignal, Monitor, Service, StreamBudget

PAIR = Policy(POINT)
RISING = np.linspace(0, 1, 100)
SINGLE = replace(THREE, models=("m0",), thresholds=(), exit_rates=(1.0,))


def run_service(cost=1.0, **options):
    calls = [lambda rows: (rows, [0.9] * len(rows), cost)] * 2
    return decide(PAIR, calls, range(3), **options)


def serve_members(**options):
    """Create a service of a cascade with models that are never called."""
    point = Point(("a", "b"), (0.5,), method=Method())
    cascade = Cascade.from_point(point, dict.fromkeys(point.models, len))
    return Service(cascade.policy, cascade, **options)


def serve_another_method():
    point = Point(("a", "b"), (0.5,), method=Method())
    cascade = Cascade.from_point(point, dict.fromkeys(point.models, len))
    return Service(Policy(replace(point, method=Method("entropy"))), cascade)


def recertify(models, audited):
    monitor = Monitor(Point(models, (0.5,) * (len(models) - 1)))
    for number in range(audited):
        record = record_of(number, [0.9], audited=True)
        monitor.observe([record, AuditRecord(number, "yes")])
    return monitor.recertify(0.03)


def check_drift(live):
    return DriftSignal((RISING, RISING[:40])).check(live)


def create_budget(budget=50.0, cascade=THREE, rate=0.005):
    return StreamBudget(TABLE, cascade, budget, rate)


REFUSALS = [
    (partial(run_service, ids=["a"]), "3 ids are needed"),
    (partial(run_service, ids=[None, 1.5, 2]), "3 ids are needed, texts or whole numbers"),
    (partial(run_service, timeout=0), "timeout must be seconds"),
    (partial(run_service, deadline=-1), "deadline must be seconds"),
    (partial(run_service, queue=0), "queue must be a whole number of 1"),
    (partial(run_service, retries=-1), "retries must be a whole number of 0"),
    (partial(run_service, concurrency=0), "concurrency must be"),
    (partial(run_service, concurrency=-1), "concurrency must be"),
    (partial(run_service, audit=1.5), "audit must be a share"),
    (partial(run_service, on_error="ignore"), "unknown on_error 'ignore'"),
    (partial(run_service, confidence_range=(1, 0)), "confidence_range must be"),
    (partial(run_service, timeout={"huge": 1}), "unknown model of this cascade 'huge'"),
    (partial(run_service, reference="huge"), "unknown model of this policy 'huge'"),
    (partial(run_service, cost=[1.0, 2.0]), "model 'small': costs must be"),
    (partial(run_service, cost="dear"), "model 'small': costs must be"),
    (partial(run_service, monitor=Monitor(THREE)), "another cascade"),
    (partial(serve_members, timeout=1.0), "apply to functions"),
    (partial(serve_members, labels=[1]), "apply to functions"),
    (partial(serve_members, on_error="next"), "apply to functions"),
    (partial(serve_members, retries=1), "apply to functions"),
    (serve_another_method, "entropy.*but the service runs.*max_softmax"),
    (partial(Monitor(WATCHED).merge, Monitor(THREE)), "another cascade"),
    (partial(Monitor(WATCHED).failing, 0), "most must be between 0 and 1"),
    (Monitor(POINT).drift, "no expected figures"),
    (partial(recertify, ("a", "b", "c"), 200), "a policy of two models, not 3"),
    (partial(recertify, ("a", "b"), 99), "100 audited inputs or more, not 99"),
    (partial(DriftSignal, (np.empty(0),)), "no sample"),
    (partial(DriftSignal, (np.ones(5),), 1.0), "between 0 and 1"),
    (partial(check_drift, [np.ones(50)]), "1 stages, but the reference has 2"),
    (partial(check_drift, [np.ones(50), np.ones(51)]), "no more samples than the previous"),
    (partial(check_drift, [np.array([0.5, np.nan]), np.ones(1)]), "nan"),
    (partial(create_budget, 1.0), "between 1 and 111, not 1"),
    (partial(create_budget, 111.0), "between 1 and 111"),
    (partial(create_budget, np.nan), "not nan"),
    (partial(create_budget, rate=0.0), "rate must be"),
    (partial(create_budget, cascade=SINGLE), "two or more models"),
    (partial(create_budget().update, [3]), "exit_stage must be a list of stages from 0 to 2"),
    (partial(create_budget().update, [-1]), "exit_stage must be a list"),
    (partial(create_budget().update, [0.5]), "exit_stage must be a list"),
    (partial(create_budget().update, 1), "exit_stage must be a list"),
    (partial(create_budget().update, ["first"]), "exit_stage must be a list"),
    (partial(create_budget().update, [0, 1], [1.0]), "costs of 2 inputs are needed"),
    (partial(create_budget().update, [0, 1], [1.0, np.nan]), "costs of 2 inputs are needed"),
    (partial(create_budget().update, [0, 1], [1.0, -1.0]), "costs of 2 inputs are needed"),
    (partial(create_budget().update, [0, 1], ["a", "b"]), "costs must be real numbers"),
]


@pytest.mark.parametrize(("call", "message"), REFUSALS)
def test_invalid_calls_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("arguments", [([3],), ([0, 1], [1.0, -1.0])])
def test_a_refused_update_does_not_change_a_budget(arguments):
    budget = create_budget()
    level = budget.level
    with pytest.raises(ValueError):
        budget.update(*arguments)
    assert (budget.samples, budget.level) == (0, level) and np.isnan(budget.mean_cost)
