"""One git process: started in a group of its own, fed, read, and ended as a group when its time is over."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from reconciler import errors

GRACE = 2.0
"""Seconds between SIGTERM, upon which git removes its lock files, and SIGKILL."""

OLDEST = (2, 32)
"""The first git that knows GIT_CONFIG_COUNT and GIT_CONFIG_GLOBAL: with an older one the environment would not be safe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a process wrote and how it ended."""

    output: bytes
    complaints: bytes
    """Its standard error."""
    code: int
    """Exit status; negative: the signal that ended it."""
    late: bool = False
    """It was ended because its time was over."""


@functools.cache
def require() -> None:
    """Raise `errors.UsageError` when git is missing or too old to be run safely."""
    remedy = "Install git 2.32 or newer (Debian, Ubuntu: apt install git; macOS: brew install git)."
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise errors.UsageError("git cannot be run", where="git", remedy=remedy) from error
    found = re.search(r"(\d+)\.(\d+)", said)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        raise errors.UsageError(f"“{said.strip()}” is too old", where="git", remedy=remedy)


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    feed: bytes | Iterable[bytes] = b"",
    timeout: float = 60.0,
    inherit: tuple[int, ...] = (),
) -> Answer:
    """Run git to its end. `feed` goes to its input, in pieces where it is large; `inherit` are descriptors it holds too."""
    require()
    process = _start(arguments, environment, inherit)
    late = threading.Event()

    def expire() -> None:
        late.set()
        end(process)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True  # a signal may come while it is being started: this process's own end is not to wait for it
    try:
        with process:  # leaving it waits for the process: what has to end it comes before
            try:
                timer.start()
                output, complaints = process.communicate(feed if isinstance(feed, bytes) else _pour(process, feed))
            except BaseException:
                end(process)
                with suppress(OSError):
                    if process.stdin is not None:
                        process.stdin.close()  # what was still to be sent has nobody to read it
                raise
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
    return Answer(output=output, complaints=complaints, code=process.returncode, late=late.is_set())


@contextmanager
def conversation(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Start git for questions and answers; yields its input and its output. It ends with the block."""
    require()
    process = _start(arguments, environment, (), complaints=subprocess.DEVNULL)
    if process.stdin is None or process.stdout is None:
        raise errors.Unavailable("git has no input or output", where="git")
    try:
        yield process.stdin, process.stdout
    finally:
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()
        try:
            process.wait(GRACE)  # without input and output it ends by itself
        except subprocess.TimeoutExpired:
            end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it has started: SIGTERM first, then SIGKILL. The leader may have ended, but not its children."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)


def _start(
    arguments: Sequence[str], environment: Mapping[str, str], inherit: tuple[int, ...], complaints: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            ["git", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=dict(environment),
            cwd="/",
            start_new_session=True,
            pass_fds=inherit,
        )
    except OSError as error:
        raise errors.Unavailable(
            f"git cannot be started: {error.strerror or error}", where="git", remedy="Free memory on this machine."
        ) from error


def _pour(process: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> bytes:
    """Feed a stream piece by piece, for programs that answer only at the end. A program that ends early has said why."""
    if process.stdin is not None:
        with suppress(BrokenPipeError):
            for piece in pieces:
                process.stdin.write(piece)
    return b""
