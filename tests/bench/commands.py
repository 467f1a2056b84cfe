"""Commands under the clock: seconds, and the most memory that a process had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
SCRIPTS = Path(sys.executable).parent
"""Where the environment's commands are: nothing is activated."""

PACKAGES = {"git": "git", "tar": "tar", "zstd": "zstd", "openssl": "openssl"}
"""The Debian, Fedora and Homebrew package of each program."""


Words = Sequence[str | Path]


class Missing(Exception):
    """A program is not on this machine. The text says how to install it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A command that has ended well."""

    seconds: float
    peak: int
    """Bytes of memory, of the one process among it and those it waited for that had the most."""
    output: str


def require(*programs: str) -> None:
    """Raise `Missing` for the first program that is not here."""
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"{program} is missing. Install it: {_remedy(PACKAGES[program])}")


def run(command: Words, *, cwd: Path | None = None, good: tuple[int, ...] = (0,)) -> Ran:
    """Run a command to its end. Raises `AssertionError` with what it printed when its status is not among `good`."""
    began = time.perf_counter()
    with subprocess.Popen(
        [str(word) for word in command], cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        output = process.stdout.read().decode(errors="replace") if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in good:
        raise AssertionError(f"{' '.join(str(word) for word in command[:6])} ended with {process.returncode}: {output[-2000:]}")
    return Ran(seconds=seconds, peak=usage.ru_maxrss * _RSS_UNIT, output=output)


def worker(module: str, *arguments: str | Path) -> Words:
    """Return the command that runs a module of ours in a process of its own."""
    return [PYTHON, "-m", f"tests.bench.{module}", *arguments]


def family_peak(command: Words) -> int:
    """Run a command; return the most bytes that it and its children had at once, shared pages counted once. 0: not known.

    Sampled, so that a short peak may be missed; not for a run whose time counts.
    """
    peak = 0
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while True:
            try:
                process.wait(SAMPLE)
                return peak
            except subprocess.TimeoutExpired:
                peak = max(peak, sum(map(_proportional, _family(process.pid))))


def own_peak() -> int:
    """Return the most bytes of memory this process ever had.

    Not by getrusage: on Linux that begins with what the process had that started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


SAMPLE = 0.02
"""Seconds between two looks at a command's memory."""


def _family(pid: int) -> list[int]:
    found = [pid]
    for task in _listed(Path(f"/proc/{pid}/task")):
        found += [each for child in _words(task / "children") for each in _family(int(child))]
    return found


def _proportional(pid: int) -> int:
    words = _words(Path(f"/proc/{pid}/smaps_rollup"))
    return int(words[words.index("Pss:") + 1]) * 1024 if "Pss:" in words else 0


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:  # it has ended meanwhile, or the system has no /proc
        return []


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


def _remedy(package: str) -> str:
    for manager, install in (
        ("apt-get", "sudo apt-get install -y"),
        ("dnf", "sudo dnf install -y"),
        ("brew", "brew install"),
    ):
        if shutil.which(manager):
            return f"{install} {package}"
    return f"install the package {package} of your system"
