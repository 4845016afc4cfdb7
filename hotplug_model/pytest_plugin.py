"""The pytest plugin: regression traces as tests, and a trace from every failing machine.

Every pytest run loads this module: it imports neither Hypothesis nor numpy, nor any other
module of this project before there is something to do.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from hotplug_model.machine import Broken
    from hotplug_model.trace import Trace

REGRESSIONS = "regressions"
"""A JSON file in a directory of this name is a test."""
TRACE_PROPERTY = "hotplug_trace"
"""Name of the report property that carries a trace's path from worker to controller."""
OPTIONS_PROPERTY = "hotplug_replay_options"
"""Name of the report property with the options that replaying the trace needs."""


class NotAsRecorded(Exception):
    """A regression trace does not do what it says; the text is the whole failure."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--hotplug-traces``."""
    group = parser.getgroup("hotplug-model")
    group.addoption(
        "--hotplug-traces",
        metavar="DIR",
        help="where failing state machines write their minimal traces "
        "(default: a folder in the pytest cache)",
    )


# Regressions


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> RegressionFile | None:
    """Collect ``regressions/*.json``."""
    if file_path.suffix == ".json" and file_path.parent.name == REGRESSIONS:
        return RegressionFile.from_parent(parent, path=file_path)
    return None


class RegressionFile(pytest.File):
    """A trace file."""

    def collect(self) -> Iterator[pytest.Item]:
        """One test, named after the file."""
        yield RegressionItem.from_parent(self, name=self.path.stem)


class RegressionItem(pytest.Item):
    """The text is canonical, mainline survives the trace, and the named kernel does not."""

    def runtest(self) -> None:
        """Replay the file, without Hypothesis."""
        verify_regression(self.path.read_text(encoding="utf-8"))

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str:
        """One reason; the project's own errors need no traceback."""
        if isinstance(excinfo.value, NotAsRecorded | OSError | UnicodeError):
            return f"{self.path}: {excinfo.value}"
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Where the test is."""
        return self.path, None, f"regression {self.name}"


def verify_regression(text: str) -> None:
    """Raise :class:`NotAsRecorded` unless the trace does what it says."""
    from hotplug_model.errors import UserError  # noqa: PLC0415
    from hotplug_model.trace import Trace  # noqa: PLC0415

    try:
        trace = Trace.loads(text)
    except UserError as error:
        raise NotAsRecorded(str(error)) from None
    if text != trace.dumps():
        raise NotAsRecorded(
            "the text is not canonical; rewrite it as Trace.loads(text).dumps() gives it"
        )
    verify_mainline(trace)
    verify_named_kernel(trace)


def verify_mainline(trace: Trace) -> None:
    """Mainline survives the trace, unless the trace is about a known defect of mainline."""
    from dataclasses import replace  # noqa: PLC0415

    from hotplug_model.changes import KernelVariant  # noqa: PLC0415
    from hotplug_model.trace import replay  # noqa: PLC0415

    about_mainline = trace.release is None and not trace.changes
    if about_mainline and trace.strict:
        return
    index, violations = replay(replace(trace, strict=False), KernelVariant())
    if index is not None:
        where = "its boot" if index < 0 else f"step {index + 1}"
        raise NotAsRecorded(f"mainline does not survive {where}: {violations[0]}")


def verify_named_kernel(trace: Trace) -> None:
    """The named kernel breaks at the last event, with exactly the named invariants."""
    from hotplug_model.trace import broken, replay  # noqa: PLC0415

    index, violations = replay(trace)
    if trace.says(index, violations):
        return
    wanted = says(trace.violates, len(trace.events) - 1 if trace.violates else None)
    raise NotAsRecorded(
        f"{trace.variant()} should {wanted}, but this happens: {says(broken(violations), index)}"
    )


def says(names: tuple[str, ...], index: int | None) -> str:
    """A verdict in words."""
    if index is None:
        return "hold"
    where = "at boot" if index < 0 else f"at step {index + 1}"
    return f"break {', '.join(names)} {where}"


# Failing state machines


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Write the trace of a machine that broke, and draw it below the failure."""
    report = yield
    found = broken_in(call.excinfo.value) if call.excinfo is not None else None
    if found is not None:
        keep_trace(found, item, report)
    return report


def broken_in(error: BaseException) -> Broken | None:
    """The broken machine that *error* is or holds, if any."""
    module = sys.modules.get("hotplug_model.machine")
    if module is None:
        return None
    if isinstance(error, BaseExceptionGroup):
        return next((b for inner in error.exceptions if (b := broken_in(inner))), None)
    return error if isinstance(error, module.Broken) else None


def keep_trace(found: Broken, item: pytest.Item, report: pytest.TestReport) -> None:
    """Minimise the trace, write it, and say so in the report of the test."""
    from dataclasses import replace  # noqa: PLC0415

    from hotplug_model.certify import certify  # noqa: PLC0415
    from hotplug_model.report.counterexample import page  # noqa: PLC0415
    from hotplug_model.trace_file import TraceFile, replay_options  # noqa: PLC0415

    shortest = certify(found.trace)
    title = f"{shortest.variant()}: {found.violations[0].message}"
    trace = replace(shortest, title=title, found={**shortest.found, "test": item.nodeid})
    kept = TraceFile(trace_directory(item.config))
    path = kept.write(trace)
    if path is None:
        report.sections.append(("hotplug-model", f"{kept.problem}; the trace:\n{trace.dumps()}"))
    else:
        options = shlex.join(replay_options(trace))
        report.user_properties += [(TRACE_PROPERTY, str(path)), (OPTIONS_PROPERTY, options)]
    lines = page(trace, None if path is None else str(path))
    report.sections.append(("hotplug-model counterexample", "\n".join(map(str, lines))))


def trace_directory(config: pytest.Config) -> Path:
    """Where ``--hotplug-traces`` says, by default a folder in the pytest cache."""
    wanted = config.getoption("--hotplug-traces")
    if wanted:
        return Path(wanted).absolute()
    cache = getattr(config, "cache", None)
    if cache is not None:
        return Path(cache.mkdir("hotplug-traces"))
    return config.rootpath / "hotplug-traces"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the traces that were written, here or by workers; end with how to replay them."""
    reports = (
        report
        for category in terminalreporter.stats.values()
        for report in category
        if isinstance(report, pytest.TestReport)
    )
    written: dict[str, list[str]] = {}
    for report in reports:
        properties = dict(report.user_properties)
        if TRACE_PROPERTY in properties:
            if not written:
                terminalreporter.section("hotplug-model traces")
            path = str(properties[TRACE_PROPERTY])
            terminalreporter.write_line(f"{report.nodeid}: {path}")
            written.setdefault(str(properties[OPTIONS_PROPERTY]), []).append(path)
    for options, paths in written.items():
        words = ["hotplug-model replay", *([options] if options else []), shlex.join(paths)]
        terminalreporter.write_line(f"replay: {' '.join(words)}")
