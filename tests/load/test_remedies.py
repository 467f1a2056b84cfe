"""What a problem says to write is taken when it is written."""

from __future__ import annotations

import re

import pytest

from reconciler import load
from reconciler.core import model
from tests.load import fixtures

HABITS = (
    "timeout: 1h 30m",
    "timeout: 2 weeks",
    "timeout: 90",
    "resources: {memory: 4GB}",
    "resources: {memory: 8}",
    "retries: 3",
    "restore: latest",
    "checkpoint: false",
    "checkpoint: {interval: None}",
    "checkpoint: {on: notice}",
    "workload: {code: code, command: [a]}",
    "workload: {command: sleep 10}",
    "workload: {command: sh -c 'echo \"it works\" yes'}",
    "workload: {command: [a], env: [A=b c, B=]}",
    "workload: {command: [a], env: [{name: A, value: 1}]}",
)


def problems(lines: str) -> list[model.Problem]:
    manifest = fixtures.job(extra=lines)
    manifest = re.sub(r"  workload: \{command: \[run\]\}\n", "", manifest) if lines.startswith("workload") else manifest
    return list(load.revision(fixtures.with_infrastructure({"job.yaml": manifest})).problems)


@pytest.mark.parametrize("lines", HABITS)
def test_the_remedy_works_as_it_is_told(lines: str) -> None:
    (found,) = problems(lines)
    written = re.sub(r"^write it as a (?:list|mapping): |^write ", "", found.fix).split(", or ")[0]
    key = re.sub(r"\[\d+\]$", "", found.message.split(":")[0].split(" ")[0]).rsplit(".", 1)[-1]
    before, _, after = lines.partition(f"{key}: ")
    left = re.sub(r"^(?:\[[^\]]*\]|[^,}]*)", "", after) if "{" in before else ""
    assert problems(f"{before}{key}: {written}{left}") == [], f"{before}{key}: {written}{left}"
