"""dockerd: `runtimes` and `default-runtime` in daemon.json, since neither a service nor a plain `docker run` names a runtime.

dockerd reads both again on SIGHUP, with containers running and no restart; what has *gone* from the file it does not notice,
which is why taking away goes through an interim file (moby, daemon/reload_unix.go).
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.install import edits, service, versions
from agent.install import machine as machines
from agent.install.edits import Edit
from agent.install.engine import Change
from agent.install.machine import Machine, Process
from reconciler import errors

CONFIG = "/etc/docker/daemon.json"
PID = "/run/docker.pid"
SOCKET = "/run/docker.sock"
DATA = "/var/lib/docker"

NAME = "perdure"
"""Of the runtime. Docker keeps a container's runtime by name, so that a stopped one starts with the newest version."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What decides whether dockerd can take the interposer."""

    machine: Machine
    daemon: Process | None
    document: Document
    program: str


def _snap(about: Situation) -> str:
    binary = about.daemon.words[0] if about.daemon else machines.find(about.machine, "dockerd")
    snap = machines.at(about.machine, "/var/snap/docker").is_dir()
    if "/snap/" in binary or (not binary and snap):
        return "Docker comes from a snap, which cannot run a runtime from outside. Install docker.io or docker-ce instead."
    return ""


def _rootless(about: Situation) -> str:
    others = [each for each in machines.processes(about.machine) if each.name == "dockerd" and each.user != 0]
    if about.daemon is None and others:
        return f"Docker runs rootless (user {others[0].user}), and CRIU needs root. Install Docker as a service of the system."
    return ""


def _user_namespaces(about: Situation) -> str:
    remapped = about.document.get("userns-remap") or (about.daemon and machines.option(about.daemon.words, "--userns-remap"))
    if remapped:
        return (
            f"userns-remap is on ({remapped}): a checkpoint holds the ids of its processes as they are outside of the "
            "container, so it would restore on no other host. Take userns-remap out."
        )
    return ""


def _default(about: Situation) -> str:
    current = about.document.get("default-runtime", "")
    if current not in ("", "runc", NAME):
        return (
            f"the default-runtime is {current!r}, which perdure-runc would push aside. Take it out; containers that need it "
            f"say `--runtime {current}`."
        )
    return ""


def _taken(about: Situation) -> str:
    if not isinstance(about.document.get("runtimes", {}), dict):
        return "`runtimes` must be an object. Correct it."
    own = _runtimes(about.document).get(NAME)
    if own is not None and not _ours(own):
        return f"another runtime is called {NAME!r} already. Rename that one."
    return ""


def _flags(about: Situation) -> str:
    for flag in ("--default-runtime", "--add-runtime"):
        if about.daemon and machines.option(about.daemon.words, flag):
            return f"dockerd is started with {flag}, and accepts it only in one place. Move it into daemon.json."
    return ""


REFUSALS: tuple[Callable[[Situation], str], ...] = (_snap, _rootless, _user_namespaces, _default, _taken, _flags)
"""Why dockerd cannot take it, the first that holds: what is wrong, then what to do. Empty: it does not hold."""


class Docker:
    """`engine.Engine` for dockerd, and so for Swarm."""

    name = "docker"

    def here(self, machine: Machine) -> bool:
        """Whether there is a dockerd, of whatever kind."""
        running = any(each.name == "dockerd" for each in machines.processes(machine))
        return running or bool(machines.find(machine, "dockerd")) or machines.at(machine, "/var/snap/docker").is_dir()

    def installed(self, machine: Machine) -> str:
        """Return the path of our runtime in daemon.json."""
        try:
            found = _runtimes(_parsed(config(machine), machines.read(machine, config(machine)))).get(NAME)
        except errors.InvalidInput:
            return ""
        path = found.get("path", "") if isinstance(found, dict) else ""
        return path if isinstance(path, str) and versions.named(path) else ""

    def install(self, machine: Machine, program: str) -> Change:
        """Return the change of daemon.json."""
        where = config(machine)
        before = machines.read(machine, where)
        document = _parsed(where, before)
        about = Situation(machine=machine, daemon=_daemon(machine), document=document, program=program)
        for refusal in REFUSALS:
            if text := refusal(about):
                what, _, remedy = text.partition(". ")
                raise errors.Refused(what, where=where, remedy=remedy)
        wanted = {**document, "runtimes": {**_runtimes(document), NAME: {"path": program}}, "default-runtime": NAME}
        edit = Edit(path=where, before=before, after=before if wanted == document else _text(wanted, before))
        if NAME in _runtimes(document):
            return Change(edits=(edit,))
        return Change(edits=edits.keeping(machine, edit))

    def remove(self, machine: Machine, runc: str) -> Change:
        """Return the change that gives back the original, or takes out what is ours where others have changed it since."""
        where = config(machine)
        before, kept = machines.read(machine, where), edits.original(machine, where)
        document, base = _parsed(where, before), _parsed(where + edits.ORIGINAL, kept)
        if not _ours(_runtimes(document).get(NAME)):
            return Change(edits=edits.forgetting(machine, where))
        stripped = _without(document, base)
        default = stripped.get("default-runtime", "runc")
        interim = {**document, "runtimes": {**_runtimes(document), NAME: {"path": runc}}, "default-runtime": default}
        holders = list(_holders(machine, document))
        if holders:
            stripped["runtimes"] = {**_runtimes(stripped), NAME: {"path": runc}}
        same = not holders and stripped == base
        after = kept if same else _text(stripped, before)
        forget = () if holders else edits.forgetting(machine, where)
        first = Edit(path=where, before=before, after=_text(interim, before))
        note = (
            f"containers that exist were made with the runtime {NAME!r} ({len(holders)}): it stays in {where} as another name "
            f"of {runc}, so that they can be started. Once they are removed, uninstall again."
            if holders
            else ""
        )
        return Change(interim=(first,), edits=(Edit(path=where, before=first.after, after=after), *forget), note=note)

    def accept(self, machine: Machine, changes: Sequence[Edit], program: str) -> None:
        """Let `dockerd --validate` read it."""
        dockerd = machines.find(machine, "dockerd")
        for edit in changes:
            if edit.path != config(machine) or edit.after is None or not dockerd:
                continue
            with tempfile.TemporaryDirectory() as folder:
                candidate = Path(folder, "daemon.json")
                candidate.write_bytes(edit.after)
                answer = machine.run([dockerd, "--validate", "--config-file", str(candidate)])
            if answer.status != 0:
                raise errors.Refused(
                    f"dockerd does not accept it: {answer.said.replace(str(candidate), edit.path)}",
                    where=edit.path,
                    remedy="Nothing was changed. Docker must be 23 or newer; correct what it complains about.",
                )

    def adopt(self, machine: Machine, program: str, *, restart: bool) -> str:
        """Send SIGHUP, or restart the service; then ask dockerd what it uses."""
        daemon = _daemon(machine)
        if restart:
            service.restart(machine, "docker")
        elif daemon is None:
            return "dockerd does not run: it reads its configuration when it starts"
        else:
            machine.reload(daemon.pid)
        service.until(machine, lambda: _uses(machine, program), "dockerd", "journalctl -u docker")
        return "dockerd was restarted" if restart else "dockerd was reloaded, containers go on"


def config(machine: Machine) -> str:
    """Return the path of daemon.json: what the running dockerd was told, or where it looks by itself."""
    daemon = _daemon(machine)
    return (machines.option(daemon.words, "--config-file") if daemon else "") or CONFIG


def _daemon(machine: Machine) -> Process | None:
    return machines.daemon(machine, "dockerd", PID)


def _uses(machine: Machine, program: str) -> bool:
    about = machine.docker(SOCKET)
    if about is None:
        return False
    if not program:
        return bool(about.get("DefaultRuntime") != NAME)
    known = about.get("Runtimes", {}).get(NAME, {})
    return bool(about.get("DefaultRuntime") == NAME and known.get("path") == program)


def _parsed(where: str, content: bytes | None) -> Document:
    """Return daemon.json's content. Raises `errors.InvalidInput` with line and column for what dockerd would not read."""
    text = (content or b"").decode("utf-8-sig", "replace")
    if not text.strip():
        return {}
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise errors.InvalidInput(
            f"not valid JSON: {error.msg}",
            where=f"{where}:{error.lineno}:{error.colno}",
            remedy="Correct it; nothing was changed.",
        ) from error
    except ValueError as error:
        raise errors.InvalidInput(str(error), where=where, remedy="Correct it; nothing was changed.") from error
    if not isinstance(found, dict):
        raise errors.InvalidInput("not a JSON object", where=where, remedy="Correct it; nothing was changed.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> Document:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _text(document: Document, before: bytes | None) -> bytes:
    """Return a document, indented as the file was."""
    found = re.search(rb'^([ \t]+)"', before or b"", re.MULTILINE)
    indent = found[1].decode() if found else "    "
    return (json.dumps(document, indent=indent, ensure_ascii=False) + "\n").encode()


def _runtimes(document: Document) -> Document:
    found = document.get("runtimes")
    return found if isinstance(found, dict) else {}


def _ours(runtime: Any) -> bool:
    """Whether an entry of `runtimes` is ours: a version of ours, or the other name of runc that removing has left."""
    if not isinstance(runtime, dict) or set(runtime) != {"path"} or not isinstance(runtime["path"], str):
        return False
    return bool(versions.named(runtime["path"])) or runtime["path"].endswith("/runc")


def _without(document: Document, base: Document) -> Document:
    """Return the document without what is ours; what `base` had in its place comes back."""
    left = {name: value for name, value in document.items() if name not in ("runtimes", "default-runtime")}
    runtimes = {name: value for name, value in _runtimes(document).items() if name != NAME}
    if runtimes or "runtimes" in base:
        left["runtimes"] = runtimes
    default = document.get("default-runtime", NAME)
    if default in (NAME, "runc"):  # runc: an interim file, whose writer was killed; Docker's own default says the same
        default = base.get("default-runtime", "")
    if default:
        left["default-runtime"] = default
    return left


def _holders(machine: Machine, document: Document) -> Iterator[str]:
    """Yield the containers, running or not, that were made with our runtime."""
    daemon = _daemon(machine)
    data = document.get("data-root") or (machines.option(daemon.words, "--data-root") if daemon else "") or DATA
    for file in sorted(machines.at(machine, f"{data}/containers").glob("*/hostconfig.json")):
        try:
            runtime = json.loads(file.read_text(encoding="utf-8")).get("Runtime", "")
        except (OSError, ValueError):
            runtime = NAME  # unknown is not gone
        if runtime == NAME:
            yield file.parent.name
