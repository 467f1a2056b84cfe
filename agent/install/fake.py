"""A machine that is a directory tree, with programs that answer what they are told to."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.install import machine
from agent.install.machine import Answer

Program = Callable[[Sequence[str]], Answer]
"""What a program does: its words without its own name."""


class Fake:
    """`machine.Machine` over a folder."""

    patience = 0.0

    def __init__(self, root: Path) -> None:
        self.root = root
        self.user = 0
        self.owner = os.geteuid()
        self.programs: dict[str, Program] = {}
        """By file name."""
        self.ran: list[tuple[str, ...]] = []
        """Every program that was asked to run."""
        self.reloads: list[int] = []
        self.on_reload: Callable[[int], None] = lambda pid: None
        self.dockerd: Callable[[], Mapping[str, Any] | None] = lambda: None
        """What dockerd says about itself."""
        self.listening: set[str] = set()
        """Sockets on which somebody answers."""

    def run(self, words: Sequence[str], seconds: float = 60.0) -> Answer:
        """Answer as the program of that name does; one whose file is not in the tree is missing."""
        self.ran.append(tuple(words))
        program = self.programs.get(os.path.basename(words[0]))
        there = not words[0].startswith("/") or (self.root / words[0].lstrip("/")).exists()
        return program(words[1:]) if program and there else Answer(status=machine.MISSING, err=f"{words[0]}: not found")

    def reload(self, pid: int) -> None:
        """Keep the process's id, and do what the test wants."""
        self.reloads.append(pid)
        self.on_reload(pid)

    def docker(self, socket: str) -> Mapping[str, Any] | None:
        """Return what the test's dockerd says."""
        return self.dockerd()

    def answers(self, socket: str) -> bool:
        """Whether the test has somebody listen there."""
        return socket in self.listening
