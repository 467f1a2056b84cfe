"""Who the processes of an image are, decoded from CRIU's core images so that a restore can be refused before it begins.

Sources: CRIU `images/core.proto` (core_entry: tc = 3, thread_core = 5; task_core_entry: old seccomp_mode = 11,
old_seccomp_filter = 12; thread_core_entry: creds = 10, seccomp_mode = 11, seccomp_filter = 12), `images/creds.proto` and
`images/pstree.proto` (pstree_entry: pid = 1, threads = 5). Names of files: `core-<pid>.img`, one per thread. What comes out is
written down in `agent/runtime/perdure_runc.py`, which compares it with the manifest's `config.json`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler import errors
from reconciler.engines.criu import messages

TREE = "pstree.img"
_CORE = re.compile(r"core-([0-9]{1,10})\.img")

_TASK, _THREAD = 3, 5
_PID, _THREADS = 1, 5
_CREDS, _SECCOMP, _OLD_SECCOMP = 10, 11, 11
_FILTER, _OLD_FILTER = 12, 12
_UIDS = (1, 3, 5, 7)
_GIDS = (2, 4, 6, 8)
_CAPABILITIES = (("inheritable", 9), ("permitted", 10), ("effective", 11), ("bounding", 12), ("ambient", 19))
_GROUPS, _LSM, _NO_NEW_PRIVILEGES = 14, 15, 18


def is_core(name: str) -> bool:
    """Whether an image of this name says who a thread is."""
    return _CORE.fullmatch(name) is not None


def collect(images: Mapping[str, bytes], tree: bytes) -> dict[str, Any]:
    """Return the credentials of every thread; `tree` says which process each is of.

    Raises `errors.Damaged` when something cannot be read, or no thread is there.
    """
    owners = {thread: pid for pid, threads in _processes(tree) for thread in threads}
    read = (_task(name, content) for name, content in sorted(images.items(), key=_pid))
    tasks = [{**task, "process": owners.get(task["pid"], task["pid"])} for task in read if task is not None]
    if not tasks:
        raise errors.Damaged("the image says of no process who it is")
    return {"v": 1, "tasks": tasks}


def _processes(tree: bytes) -> Iterator[tuple[int, list[int]]]:
    for message in messages.messages(tree, messages.COMMON_MAGIC, messages.PSTREE_MAGIC, TREE):
        fields = messages.decode(message, TREE)
        yield messages.number(fields, _PID), messages.numbers(fields, _THREADS)


def _pid(item: tuple[str, bytes]) -> int:
    match = _CORE.fullmatch(item[0])
    return int(match[1]) if match else 0


def _task(name: str, content: bytes) -> dict[str, Any] | None:
    found = list(messages.messages(content, messages.COMMON_MAGIC, messages.CORE_MAGIC, name))
    if len(found) != 1:
        raise errors.Damaged("a core image holds other than one message", where=name)
    core = messages.decode(found[0], name)
    thread = messages.nested(core, _THREAD)
    if thread is None:
        return None  # a zombie: it has ended, and only its exit is restored
    fields = messages.decode(thread, name)
    task = messages.decode(messages.nested(core, _TASK) or b"", name)
    raw = messages.nested(fields, _CREDS)
    if raw is None:
        raise errors.Damaged("a core image without credentials", where=name)
    creds = messages.decode(raw, name)
    return {
        "pid": _pid((name, b"")),
        "uids": [messages.number(creds, field, -1) for field in _UIDS],
        "gids": [messages.number(creds, field, -1) for field in _GIDS],
        "groups": messages.numbers(creds, _GROUPS),
        "capabilities": {kind: _mask(messages.numbers(creds, field)) for kind, field in _CAPABILITIES},
        "no_new_privileges": bool(messages.number(creds, _NO_NEW_PRIVILEGES)),
        "seccomp": messages.number(fields, _SECCOMP, messages.number(task, _OLD_SECCOMP)),
        "filter": messages.number(fields, _FILTER, messages.number(task, _OLD_FILTER, -1)),
        "lsm": (messages.nested(creds, _LSM) or b"").decode(errors="replace"),
    }


def _mask(words: list[int]) -> int:
    """CRIU keeps a mask as words of 32 bits, the lowest first."""
    return sum((word & 0xFFFFFFFF) << (32 * place) for place, word in enumerate(words))
