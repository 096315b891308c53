"""A plugin of pytest: the seconds and the processor time of each test, in build/durations.json.

In CI a browser test that was skipped fails the run, since dragging sliders is a core feature.
"""

import json
import os
import resource
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[1] / "build" / "durations.json"
SHOWN = 10


def processor_time():
    """Return the processor seconds of this process and of its children that have ended."""
    both = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


class Durations:
    """Measure the tests of a process, and add up what all workers report."""

    def __init__(self, config):
        self.config = config
        self.begun = 0.0
        self.workers = 0.0
        self.tests = {}
        self.unseen = set()

    def pytest_runtest_logstart(self):
        self.begun = processor_time()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item):
        """Add the processor time since the last report of this process, and the marker."""
        report = yield
        now = processor_time()
        report.cpu = now - self.begun
        self.begun = now
        report.needs_browser = item.get_closest_marker("browser") is not None
        return report

    def pytest_runtest_logreport(self, report):
        seconds, cpu = self.tests.get(report.nodeid, (0.0, 0.0))
        self.tests[report.nodeid] = seconds + report.duration, cpu + getattr(report, "cpu", 0.0)
        if report.skipped and getattr(report, "needs_browser", False):
            self.unseen.add(report.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        self.workers += getattr(node, "workeroutput", {}).get("cpu", 0.0)

    def pytest_sessionfinish(self, session):
        if hasattr(self.config, "workeroutput"):
            self.config.workeroutput["cpu"] = processor_time()
        elif self.unseen and os.environ.get("CI"):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if not self.tests:
            return
        slowest = sorted(self.tests.items(), key=lambda item: -item[1][1])
        rows = [
            {"test": name, "seconds": round(seconds, 2), "cpu": round(cpu, 2)}
            for name, (seconds, cpu) in slowest
        ]
        FILE.parent.mkdir(exist_ok=True)
        FILE.write_text(json.dumps(rows, indent=0), encoding="utf-8")
        write = terminalreporter.write_line
        # Workers are children of this process, and report their own time.
        total = self.workers or processor_time()
        terminalreporter.section(f"{total:.0f} s of processor time; all tests: build/{FILE.name}")
        for row in rows[:SHOWN]:
            write(f"{row['cpu']:7.1f} s of processor time, {row['seconds']:6.1f} s  {row['test']}")
        if self.unseen and os.environ.get("CI"):
            write(f"CI needs a browser: {len(self.unseen)} browser tests were skipped", red=True)
