"""How answers look: whole on any terminal, harmless, and the same for machines."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.cli import main, output
from reconciler.core import quantities
from tests.cli.site import Site
from tests.conditions import eventually

HEADER = ("JOB", "PHASE", "REASON")
ROWS = [("train", "running", "Running"), ("a-job-of-a-long-name", "failed", "Failed")]


def test_columns_are_as_wide_as_their_longest_cell() -> None:
    lines = output.columns(HEADER, ROWS).splitlines()
    assert lines[0] == "JOB                   PHASE    REASON"
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in lines[1:]] == [
        "train                 running  Running",
        "a-job-of-a-long-name  failed   Failed",
    ]


def test_what_does_not_fit_is_written_below_itself_and_never_cut() -> None:
    text = re.sub(r"\x1b\[\d*m", "", output.columns(HEADER, ROWS, fit=20))
    assert text == ("train\n  phase: running\n  reason: Running\n\na-job-of-a-long-name\n  phase: failed\n  reason: Failed")


def test_what_others_say_does_not_drive_the_terminal() -> None:
    assert output.clean("one\ntwo\x1b[2Jthree\r") == "one two [2Jthree "


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (10**9, "954 MiB"), (2**40, "1.0 TiB"), (None, "")]
)
def test_sizes(count: int | None, text: str) -> None:
    assert output.size(count) == text


def test_moments_are_rfc_3339_in_utc() -> None:
    assert output.moment(1795392128.9) == "2026-11-23T00:02:08Z"
    assert output.moment(None) is None


@pytest.mark.parametrize("seconds", [1e308, -1e308, 2.0**63, 253402300800.0, float("inf")])
def test_a_moment_that_no_calendar_has_is_told_all_the_same(seconds: float) -> None:
    told = output.moment(seconds)
    assert told == ("9999-12-31T23:59:59Z" if seconds > 0 else "0001-01-01T00:00:00Z")
    assert output.clock(seconds)


def test_a_moment_after_the_end_of_the_calendar_here_is_told_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """9999 is what people write for "never"."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    try:
        time.tzset()
        assert output.clock(quantities.moment("9999-12-31T23:59:59Z")) == "9999-12-31T23:59:59Z"
        assert output.clock(0.0) == "1970-01-01 09:00:00"
    finally:
        monkeypatch.undo()
        time.tzset()


OWN_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""A program that makes its terminal its own, so that Ctrl-C reaches it as a signal, and becomes another one."""


def on_a_terminal(command: list[str], cwd: Path, columns: int, until: bytes = b"", **variables: str) -> str:
    """Run a command on a terminal of its own and return what it shows; Ctrl-C is pressed once it has shown `until`."""
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm", **variables}
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL, *command],
        cwd=cwd,
        env=environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    pressed: list[int] = []

    def over() -> bool:
        nonlocal shown, until
        if until and until in shown:
            os.write(master, b"\x03")
            until = b""
            pressed.append(130)
        try:
            shown += os.read(master, 65536)
        except OSError:  # the other end is closed: it is over
            return True
        return False

    eventually(over, timeout=60, interval=0)
    os.close(master)
    assert process.wait(30) == (pressed or [0])[0], shown
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_of_twenty_columns_shows_everything(site: Site) -> None:
    site.job("a-job-of-a-long-name")
    site.push()
    shown = on_a_terminal(site.arguments("status"), site.root, 20)
    assert "a-job-of-a-long-name\n  phase: " in shown
    assert "reason: TargetUnknown" in shown
    assert "Traceback" not in on_a_terminal(site.arguments("why", "a-job-of-a-long-name"), site.root, 20)
    assert "reconcile" in on_a_terminal(site.arguments("--help"), site.root, 20)


def test_top_is_a_screen_until_ctrl_c(site: Site) -> None:
    site.job("a-job")
    site.push()
    shown = on_a_terminal(site.arguments("top"), site.root, 100, until=b"a-job")
    assert "\x1b[?1049h" in shown, "a screen of its own"


def test_colour_is_for_terminals_that_want_it(site: Site) -> None:
    site.job()
    site.push()
    assert "\x1b[33mpending" in on_a_terminal(site.arguments("status"), site.root, 100)
    assert "\x1b" not in on_a_terminal(site.arguments("status"), site.root, 100, NO_COLOR="1")
    assert "\x1b" not in site.run("status").stdout


def test_yaml_says_the_same_as_json(site: Site) -> None:
    import yaml

    site.job()
    site.push()
    told = yaml.safe_load(site.run("status", "-o", "yaml").stdout)
    assert told["jobs"] == site.json("status")["jobs"]


def test_help_is_quick_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = "import sys; from reconciler.cli import main; main.run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60)
    loaded = set(done.stderr.split())
    assert not loaded & {"grpc", "rich", "yaml", "git", "cryptography", "msgspec", "reconciler.cli.compose", "agent"}
    assert all(row.text in " ".join(done.stdout.split()) for section in main.SECTIONS for row in section.rows)


def test_a_command_that_finds_nothing_wrong_imports_no_schema_library_and_no_wire(site: Site, tmp_path: Path) -> None:
    site.job()
    site.push()
    words = ["status", "--config", str(site.config), "--repo", str(site.repository), "--data", str(site.data)]
    code = f"import sys; from reconciler.cli import main; main.run({words!r}); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60)
    loaded = set(done.stderr.split())
    assert "reconciler.load.violations" in loaded
    assert not loaded & {"grpc", "jsonschema", "docker", "agent"}
