"""Python environments for `workload.code.requirements`, built once per content of the requirements and kept.

Content is also that of files and folders of the code that they name. What is installed in place (`-e`) is the code of one
attempt, and so is its environment.

Installing runs code of the packages, so it is done as the job's user; afterwards the environment is taken from that user, so
that no job can change what another one will run.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from agent import account as accounts
from agent import interpreter, refusal
from reconciler import errors
from reconciler.engines import folder as folders

LONGEST = 3600.0
"""Seconds an installation may take."""
TAIL = 15
"""Last lines of pip that are told."""
READY = ".ready"
"""Ending of the files that say which environments are whole."""
PASSED = ("http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
"""Variables of the agent's own environment that pip gets, besides its own PIP_…"""
INCLUDED = re.compile(r"^\s*(?:-[rc][\s=]*|--(?:requirement|constraint)[\s=]+)(\S+)", re.MULTILINE)
IN_PLACE = re.compile(r"^\s*(?:-e[\s=]*|--editable[\s=]+)(\S+)", re.MULTILINE)
"""What is not copied into the environment, which points at it."""
WORDS = re.compile(r"(?:file:(?://)?)?([^\s=;#\[\]\0]+)")
"""Whatever may name a file or a folder of the working copy, which pip would install."""


class Environments:
    """The environments of one agent."""

    def __init__(self, folder: Path, account: accounts.Account | None) -> None:
        """Keep them below `folder`."""
        self._folder = folder
        self._account = account
        self._guard = threading.Lock()
        self._locks = weakref.WeakValueDictionary[str, threading.Lock]()  # those that somebody holds or waits for

    def get(self, requirements: Path, work: Path) -> Path:
        """Return the environment for a requirements file of the working copy `work`, building it if need be.

        Raises `refusal.CannotStart` with pip's last lines when it cannot be built.
        """
        base = interpreter.python(self._account)
        name = self._digest(requirements, work, interpreter.version(base, self._account))
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
        with lock:
            place = self._folder / name
            ready = self._folder / f"{name}{READY}"
            if not (ready.exists() and place.is_dir()):  # somebody may have removed it and left its mark
                ready.unlink(missing_ok=True)
                folders.discard(place)
                try:
                    self._build(place, requirements, work, base)
                except BaseException:
                    folders.discard(place)
                    raise
                os.sync()  # a power cut must not leave what is called ready by halves
                ready.touch(mode=0o600)
            os.utime(ready)
            return place

    def sweep(self, older: float) -> None:
        """Remove what a crash left, and environments that were last used before POSIX time `older`."""
        for found in list(self._folder.iterdir()):
            place = found.with_name(found.name.removesuffix(READY))
            ready = place.with_name(f"{place.name}{READY}")
            if not (place.is_dir() and ready.exists()) or ready.stat().st_mtime < older:
                ready.unlink(missing_ok=True)
                folders.discard(place)

    def _digest(self, requirements: Path, work: Path, python: str) -> str:
        digest = hashlib.sha256(python.encode())
        if self._account is not None:  # whose group alone can read it
            digest.update(f" of group {self._account.gid}".encode())
        for content in _contents(requirements, work, set()):
            digest.update(len(content).to_bytes(8, "big") + content)
        return digest.hexdigest()[:32]

    def _build(self, place: Path, requirements: Path, work: Path, base: str) -> None:
        place.mkdir(mode=0o700)
        home = place / "home"
        home.mkdir(mode=0o700)
        accounts.own_tree(place, self._account)
        self._run([base, "-m", "venv", str(place / "venv")], work, home)
        command = [str(place / "venv/bin/python"), "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
        self._run([*command, "-r", str(requirements)], work, home)
        folders.discard(home)
        if self._account is not None:
            _take_over(place, self._account)

    def _run(self, command: list[str], work: Path, home: Path) -> None:
        passed = {name: os.environ[name] for name in os.environ if name.startswith("PIP_") or name.lower() in PASSED}
        env = {**passed, "PATH": interpreter.PATH, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
        try:
            done = interpreter.run(command, self._account, cwd=work, env=env, timeout=LONGEST)
        except (OSError, subprocess.SubprocessError) as error:
            raise refusal.CannotStart(f"the requirements could not be installed: {error}") from error
        if done.returncode != 0:
            last = "\n".join(done.stdout.decode(errors="replace").strip().splitlines()[-TAIL:])
            raise refusal.CannotStart(f"the requirements could not be installed:\n{last}")


def _contents(path: Path, work: Path, seen: set[Path]) -> Iterator[bytes]:
    """Yield the content of a requirements file, of those it includes, and of what they name of the working copy."""
    path, work = path.resolve(), work.resolve()
    if path in seen or not path.is_relative_to(work):
        return
    seen.add(path)
    try:
        descriptor = folders.open_plain(path)  # jobs of the same user may put something else there, that would keep us waiting
    except OSError as error:
        raise errors.Refused(f"the requirements cannot be read: {error.strerror}", where=path.name) from error
    if descriptor is None:
        raise errors.Refused("the requirements are no plain file", where=path.name, remedy="Commit the file itself.")
    with open(descriptor, "rb") as file:
        content = file.read()
    yield content
    text = content.decode(errors="replace")
    for included in INCLUDED.findall(text):
        yield from _contents(path.parent / included, work, seen)
    if any(_inside(work, named) for named in IN_PLACE.findall(text)):
        yield bytes(work)
    for place in filter(None, (_inside(work, named) for named in WORDS.findall(text))):
        yield from _files(place, work)


def _inside(work: Path, named: str) -> Path | None:
    """Return the file or folder of the working copy that a word names; None: it names none."""
    place = Path(os.path.realpath(work / named))
    return place if place.is_relative_to(work) and os.path.exists(place) else None


def _files(place: Path, work: Path) -> Iterator[bytes]:
    """Yield name and content of a file, or of each file below a folder; of a link what it names."""
    for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if path.is_symlink() or path.is_file():
            yield bytes(path.relative_to(work))
            yield os.fsencode(path.readlink()) if path.is_symlink() else _file_digest(path)


def _file_digest(path: Path) -> bytes:
    descriptor = folders.open_plain(path)
    if descriptor is None:
        return b""
    with open(descriptor, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _take_over(place: Path, account: accounts.Account) -> None:
    """Make everything root's, readable by the jobs' group. The builder has ended, so nobody moves things meanwhile."""
    for above, inside, files in os.walk(place):
        for path in [Path(above), *(Path(above) / name for name in [*inside, *files])]:
            os.chown(path, 0, account.gid, follow_symlinks=False)
            mode = path.lstat().st_mode
            if not stat.S_ISLNK(mode):
                path.chmod((mode & 0o700) | ((mode & 0o500) >> 3))
