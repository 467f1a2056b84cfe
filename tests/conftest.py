"""What holds for every test: no trace of the developer's own configuration, and no process left behind."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests import conditions, processes

FOREIGN = ("GIT_", "XDG_", "PERDURE_", "SSH_", "GPG_", "PYTHONUNBUFFERED")
"""Variables of the surrounding shell that would reach the code under test.
Without buffers a program that cannot write fails earlier than it does for users."""

GRACE = 3.0
"""Seconds that a process which is ending has after its test."""

IDENTITY = "Perdure Tests"
MAIL = "tests@perdure.invalid"

GIT_SETTINGS = {
    "init.defaultBranch": "main",
    "gc.auto": "0",  # git starts its housekeeping in the background: it would outlive the test
    "maintenance.auto": "false",
    "receive.autogc": "false",
}


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The environment of the whole session; yields the folder that holds one home a test."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:  # in the background, or under nohup: programs would inherit it
            signal.signal(number, handler)
    homes = tmp_path_factory.mktemp("homes")
    empty = homes / "gitconfig"
    empty.touch()
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN):
                patch.delenv(name)
        patch.setenv("GIT_CONFIG_GLOBAL", str(empty))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("GIT_TERMINAL_PROMPT", "0")
        patch.setenv("GIT_CONFIG_COUNT", str(len(GIT_SETTINGS)))
        for index, (key, value) in enumerate(GIT_SETTINGS.items()):
            patch.setenv(f"GIT_CONFIG_KEY_{index}", key)
            patch.setenv(f"GIT_CONFIG_VALUE_{index}", value)
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", IDENTITY)
            patch.setenv(f"GIT_{role}_EMAIL", MAIL)
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("TZ", "UTC")
        patch.setenv("HOME", str(homes))
        yield homes


_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def home(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home for this test alone, with the XDG folders below it."""
    folder = clean_environment / str(next(_numbers))
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    for name, below in (
        ("CONFIG", ".config"),
        ("DATA", ".local/share"),
        ("STATE", ".local/state"),
        ("CACHE", ".cache"),
    ):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder / below))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder / "run"))
    return folder


@pytest.fixture(autouse=True)
def no_process_left(home: Path) -> Iterator[None]:
    """Fails a test that ends while a process it started still lives, and ends that process.

    Found are the children of this process, and processes that carry the test's own home in their environment: those
    that have detached themselves. A process that is about to end is waited for.
    """
    before = {process.pid for process in processes.children()}
    ended = processes.ended_children()
    yield

    def left() -> frozenset[processes.Process]:
        detached: frozenset[processes.Process] = frozenset()
        if processes.ended_children() != ended:  # looking through every process costs too much for the pure tests
            detached = processes.with_environment("HOME", str(home))
        return detached | {process for process in processes.children() if process.pid not in before}

    with suppress(AssertionError):
        conditions.eventually(lambda: not left(), timeout=GRACE)
    leaked = left()
    for process in leaked:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    if leaked:
        named = ", ".join(f"{process.pid} ({process.command})" for process in sorted(leaked, key=lambda one: one.pid))
        pytest.fail(f"the test left processes behind: {named}", pytrace=False)
