"""Real repositories for tests, made with plain git: what other people and servers do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from reconciler.seams.git import address, environment, mirror

PROCESSES = r"""
parent() { if read -r it < "/proc/$1/stat"; then set -- ${it##*) }; echo "$2"; else ps -o ppid= -p "$1" | tr -d " "; fi; }
words() { if [ -e "/proc/$1" ]; then tr '\0' ' ' < "/proc/$1/cmdline"; else ps -o args= -p "$1"; fi; }
"""
"""Functions for hooks: the parent of a process, and its command line. A small Linux has no `ps`."""


def git(
    folder: Path, *arguments: str, feed: bytes = b"", check: bool = True, variables: Mapping[str, str] | None = None
) -> str:
    """Runs git in `folder` and returns its output without the last line break."""
    done = subprocess.run(
        ["git", *arguments], cwd=folder, input=feed, capture_output=True, check=False, env={**os.environ, **(variables or {})}
    )
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode(errors="surrogateescape").rstrip("\n")


def bare(path: Path) -> Path:
    """Makes an empty bare repository."""
    git(path.parent, "init", "--quiet", "--bare", str(path))
    return path


def hook(repository: Path, name: str, script: str) -> None:
    """Installs a hook of the server."""
    path = repository / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def mirror_of(url: str | Path, data: Path, **access: str) -> mirror.Mirror:
    """A mirror of ours in the data directory `data`."""
    place = address.parse_address(str(url), Path("/"))
    return mirror.Mirror(data / "repo.git", environment.Access(address=place, **access), timeout=60.0)


class Person:
    """Somebody with a clone of a repository who commits and pushes."""

    def __init__(self, remote: Path, folder: Path) -> None:
        self.remote = remote
        self.folder = folder
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "remote", "add", "origin", str(remote))

    def commit(self, files: Mapping[str, bytes | None], message: str = "a change") -> str:
        """Commits with these files changed (None: removed) and returns the commit's id."""
        for name, data in files.items():
            path = self.folder / name
            if data is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def push(self, *refspecs: str) -> None:
        """Pushes, main unless told otherwise."""
        self.git("push", "--quiet", "origin", *(refspecs or ("HEAD:refs/heads/main",)))

    def git(self, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Runs git in the clone."""
        return git(self.folder, *arguments, variables=variables)
