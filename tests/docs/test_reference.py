"""The reference is current: what is generated is not stale, and what is written by hand names the values of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import agent
from agent import cgroups, workspace
from agent import cli as agent_cli
from reconciler import annotate, data
from reconciler.cli import main as perdure
from reconciler.cli import running
from reconciler.core import ends, failures, reasons, retention, rules_idle, rules_live, situation, spec
from reconciler.ledger import notes, wire
from reconciler.link import server
from reconciler.load import layout, nodes, text
from reconciler.storage import manifest, names
from reconciler.wire import protocol
from tests.docs import pages

REFERENCE = pages.ROOT / "docs" / "reference"

LIMITS = (
    ("1 MiB", text.DOCUMENT_BYTES == 1 << 20),
    ("20,000 values", nodes.NODES == 20_000),
    ("64 levels", nodes.DEPTH == 64),
    ("100 aliases", nodes.ALIASES == 100),
    ("20,000 documents", text.DOCUMENTS == 20_000),
    ("| a file | 64 MiB", layout.FILE_BYTES == 64 << 20),
    ("250,000;", names.MOST_FILES == 250_000),
    ("16 TiB", names.LARGEST_FILE == 16 << 40),
    ("| 32;", manifest.DEEPEST == 32),
    ("64 MiB an attempt", workspace.SEGMENT * workspace.SEGMENTS == 64 << 20),
    ("256 KiB", notes.LARGEST == 256 << 10),
    ("| 1,000 |", server.Pace().calls == 1000),
    ("16 MiB", protocol.MESSAGE_BYTES == 16 << 20),
    ("after 15 seconds", running.SILENCE == 15.0),
    ("16,384", cgroups.PIDS == 16_384),
    ("within 10 seconds", situation.Budgets().launch_window == 10.0),
    ("| 10 seconds |", spec.Assignment.__dataclass_fields__["grace"].default == 10.0),
    ("| 1 hour |", retention.GRACE == 3600.0),
)


def test_generated_parts_are_not_stale() -> None:
    script = pages.ROOT / "scripts" / "reference.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


@pytest.mark.parametrize(("words", "holds"), LIMITS)
def test_limits_are_those_of_the_code(words: str, holds: bool) -> None:
    assert holds, f"the page says {words!r}"
    assert words in (REFERENCE / "limits.md").read_text()


def test_each_command_is_told() -> None:
    told = pages.anchors(REFERENCE / "command-line.md")
    assert {f"perdure-{row.name}" for section in perdure.SECTIONS for row in section.rows} <= told
    assert {f"perdure-agent-{name}" for name in agent_cli.cli.commands} <= told


def test_the_variables_of_a_job_are_told() -> None:
    source = (Path(agent.__file__).parent / "workspace.py").read_text()
    told = (REFERENCE / "job-environment.md").read_text()
    assert set(re.findall(r'"(PERDURE_[A-Z_]+)"', source)) <= set(re.findall(r"`(PERDURE_[A-Z_]+)`", told))


def test_every_reason_and_failure_is_told() -> None:
    told = (REFERENCE / "reasons.md").read_text()
    assert {name for name in reasons.TABLE if f"| `{name}` |" not in told} == set()
    assert {name for name in failures.MACHINE if f"| `{name}` |" not in told} == set()


def test_the_files_of_the_ledger_are_told() -> None:
    told = (REFERENCE / "ledger.md").read_text()
    paths = (wire.run_path("abRUN").replace("abRUN", "RUN"), wire.OBSERVED, wire.INSTANCE, wire.REVOKED)
    assert {path for path in paths if f"`{path}`" not in told} == set()
    assert {name for name in wire.TOP if name not in told} == set()
    assert annotate.PUBLISH_EVERY == 3600.0, "the page says: at least hourly"


def test_each_kind_has_a_page_that_begins_with_an_example() -> None:
    for schema in (Path(data.__file__).parent / "schemas").glob("*.json"):
        if schema.stem in ("config", "perdure"):
            continue
        page = REFERENCE / f"{schema.stem}.md"
        first = pages.blocks(page)[0]
        assert (first.language, "kind: " in first.text) == ("yaml", True), page


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("## A run with a live attempt", rules_live.TABLE),
        ("Why an attempt is ended", ends.TABLE),
        ("## A run without a live attempt", rules_idle.TABLE),
    ],
)
def test_the_rules_are_told_in_their_order(heading: str, table: tuple[Callable[..., object], ...]) -> None:
    told = (pages.ROOT / "docs" / "explanation" / "how-it-decides.md").read_text().partition(heading)[2]
    rows = told.partition("|---|")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` ", rows, re.MULTILINE) == [rule.__name__.lstrip("_") for rule in table]
