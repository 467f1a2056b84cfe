"""`create` of a marked container: ask, give it its shape, and start it from its beginning or from an image.

A restored container runs when its `create` returns; its `start` then has nothing to do. When anything fails the engine
hears one line, and no half container is left: neither a process, nor a mount, nor a name in the real runtime.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.runtime import archive, call, cgroup, compare, question, seccomp, shape, system, tree, volumes
from agent.runtime.call import Call, Config, Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

MARKER = "PERDURE_ATTEMPT"
KINDS = ("io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType")
"""Annotations of a Kubernetes runtime that tell a pod's sandbox from its containers."""
SILENT = {
    "FileNotFoundError": "its socket is not there",  # Podman takes the system's own words for a missing command
    "ConnectionRefusedError": "nobody listens there",
    "TimeoutError": "it is silent",
    "timeout": "it is silent",
}
"""Why an agent does not answer, by the name of the error: one of them changes with the version of Python."""
EVERYBODY = ["0", "0", str(0xFFFFFFFF)]
"""What uid_map says where every user is himself (user_namespaces(7))."""
STALE_SECONDS = 120
"""What the real runtime does not know after so long is left from a call that failed."""
KEPT_FLAGS = ("b", "bundle", "console-socket", "pid-file", "no-pivot")
"""Of `create`, those that `restore` has too."""
RESTORE = ("--detach", "--tcp-established", "--ext-unix-sk", "--file-locks")
TAIL = 40
"""Lines of CRIU's log that go into ours."""
HARMLESS = "Can't setup RLIMIT_NOFILE for self"
"""An error that CRIU goes on after."""
OUTPUT = "output"
"""File beside CRIU's log with what the real runtime has printed, where no engine is to hear it."""


def create(made: Call) -> None:
    """Carry out `create`, or go on as the real runtime. Raises `Refused`."""
    try:
        config = call.read_json(made.bundle, "config.json")
        variables = list(config["process"].get("env") or ())
    except (OSError, ValueError, KeyError, AttributeError):
        made.become_real()  # it says better what is wrong with its own file
        raise
    attempts = {value for name, _, value in (one.partition("=") for one in variables) if name == MARKER}
    notes = config.get("annotations") or {}
    if "sandbox" in (notes.get(kind) for kind in KINDS) or made.exists:
        made.become_real()
    if attempts:
        _create_attempt(made, config, attempts, notes)
    else:
        _create_archived(made, config, variables)


def _create_attempt(made: Call, config: Config, attempts: set[str], notes: dict[str, str]) -> None:
    _engine_will_do(config)  # first: a rootless engine sees an /etc of its own
    machine = call.host()
    if len(attempts) > 1:
        raise Refused(f"{MARKER} is set more than once in its environment")
    attempt = attempts.pop()
    if not attempt:
        raise Refused(f"{MARKER} is set to nothing in its environment, and is ours to set. Leave it out")
    if made.command == "restore":
        raise Refused(f"attempt {attempt} is restored by Perdure only. Use: perdure restore")
    directory, own = _verdict(made, machine, attempt, notes)
    try:
        if directory:
            _own_folder(directory)
        wanted = call.read_json(directory, "container.json").get("mounts", ()) if directory else ()
        if not directory:
            shape.count(config, _rootfs(made, config))
        _prepare(made, config, {"attempt": attempt}, wanted)
        if directory:
            compare.check(config, directory, own)
            seccomp.lay(made, config, directory)
            volumes.lay(config, own, directory)
            restore(made, machine, config, directory)
            call.note(machine, made, f"restored attempt {attempt}")
            _mark_restored(made)
            return
    except Exception as error:
        shape.clean(made.home)
        with suppress(OSError):
            question.ask(machine, made._replace(command="failed"), attempt, question.NOTE_SECONDS, reason=str(error))
        raise
    call.note(machine, made, f"creates attempt {attempt}")
    made.become_real()


def _create_archived(made: Call, config: Config, variables: Sequence[str]) -> None:
    try:
        machine = call.host()
    except Refused:
        made.become_real()  # no root allows anything here
        raise
    try:
        where = archive.find(made, machine, config, variables)
    except archive.Meaningless as reason:
        call.note(machine, made, f"plain: {reason}")
        where = None
    if where is None:
        made.become_real()
        return
    _engine_will_do(config)
    try:
        with archive.opened(where) as image:
            if made.command == "restore" and image is None:
                made.become_real()
            _prepare(made, config, {"archive": where._asdict(), "volumes": volumes.nameless(config)}, ())
            call.write_json(archive.described(config), made.home, "container.json")
            archive.remember(made, where)
            if image:
                archive.check(config, where, image)
                restore(made, machine, config, image)
                call.note(machine, made, f"restored from {where.image}")
                if made.command == "create":
                    _mark_restored(made)
                return
    except Exception:
        shape.clean(made.home)
        raise
    made.become_real()


def _verdict(made: Call, machine: Config, attempt: str, notes: dict[str, str]) -> tuple[str, list[str]]:
    """Return the directory to restore from, empty for a beginning, and the names of volumes that it fills."""
    known = {name: value for name, value in notes.items() if name.startswith("io.kubernetes.")}
    where, seconds = machine["socket"], machine["deadline"]
    try:
        place = {"bundle": os.path.abspath(made.bundle), "root": os.path.abspath(made.root)}
        answer = question.ask(machine, made, attempt, seconds, **place, annotations=known)
    except OSError as error:
        detail = SILENT.get(type(error).__name__) or error.strerror or str(error)
        raise Refused(
            f"the agent does not answer at {where} within {seconds:g} s ({detail}), and without it nothing of Perdure is "
            "started. Look at: systemctl status perdure-agent"
        ) from error
    verdict = answer.get("verdict")
    if verdict == "create":
        return "", []
    if verdict == "restore":
        return str(answer["directory"]), list(answer.get("volumes") or ())
    raise Refused(str(answer.get("reason") or "the agent's answer is not understood"))


def _engine_will_do(config: Config) -> None:
    linux = config.get("linux") or {}
    remapped = linux.get("uidMappings") or any(one["type"] == "user" for one in linux.get("namespaces") or ())
    if remapped or os.geteuid() != 0 or _is_mapped():
        raise Refused("its engine maps users (userns-remap, or rootless), and CRIU cannot. Run its jobs on an engine without")


def _is_mapped() -> bool:
    """Whether this root is another user outside: a rootless engine and all of its runtimes are in a namespace of users."""
    with open("/proc/self/uid_map") as file:
        return file.read().split() != EVERYBODY


def _own_folder(directory: str) -> None:
    status = os.lstat(directory)
    if status.st_uid != os.geteuid() or status.st_mode & 0o170077 != 0o040000:
        raise Refused(f"{directory} must be a folder that only root can enter")


def _prepare(made: Call, config: Config, state: Config, wanted: Sequence[str]) -> None:
    sweep()
    shape.clean(made.home)
    for folder in (call.RUN, os.path.join(call.RUN, "containers"), os.path.dirname(made.home)):
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
    os.mkdir(made.home, 0o700)
    _lock(made.home)  # until we end or become the real runtime
    known = {"root": made.root, "rootfs": _rootfs(made, config), "shm": shape.memory(config, made.home)}
    call.write_json({"v": 1, **known, **state}, made.home, "state.json")
    shape.give(config, made.home, wanted)
    call.write_json(config, made.bundle, "config.json")


def _rootfs(made: Call, config: Config) -> str:
    return os.path.join(os.path.abspath(made.bundle), config["root"]["path"])


def _mark_restored(made: Call) -> None:
    with open(os.path.join(made.home, "restored"), "w"):
        """The prologue's `start` looks for it."""


def restore(made: Call, machine: Config, config: Config, directory: str) -> None:
    """Have the real runtime restore the container. Raises `Refused` and leaves nothing of it in the real runtime."""
    criu = machine["criu"]
    if not os.access(criu, os.X_OK):
        raise Refused(f"criu is missing at {criu}. Run: perdure-agent install")
    tree.lay(directory, "layer", _rootfs(made, config))
    if shm := shape.memory(config, made.home):
        tree.lay(directory, "shm", shm)
    work = os.path.join(made.home, "work")
    os.mkdir(work, 0o700)
    with open(shape.criu_conf(made.home), "w") as file:
        file.write(settings(config, directory))
    words = [*RESTORE, "--image-path", os.path.join(directory, "criu"), "--work-path", work]
    for name, value in made.flags():
        if name in KEPT_FLAGS:
            words += [f"--{name}"] if value is None else [f"--{name}", value]
    try:
        if system.run(made.other("restore", *words, made.container), os.path.dirname(criu)):
            raise Refused(f"it could not be restored: {reason(machine, made, work, 'restore.log')}")
        open(shape.criu_conf(made.home), "w").close()  # the next checkpoint would be refused with it
        shape.rename(config, dict(made.flags()).get("pid-file"))
    except Exception:
        system.run(made.other("delete", "--force", made.container))
        raise


def settings(config: Config, directory: str) -> str:
    """Return CRIU's configuration for this restore: what the real runtime does not tell it of this machine's cgroups."""
    given = ""
    with suppress(FileNotFoundError), open(os.path.join(directory, "criu.conf")) as file:
        given = file.read()
    if not cgroup.is_unified():
        return f"mntns-compat-mode\n{given}"  # the mounts of version 1 need the older way to make mounts
    group = cgroup.path(config)
    return f"cgroup-root {group}\n{given}" if group else given


def reason(machine: Config, made: Call, work: str, name: str) -> str:
    """Return in a line what CRIU says has gone wrong; the last lines of its log go into ours."""
    lines: list[str] = []
    with suppress(OSError), open(os.path.join(work, name), errors="replace") as file:
        lines = file.read().splitlines()
    call.note(machine, made, "CRIU's last lines:\n" + "\n".join(lines[-TAIL:]))
    wrong = [line.partition("Error")[2].partition("): ")[2] or line for line in lines if "Error (" in line]
    wrong = [line for line in wrong if HARMLESS not in line]
    with suppress(OSError), open(os.path.join(work, OUTPUT), errors="replace") as file:
        wrong += file.read().splitlines()[-1:]
    said = wrong[0] if wrong else "CRIU left no log, see the engine's"
    return f"CRIU says {said!r}. More in {machine['log']}"


def sweep() -> None:
    """Free what calls have left that were killed, or whose real runtime failed: no engine may ever ask to delete it."""
    top = os.path.join(call.RUN, "containers")
    for namespace in os.listdir(top) if os.path.isdir(top) else ():
        for name in os.listdir(os.path.join(top, namespace)):
            home = os.path.join(top, namespace, name)
            with suppress(OSError, ValueError, KeyError):
                known = os.path.exists(os.path.join(call.read_json(home, "state.json")["root"], name))
                if not known and time.time() - os.stat(home).st_mtime > STALE_SECONDS:
                    lock = _lock(home)  # a restore of much may take longer than that
                    shape.clean(home)
                    os.close(lock)


def _lock(home: str) -> int:
    """Return a lock on a container's folder. Raises OSError while another call has it."""
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        raise
    return folder
