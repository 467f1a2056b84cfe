"""What installing needs of a container engine. Each engine is one module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.install.edits import Edit
from agent.install.machine import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is to become of an engine's configuration."""

    edits: tuple[Edit, ...]
    interim: tuple[Edit, ...] = ()
    """Made first, and adopted by the running engine, where it would not notice that something has gone from its file."""
    note: str = ""
    """What a person should know about it."""


class Engine(Protocol):
    """One container engine. Nothing here is done by halves: what cannot be done is refused before anything is written."""

    name: str
    """As in `--engine`."""

    def here(self, machine: Machine) -> bool:
        """Whether the machine has it, so that it is configured unless the person names others."""
        ...

    def installed(self, machine: Machine) -> str:
        """Return the program of ours that its configuration names; empty when it names none."""
        ...

    def install(self, machine: Machine, program: str) -> Change:
        """Return the change after which every container goes through `program`.

        Raises `errors.Refused` where this engine, or its configuration, cannot take it, `errors.InvalidInput` where its
        configuration cannot be read.
        """
        ...

    def remove(self, machine: Machine, runc: str) -> Change:
        """Return the change after which none does. What other people have changed since then stays; containers that exist can
        still be started."""
        ...

    def accept(self, machine: Machine, changes: Sequence[Edit], program: str) -> None:
        """Let the engine itself judge the configuration, before it is in place. Raises `errors.Refused` with its words."""
        ...

    def adopt(self, machine: Machine, program: str, *, restart: bool) -> str:
        """Let the running engine use what its configuration says now, and look whether it does; return what was done.

        `program` is what new containers must go through, empty for none of ours. Raises `errors.Unavailable` when the engine
        does not, or does not answer any more.
        """
        ...
