"""One command of git at a time: on a repository of ours alone, or with the server. What goes wrong gets its meaning here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from reconciler.seams.git import environment, exclusion, faults, process

TRANSFER = 5
"""How many times longer a transfer of objects may take than a question to the server."""

OURS = ("+refs/perdure/state/*:refs/perdure/state/*", "+refs/notes/perdure/*:refs/notes/perdure/*")
"""Refs that git itself advances here after the server has accepted a push of them, and not before."""

FETCH = (
    "fetch",
    "--atomic",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--no-recurse-submodules",
    "--no-show-forced-updates",
)
PUSH = ("push", "--no-verify", "--porcelain")


class Exchange:
    """Runs commands for one bare repository. Methods raise `faults.Failed`."""

    def __init__(self, directory: Path, access: environment.Access | None, timeout: float) -> None:
        self.exclusion = exclusion.Exclusion(directory, timeout)
        self.where = str(access.address) if access else str(directory)
        """The repository's address, as people know it."""
        self._directory = directory
        self._timeout = timeout
        self._local = environment.build(None)
        self._network = environment.build(access) if access else self._local
        self._pushing = environment.build(access, [("remote.origin.fetch", refspec) for refspec in OURS])

    def alone(self, *arguments: str) -> None:
        """Run a command that names the repository itself."""
        self._run(arguments, self._local)

    def here(self, *arguments: str, feed: bytes | Iterable[bytes] = b"") -> bytes:
        """Run a command that talks to nobody, and return its output."""
        return self._run(self._in(arguments), self._local, feed).output

    def refs(self, *patterns: str) -> str:
        """Return a line for each ref that is here, with its object. One that cannot be read is an error, not a missing one."""
        answer = self._run(self._in(["for-each-ref", "--format=%(refname) %(objectname)", *patterns]), self._local)
        if b"broken ref" in answer.complaints:
            raise self._failed(answer, remote=False)
        return answer.output.decode()

    def holds(self, *arguments: str) -> bool:
        """Run a command that answers by its exit status: 0 or 1."""
        answer = process.run(self._in(arguments), self._local, timeout=self._timeout)
        if answer.code in (0, 1):
            return answer.code == 0
        raise self._failed(answer, remote=False)

    @contextmanager
    def conversation(self, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Start a command for questions and answers; yields its input and its output."""
        with process.conversation(self._in(arguments), self._local) as pipes:
            yield pipes

    def ask(self, *arguments: str) -> bytes:
        """Ask the server, and return the answer."""
        return self._talk(arguments, self._network).output

    def fetch(self, *rest: str, settings: Sequence[str] = (), feed: bytes = b"") -> bytes:
        """Bring objects from the server; return what git complained about. `rest` are options and refspecs."""
        options = [one for one in rest if one.startswith("--")]
        refspecs = [one for one in rest if not one.startswith("--")]
        words = [word for setting in settings for word in ("-c", setting)]
        return self._talk([*words, *FETCH, *options, "origin", *refspecs], self._network, TRANSFER, feed).complaints

    def push(self, *rest: str) -> None:
        """Move refs on the server, never by force; refs of `OURS` follow here."""
        self._talk([*PUSH, *rest], self._pushing)

    def rehearse(self, refspec: str) -> None:
        """Ask the server whether it would take a push, as far as it tells without one."""
        self._talk([*PUSH, "--dry-run", "origin", refspec], self._network)

    def _in(self, arguments: Iterable[str]) -> list[str]:
        return ["--git-dir", str(self._directory), *arguments]

    def _talk(
        self, arguments: Iterable[str], variables: Mapping[str, str], patience: int = 1, feed: bytes = b""
    ) -> process.Answer:
        return self._run(self._in(arguments), variables, feed, remote=True, timeout=self._timeout * patience)

    def _run(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        feed: bytes | Iterable[bytes] = b"",
        remote: bool = False,
        timeout: float = 0.0,
    ) -> process.Answer:
        answer = process.run(arguments, variables, feed, timeout or self._timeout * TRANSFER, self.exclusion.inherited)
        if answer.code == 0:
            return answer
        raise self._failed(answer, remote)

    def _failed(self, answer: process.Answer, remote: bool) -> faults.Failed:
        raw = answer.complaints + b"\n" + b"\n".join(line for line in answer.output.splitlines() if line.startswith(b"!"))
        text = faults.readable(raw)
        fault = faults.LATE if answer.late else faults.classify(text, answer.code, remote=remote)
        return faults.Failed(fault, text, self.where)
