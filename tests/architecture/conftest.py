"""A report at the end of a run: modules that are on their way to being too long."""

from __future__ import annotations

import pytest

from tests.architecture import shape, sources


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    long = shape.module_sizes(sources.repository(), limit=shape.MODULE_LINES_SOFT)
    if long:
        terminalreporter.section(f"modules over {shape.MODULE_LINES_SOFT} lines ({shape.MODULE_LINES} is the limit)")
        for violation in long:
            terminalreporter.line(f"{violation.path}: {violation.problem.split(',')[0]}")
