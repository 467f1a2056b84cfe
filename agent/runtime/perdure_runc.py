"""What the prologue `perdure-runc` hands a marked container to.

Standard library only, any Python from 3.8, run as `python3 -IS perdure_runc.pyz`: the modules of this package in one file
(`agent/runtime/pack.py`).

A restore directory (only root can enter it; the agent fills it from a verified checkpoint):

    criu/              what `criu dump` wrote, with runc's `descriptors.json`
    criu.conf          optional: lines for CRIU's configuration file on this restore; never from the image
    container.json     what a restore compares; decides nothing
    credentials.json   decoded from criu/core-*.img by the agent
    filters.json       decoded from criu/seccomp.img by the agent, and written anew with the manifest's in place of the engine's
    layer.json layer/  the writable layer, optional
    shm.json shm/      the same for what lay in /dev/shm, optional
    volume-0.json …    the same for each volume in `volumes` of container.json, counted from 0

    container.json     {"v": 1, "mounts": [DESTINATION…], "seccomp": TEXT, "network": true}
      mounts           destinations of every external mount CRIU was given, cgroup mounts left out
      seccomp          SHA-256, in hex, of config.json's `linux.seccomp` as JSON with sorted keys and no blanks; "" for none
      network          whether its network namespace was its own, given to CRIU as extRootNetNS (false: the host's)
      devices          optional: paths of config.json's `linux.devices`, sorted
      links            optional: {DESTINATION: PATH} of those mounts that are elsewhere by links in the image (/var/run)
      volumes          optional: destinations, among the mounts, of what its engine had made for it alone, sorted

    credentials.json   {"v": 1, "tasks": [TASK…]}, one for every thread of every process
      TASK             {"pid": 1, "uids": [real, effective, saved, fs], "gids": [the same four], "groups": [GID…],
                        "capabilities": {"bounding": MASK, "permitted": MASK, "effective": MASK, "inheritable": MASK},
                        "no_new_privileges": BOOL, "seccomp": 0 | 1 | 2, "filter": NUMBER of its newest (-1: none),
                        "process": PID of the first thread, "lsm": TEXT ("" for none)}

    filters.json       {"v": 1, "filters": [FILTER…]}, in the order of the image
      FILTER           {"filter": BASE64 (instructions of linux/filter.h), "prev": NUMBER of the one before it (null: the first
                        that its threads were given), "flags": NUMBER}

    layer.json         {"v": 1, "entries": [ENTRY…], "deleted": [PATH…]}; shm.json alike with its root in /dev/shm;
                       volume-0.json alike, with everything that is in the volume and its root: nothing else is left there
      PATH             relative to the root, no leading slash, no empty, "." or ".." part ("" is the root itself)
      ENTRY            a folder stands before what is in it
        path           PATH
        kind           "directory" | "file" | "link" | "fifo"; devices have been refused when the checkpoint was taken
        mode           permission bits with setuid, setgid and sticky, as a number
        uid gid        numbers
        mtime          nanoseconds
        data           file: the content is `layer/<data>` (`shm/<data>`); absent for an empty file
        size           file: its bytes (a content that is shorter ends in a hole)
        target         link: what it points to
        same           path of an earlier entry: a hard link to it; such an entry has only `path`, `kind` and `same`
        opaque         directory: what the image has in it is hidden
        xattrs         {NAME: base64}, in the writable layer trusted.overlay.* left out

Deletions come first, then entries in order, then the times of directories.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

from agent.runtime import call, question
from agent.runtime.call import Call, Refused

DEFAULT_SIGNAL = "TERM"


def main(words: list[str]) -> int:
    """Carry out one call. The prologue gives: subcommand, real runtime, root, id, bundle, log, place, its own arguments."""
    command, real, root, container, bundle, log, at, *argv = words
    made = Call(command, real, root, container, bundle, log, int(at), tuple(argv))
    try:
        ACTIONS[command](made)
    except Refused as error:
        return _failed(made, str(error))
    except Exception as error:  # noqa: BLE001 - the edge: what nobody foresaw must reach the engine as a line, not as a trace
        return _failed(made, f"{type(error).__name__}: {error}")
    return 0


def _create(made: Call) -> None:
    from agent.runtime import create

    create.create(made)


def _checkpoint(made: Call) -> None:
    from agent.runtime import freeze

    freeze.checkpoint(made)


def _deleted(made: Call) -> None:
    from agent.runtime import shape

    _tell(made)
    shape.clean(made.home)


def _kill(made: Call) -> None:
    """Ask before a signal: the agent may checkpoint first. Whatever it says, or does not, the prologue delivers."""
    attempt = call.read_json(made.home, "state.json").get("attempt")
    if attempt:
        machine = call.host()
        number = _number([*made.arguments(), DEFAULT_SIGNAL][1])
        seconds = question.NOTE_SECONDS if number == signal.SIGKILL else machine["deadline"]  # nothing comes before SIGKILL
        with suppress(OSError):
            question.ask(machine, made, attempt, seconds, signal=number)


def _hold(made: Call) -> None:
    """Ask before it is paused or let go on: the agent first lets a checkpoint end that holds it still."""
    attempt = call.read_json(made.home, "state.json").get("attempt")
    if attempt:
        machine = call.host()
        with suppress(OSError):
            question.ask(machine, made, attempt, machine["deadline"])


def _tell(made: Call) -> None:
    """Let the agent know. It learns the same from its engine, only later."""
    with suppress(OSError, ValueError, Refused):
        attempt = call.read_json(made.home, "state.json").get("attempt")
        if attempt:
            verb = {"start": "started", "delete": "deleted"}[made.command]
            question.ask(call.host(), made._replace(command=verb), attempt, question.NOTE_SECONDS)


def _number(name: str) -> int:
    bare = name.upper().replace("SIG", "", 1) if name.upper().startswith("SIG") else name.upper()
    return int(bare) if bare.isdigit() else int(getattr(signal, f"SIG{bare}"))


def _failed(made: Call, text: str) -> int:
    with suppress(Refused):
        call.note(call.host(), made, f"failed: {text}")
    if made.command in ("create", "restore", "checkpoint"):  # the prologue goes on with the others
        call.complain(made, text)
    return 1


ACTIONS = {
    "create": _create,
    "restore": _create,
    "checkpoint": _checkpoint,
    "start": _tell,
    "kill": _kill,
    "pause": _hold,
    "resume": _hold,
    "delete": _deleted,
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
