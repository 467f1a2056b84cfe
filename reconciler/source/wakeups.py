"""Reasons to look at the source again: time has passed, or files have changed. A wake-up carries nothing: newest state wins."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from reconciler.contracts.clock import Clock
from reconciler.seams.git import address

JITTER = 0.1
"""Part of the interval by which polls differ, so that many reconcilers do not ask one server together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """A folder whose changes count, and which of them."""

    folder: Path
    counts: Callable[[Path], bool]


def refs(path: Path) -> Watch:
    """Watch the branches and tags of a repository on this machine. Our own refs, which we write ourselves, do not count."""
    folder = address.git_directory(path) / "refs"
    desired = (folder / "heads", folder / "tags")
    return Watch(
        folder=folder,
        counts=lambda changed: changed.suffix != ".lock" and any(one in changed.parents for one in desired),
    )


def files(folder: Path, without: Path) -> Watch:
    """Watch a working folder, except what is in `without` (our data, should it lie there) and in folders named .git."""
    return Watch(
        folder=folder,
        counts=lambda changed: ".git" not in changed.parts and changed != without and without not in changed.parents,
    )


def stream(clock: Clock, poll: float, watch: Watch | None) -> Iterator[None]:
    """Yield about every `poll` seconds and after changes. Changes while nobody looks are one wake-up: a mailbox of size one.

    A folder that cannot be watched is polled only.
    """
    mailbox = threading.Event()
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(watch, mailbox, stop), name="perdure-watch", daemon=True)
    if watch is not None:
        watcher.start()
    try:
        while True:
            clock.wait(poll * random.uniform(1 - JITTER, 1 + JITTER), until=mailbox)
            mailbox.clear()
            yield
    finally:
        stop.set()
        if watch is not None:
            watcher.join()


def _watch(watch: Watch, mailbox: threading.Event, stop: threading.Event) -> None:
    try:
        for _ in watchfiles.watch(
            watch.folder,
            watch_filter=lambda _, name: watch.counts(Path(name)),
            stop_event=stop,
            debounce=200,
            step=20,
            rust_timeout=500,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            mailbox.set()
    except (OSError, RuntimeError):  # gone, or more folders than the system lets one watch
        return
