"""containerd under Kubernetes: `BinaryName` of the runtime that pods get by default, in configurations of version 2 and 3.

The line is changed in the text of config.toml, since a file named by `imports` replaces the whole section of a plugin up to
containerd 1.7. containerd reads it at its start only; the shims of running containers outlive a restart.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from agent.install import edits, service, tomltext, versions
from agent.install import machine as machines
from agent.install.edits import Edit
from agent.install.engine import Change
from agent.install.machine import Machine, Process
from reconciler import errors

CONFIG = "/etc/containerd/config.toml"
PID = "/run/containerd/containerd.pid"
SOCKET = "/run/containerd/containerd.sock"

SECTIONS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
"""The plugin that runs pods, by version of the configuration."""

RUNTIME = "io.containerd.runc.v2"


class Containerd:
    """`engine.Engine` for containerd's CRI plugin."""

    name = "containerd"

    def here(self, machine: Machine) -> bool:
        """Whether pods run on it: a containerd beside dockerd that no kubelet uses is Docker's own."""
        if not machines.find(machine, "containerd"):
            return False
        kubelet = machines.find(machine, "kubelet") or machines.at(machine, "/var/lib/kubelet/pods").is_dir()
        return bool(kubelet) or not machines.find(machine, "dockerd")

    def installed(self, machine: Machine) -> str:
        """Return the BinaryName that the configuration gives, where it is ours."""
        try:
            document = tomltext.parsed(config(machine), _read(machine))
        except errors.InvalidInput:
            return ""
        names = (_word(document, (*_options(version), "BinaryName")) for version in SECTIONS)
        return next((name for name in names if versions.named(name)), "")

    def install(self, machine: Machine, program: str) -> Change:
        """Return the change of config.toml."""
        where = config(machine)
        before = machines.read(machine, where)
        text = _read(machine)
        version = _version(machine, where, text)
        path = _options(version)
        document = tomltext.parsed(where, text)
        _refuse(where, document, version)
        if not text:
            text = f"version = {version}\n"
        current = _word(document, (*path, "BinaryName"))
        if tomltext.at(document, path[:-1]) is None:
            text = tomltext.assigned(where, text, (*path[:-1], "runtime_type"), RUNTIME)
        edit = Edit(path=where, before=before, after=tomltext.assigned(where, text, (*path, "BinaryName"), program).encode())
        if versions.named(current):
            return Change(edits=(edit,))
        return Change(edits=edits.keeping(machine, edit))

    def remove(self, machine: Machine, runc: str) -> Change:
        """Return the change that gives back the original; where others have changed the file since, runc's own path stays."""
        where = config(machine)
        current = self.installed(machine)
        kept = edits.original(machine, where)
        if not current:
            return Change(edits=edits.forgetting(machine, where))
        text = _read(machine)
        path = (*_options(_version(machine, where, text)), "BinaryName")
        base = (kept or b"").decode("utf-8", "replace")
        untouched = text == self._first(machine, where, base, current)
        after = kept if untouched else tomltext.assigned(where, text, path, runc).encode()
        return Change(edits=(Edit(path=where, before=text.encode(), after=after), *edits.forgetting(machine, where)))

    def _first(self, machine: Machine, where: str, base: str, program: str) -> str | None:
        """Return what installing has made of the original; None where that cannot be told any more."""
        try:
            version = _version(machine, where, base)
            text = base or f"version = {version}\n"
            path = _options(version)
            if tomltext.at(tomltext.parsed(where, base), path[:-1]) is None:
                text = tomltext.assigned(where, text, (*path[:-1], "runtime_type"), RUNTIME)
            return tomltext.assigned(where, text, (*path, "BinaryName"), program)
        except errors.PerdureError:
            return None

    def accept(self, machine: Machine, changes: Sequence[Edit], program: str) -> None:
        """Let `containerd config dump` read it, and look whether the name is in force: an import may override it."""
        binary = machines.find(machine, "containerd")
        for edit in changes:
            if edit.path != config(machine) or edit.after is None or not binary:
                continue
            with tempfile.TemporaryDirectory() as folder:
                candidate = Path(folder, "config.toml")
                candidate.write_bytes(edit.after)
                answer = machine.run([binary, "--config", str(candidate), "config", "dump"])
            if answer.status != 0:
                raise errors.Refused(
                    f"containerd does not accept it: {answer.said}", where=edit.path, remedy="Nothing was changed."
                )
            if program and _effective(answer.out) != program:
                raise errors.Refused(
                    f"something overrides BinaryName: pods would use {_effective(answer.out) or 'runc'}",
                    where=edit.path,
                    remedy="Look into the files named by `imports`. Nothing was changed.",
                )

    def adopt(self, machine: Machine, program: str, *, restart: bool) -> str:
        """Restart it where that is asked for: it reads its configuration at no other time."""
        if restart:
            service.restart(machine, "containerd")
            service.until(machine, lambda: machine.answers(SOCKET), "containerd", "journalctl -u containerd")
            return "containerd was restarted, containers go on"
        if _daemon(machine) is None:
            return "containerd does not run: it reads its configuration when it starts"
        return "containerd reads it at its next start: systemctl restart containerd (containers go on)"


def config(machine: Machine) -> str:
    """Return the path of config.toml: what the running containerd was told, or where it looks by itself."""
    daemon = _daemon(machine)
    return (machines.option(daemon.words, "--config", "-c") if daemon else "") or CONFIG


def _daemon(machine: Machine) -> Process | None:
    """Return the system's own; the one that dockerd starts for itself runs no pods."""
    found = machines.daemon(machine, "containerd", PID)
    return found if found and not any("/docker/containerd/" in word for word in found.words) else None


def _read(machine: Machine) -> str:
    content = machines.read(machine, config(machine)) or b""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise errors.InvalidInput("not UTF-8", where=config(machine), remedy="Correct it; nothing was changed.") from error


def _options(version: int) -> tomltext.Path:
    return ("plugins", SECTIONS[version], "containerd", "runtimes", "runc", "options")


def _version(machine: Machine, where: str, text: str) -> int:
    """Return the version of a configuration; of a new one, what this containerd writes. Raises `errors.Refused`."""
    if not text.strip():
        answer = machine.run([machines.find(machine, "containerd") or "containerd", "--version"])
        release = answer.out.split()[2:3]  # containerd github.com/containerd/containerd/v2 v2.1.9 <commit>
        return 2 if release and release[0].lstrip("v").startswith("1.") else 3
    version = tomltext.parsed(where, text).get("version", 1)
    if version not in SECTIONS:
        known = " and ".join(map(str, SECTIONS))
        raise errors.Refused(
            f"it is of version {version}, and only {known} can be changed",
            where=where,
            remedy="`containerd config migrate` prints it in the newest version.",
        )
    return int(version)


def _refuse(where: str, document: tomltext.Document, version: int) -> None:
    section = SECTIONS[version]
    disabled = document.get("disabled_plugins")
    if isinstance(disabled, list) and not {"cri", section}.isdisjoint(map(str, disabled)):
        raise errors.Refused(
            "its CRI plugin is switched off: no pod runs here", where=where, remedy="For Docker, use --engine docker."
        )
    default = _word(document, ("plugins", section, "containerd", "default_runtime_name"))
    if default not in ("", "runc"):
        raise errors.Refused(
            f"the default runtime is {default!r}, which perdure-runc would push aside",
            where=where,
            remedy="Set default_runtime_name to runc, and give the pods that need the other one a RuntimeClass.",
        )
    kind = _word(document, (*_options(version)[:-1], "runtime_type"))
    if kind not in ("", RUNTIME):
        raise errors.Refused(f"the runtime runc is a {kind}", where=where, remedy=f"Only {RUNTIME} can be wrapped.")
    name = _word(document, (*_options(version), "BinaryName"))
    if name and not versions.named(name) and name.rpartition("/")[2] != "runc":
        raise errors.Refused(
            f"BinaryName is {name} already, which perdure-runc would push aside",
            where=where,
            remedy="Take it out, or give that runtime a name of its own.",
        )


def _effective(dump: str) -> str:
    """Return the BinaryName that containerd would use by a dump of its configuration, whichever version it is written in."""
    try:
        document = tomllib.loads(dump)
    except tomllib.TOMLDecodeError:
        return ""
    found = (_word(document, (*_options(version), "BinaryName")) for version in SECTIONS)
    return next((name for name in found if name), "")


def _word(document: tomltext.Document, path: tomltext.Path) -> str:
    """Return the text at a path; empty when there is none, or something else."""
    found = tomltext.at(document, path)
    return found if isinstance(found, str) else ""
