"""Install, upgrade and uninstall: refuse first, then write, then look whether engines really use it, or take it all back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from agent.install import containerd, dockerd, edits, hostfile, podman, programs, versions
from agent.install import machine as machines
from agent.install.edits import Edit
from agent.install.engine import Change, Engine
from agent.install.machine import Machine
from reconciler import errors
from reconciler.seams import durable

ENGINES: tuple[Engine, ...] = (dockerd.Docker(), containerd.Containerd(), podman.Podman())


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the person asked for."""

    engines: tuple[str, ...] = ()
    """Names. None: those that the machine has."""
    runc: str = ""
    """The real runtime. Empty: the one in use, or else the one in PATH."""
    criu: str = ""
    """The build to put in place. Empty: the one in PATH; when upgrading, the one that is in place."""
    arch_roots: tuple[str, ...] | None = None
    """Folders for the variables of ARCH and Tardis. None: as they are."""
    restart: bool = False
    """Restart the engines instead of reloading them."""
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of the machine, or what would."""

    version: str
    """Name of the version that engines call now; empty: none."""
    diff: str
    """Changes of files that are text."""
    put: bool = False
    """Whether the version's folder is new."""
    said: tuple[str, ...] = ()
    """Sentences about engines and about what stays."""
    kept: tuple[versions.Use, ...] = ()
    """What holds versions that are not current."""


def install(machine: Machine, wanted: Options) -> Done:
    """Put this package's interposer and one criu build in place, and have the engines use it. Doing it again changes nothing.

    Raises `errors.UsageError`, `errors.Refused` and `errors.InvalidInput` before anything is changed; whatever is raised later,
    everything was taken back.
    """
    machines.root_only(machine)
    with durable.exclusively(machines.at(machine, "/etc")):
        return _install(machine, wanted)


def _install(machine: Machine, wanted: Options) -> Done:
    known = hostfile.load(machine)
    named = _roots(wanted)
    python = programs.python(machine)
    runc = wanted.runc or (known.runc if known else "") or machines.find(machine, "runc")
    _check("runc", *programs.runc_problem(machine, runc))
    source = wanted.criu or machines.find(machine, "criu")
    _check("criu", *programs.criu_problem(machine, source))
    if lacking := programs.kernel_problem(machine, source):
        raise errors.Refused(f"this kernel cannot do it: {lacking}", where=f"{source} check", remedy="perdure doctor --host")
    if versions.foreign(machine):
        raise errors.Refused("this is no link of ours", where=versions.LINK, remedy="Move it away.")
    version = versions.made(machines.at(machine, source).read_bytes())
    engines = _chosen(machine, wanted.engines)
    changes = [engine.install(machine, version.program) for engine in engines]
    told = known or hostfile.HostFile(runc=runc, python=python, criu=version.criu)  # what a person has set in it stays
    arch = dataclasses.replace(told.arch, roots=told.arch.roots if named is None else named)
    files = hostfile.writing(machine, dataclasses.replace(told, runc=runc, python=python, criu=version.criu, arch=arch))
    diff = edits.diff((*files, *(edit for change in changes for edit in _shown(change))))
    if wanted.dry_run:
        return Done(version=version.name, diff=diff, put=not versions.intact(machine, version))
    for engine, change in zip(engines, changes, strict=True):
        engine.accept(machine, change.edits, version.program)
    with ExitStack() as undo:
        put = versions.put(machine, version)
        if put:
            undo.callback(tidy, machine)
        transaction, adopted = _begin(machine, engines, wanted, undo)
        transaction.make((*files, *(edit for change in changes for edit in change.edits)))
        said = [_adopt(machine, engine, version.program, wanted, adopted) for engine in engines]
        versions.link(machine, version)
        undo.pop_all()
    stay = versions.sweep(machine, *_current(machine))
    kept = _kept(machine, stay)
    return Done(version=version.name, diff=diff, put=put, said=(*said, *_stays(stay, kept)), kept=kept)


def upgrade(machine: Machine, wanted: Options) -> Done:
    """Put this package's interposer in the place of the one that is installed, for the same engines, with the same criu.

    Containers that run keep theirs to their end. Raises as `install`, and `errors.UsageError` where nothing is installed.
    """
    machines.root_only(machine)
    known = hostfile.load(machine)
    engines = tuple(engine.name for engine in ENGINES if engine.installed(machine))
    if known is None or not engines:
        raise errors.UsageError("no interposer is installed here", where=hostfile.PATH, remedy="perdure-agent install")
    return install(machine, dataclasses.replace(wanted, engines=wanted.engines or engines, criu=wanted.criu or known.criu))


def uninstall(machine: Machine, wanted: Options) -> Done:
    """Give the engines their own configuration back. What a living container needs stays until its end, and is named.

    Raises as `install`.
    """
    machines.root_only(machine)
    with durable.exclusively(machines.at(machine, "/etc")):
        return _uninstall(machine, wanted)


def _uninstall(machine: Machine, wanted: Options) -> Done:
    known = hostfile.load(machine)
    runc = (known.runc if known else "") or machines.find(machine, "runc") or "runc"
    engines = tuple(
        each
        for each in ENGINES
        if (each.name in wanted.engines if wanted.engines else each.here(machine) or each.installed(machine))
    )
    changes = [engine.remove(machine, runc) for engine in engines]
    diff = edits.diff(edit for change in changes for edit in _shown(change))
    if wanted.dry_run:
        return Done(version="", diff=diff)
    said: list[str] = []
    with ExitStack() as undo:
        transaction, adopted = _begin(machine, engines, wanted, undo)
        for engine, change in zip(engines, changes, strict=True):
            if not edits.changing((*change.interim, *change.edits)):
                continue
            engine.accept(machine, change.interim or change.edits, "")
            transaction.make(change.interim or change.edits)
            said.append(_adopt(machine, engine, "", wanted, adopted))
            if change.interim:
                transaction.make(change.edits)
            said += [change.note] if change.note else []
        undo.pop_all()
    if any(engine.installed(machine) for engine in ENGINES):  # one engine was named, another one still uses it
        return Done(version=versions.named(versions.linked(machine)), diff=diff, said=tuple(said))
    stay = versions.sweep(machine)
    kept = _kept(machine, stay)
    if not stay:
        _forget(machine)
    return Done(version="", diff=diff, said=(*said, *_stays(stay, kept)), kept=kept)


def tidy(machine: Machine) -> None:
    """Remove versions that no engine is configured with and nothing holds any more; the agent does it when it starts.

    What cannot be removed stays for the next time.
    """
    with suppress(errors.PerdureError, OSError):
        current = _current(machine)
        if not versions.sweep(machine, *current) and not current:
            _forget(machine)


def _current(machine: Machine) -> set[str]:
    """Return the versions that engines are configured with, and the one that the link leads to while there is any."""
    configured = {name for engine in ENGINES if (name := versions.named(engine.installed(machine)))}
    return configured | {versions.named(versions.linked(machine))} if configured else set()


def _forget(machine: Machine) -> None:
    """Remove what the last version leaves."""
    versions.link(machine, None)
    edits.Transaction(machine).make(hostfile.removing(machine))
    for folder in (os.path.dirname(hostfile.PATH), versions.FOLDER):
        with suppress(OSError):  # something else is in it
            machines.at(machine, folder).rmdir()


def _roots(wanted: Options) -> tuple[str, ...] | None:
    """Return the roots that the person named, each once and as the interposer compares them."""
    if wanted.arch_roots is None:
        return None
    for root in wanted.arch_roots:
        if not hostfile.is_place(root.rstrip("/")):
            raise errors.UsageError(
                f"{root!r} is no folder below /", where="--arch-root", remedy="Write an absolute path, e.g. /mnt/shared."
            )
    return tuple(dict.fromkeys(root.rstrip("/") for root in wanted.arch_roots))


def _check(where: str, problem: str, remedy: str) -> None:
    if problem:
        raise errors.Refused(problem, where=where, remedy=remedy)


def _chosen(machine: Machine, names: Sequence[str]) -> tuple[Engine, ...]:
    """Return the engines of those names; without names, those that the machine has."""
    chosen = tuple(each for each in ENGINES if (each.name in names if names else each.here(machine)))
    if not chosen:
        raise errors.Refused(
            "no container engine was found",
            where="PATH",
            remedy=f"{machines.installing(machine, 'docker.io')}, or another engine.",
        )
    absent = [each.name for each in chosen if not each.here(machine) and not machines.find(machine, each.name)]
    if absent:
        raise errors.Refused(f"there is no {absent[0]} here", where="--engine", remedy="Install it first, or name another one.")
    return chosen


def _begin(
    machine: Machine, engines: Iterable[Engine], wanted: Options, undo: ExitStack
) -> tuple[edits.Transaction, list[Engine]]:
    """Return a transaction that `undo` takes back, and the list of engines that must then hear of it."""
    transaction, adopted = edits.Transaction(machine), list[Engine]()
    before = {engine.name: engine.installed(machine) for engine in engines}

    def leave() -> None:
        """Have the engines that knew nothing of us forget us: giving back their file would not do (`Change.interim`)."""
        for engine in adopted:
            with suppress(errors.PerdureError):
                if not before[engine.name]:
                    edits.Transaction(machine).make(engine.remove(machine, machines.find(machine, "runc")).interim)
                    engine.adopt(machine, "", restart=wanted.restart)

    def again() -> None:
        for engine in adopted:
            with suppress(errors.PerdureError):  # the error that led here is the one to tell
                engine.adopt(machine, before[engine.name], restart=wanted.restart)

    undo.callback(again)  # the last is called first
    undo.callback(transaction.take_back)
    undo.callback(leave)
    return transaction, adopted


def _adopt(machine: Machine, engine: Engine, program: str, wanted: Options, adopted: list[Engine]) -> str:
    adopted.append(engine)
    return f"{engine.name}: {engine.adopt(machine, program, restart=wanted.restart)}"


def _shown(change: Change) -> Iterable[Edit]:
    """Yield the edits that people want to see: from the first state to the last, without copies of originals."""
    firsts = {edit.path: edit.before for edit in change.interim}
    for edit in change.edits:
        if not edit.path.endswith(edits.ORIGINAL):
            yield dataclasses.replace(edit, before=firsts.get(edit.path, edit.before))


def _kept(machine: Machine, stay: Sequence[str]) -> tuple[versions.Use, ...]:
    return tuple(use for use in versions.uses(machine) if use.version in (*stay, versions.ANY)) if stay else ()


def _stays(stay: Sequence[str], kept: Sequence[versions.Use]) -> list[str]:
    return [
        f"{versions.FOLDER}/{name} stays while it is in use by "
        + ", ".join(use.holder for use in kept if use.version in (name, versions.ANY))
        for name in stay
    ]
