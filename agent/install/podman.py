"""Podman with runc: a drop-in that makes runc the runtime and says that runc is found at our program.

The name stays `runc`, since Podman keeps a container's runtime by name: what was made with the interposer can be started and
removed after it is gone.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import suppress

from agent.install import machine as machines
from agent.install import tomltext, versions
from agent.install.edits import Edit
from agent.install.engine import Change
from agent.install.machine import Machine
from reconciler import errors

FOLDER = "/etc/containers/containers.conf.d"
DROP_IN = f"{FOLDER}/90-perdure.conf"
FILES = ("/usr/share/containers/containers.conf", "/etc/containers/containers.conf")

WRAPPABLE = ("", "runc", "crun")
"""Runtimes of which runc may take the place."""


class Podman:
    """`engine.Engine` for Podman run by root."""

    name = "podman"

    def here(self, machine: Machine) -> bool:
        """Whether there is a podman."""
        return bool(machines.find(machine, "podman"))

    def installed(self, machine: Machine) -> str:
        """Return the program that the drop-in names."""
        with suppress(tomllib.TOMLDecodeError):
            programs = tomltext.at(tomllib.loads(machines.text(machine, DROP_IN)), ("engine", "runtimes", "runc"))
            return next((each for each in programs or () if isinstance(each, str) and versions.named(each)), "")
        return ""

    def install(self, machine: Machine, program: str) -> Change:
        """Return the change that writes the drop-in."""
        for where, runtime in _chosen(machine):
            if runtime.rpartition("/")[2] not in WRAPPABLE:
                raise errors.Refused(
                    f"the runtime is {runtime!r}, which perdure-runc would push aside",
                    where=where,
                    remedy=f"Take it out; containers that need it say `--runtime {runtime}`.",
                )
        text = (
            "# Written by `perdure-agent install`; `perdure-agent uninstall` takes it away.\n"
            f'[engine]\nruntime = "runc"\n\n[engine.runtimes]\nrunc = [{json.dumps(program)}]\n'
        )
        return Change(edits=(Edit(path=DROP_IN, before=machines.read(machine, DROP_IN), after=text.encode()),))

    def remove(self, machine: Machine, runc: str) -> Change:
        """Return the change that removes the drop-in."""
        return Change(edits=(Edit(path=DROP_IN, before=machines.read(machine, DROP_IN), after=None),))

    def accept(self, machine: Machine, changes: Sequence[Edit], program: str) -> None:
        """Nothing: Podman has no way to judge a file that is not in place. `adopt` looks when it is."""

    def adopt(self, machine: Machine, program: str, *, restart: bool) -> str:
        """Look which runtime Podman finds: it is a command that reads its configuration each time."""
        podman = machines.find(machine, "podman")
        answer = machine.run([podman, "info", "--format", "{{.Host.OCIRuntime.Path}}"]) if podman else None
        if answer is None:
            return "podman is gone"
        found = answer.out.strip()
        if answer.status != 0:
            raise errors.Unavailable(f"podman does not answer any more: {answer.said}", where=DROP_IN)
        if program and found != program:
            raise errors.Unavailable(
                f"podman would use {found}: another file overrides ours", where=DROP_IN, remedy=f"Look into {FOLDER}."
            )
        return f"podman uses {found}"


def _chosen(machine: Machine) -> Iterator[tuple[str, str]]:
    """Yield each file of others that chooses a runtime, and that runtime. Raises `errors.InvalidInput` for what is no TOML."""
    folder = machines.at(machine, FOLDER)
    drop_ins = [f"{FOLDER}/{entry.name}" for entry in sorted(folder.glob("*.conf"))] if folder.is_dir() else []
    for where in (*FILES, *drop_ins):
        if where != DROP_IN:
            runtime = tomltext.at(tomltext.parsed(where, machines.text(machine, where)), ("engine", "runtime"))
            if isinstance(runtime, str):
                yield where, runtime
