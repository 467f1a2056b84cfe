"""Folders that a program cannot write: mounted read-only in a mount namespace of its own (Linux, root only; see mount(2))."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_SLAVE, MS_RELATIME = 1 << 10, 1 << 11, 1 << 12, 1 << 14, 1 << 19, 1 << 21
FLAGS = {
    "nosuid": MS_NOSUID,
    "nodev": MS_NODEV,
    "noexec": MS_NOEXEC,
    "noatime": MS_NOATIME,
    "nodiratime": MS_NODIRATIME,
    "relatime": MS_RELATIME,
}
"""Options of a mount that a remount would take away if it did not name them."""


class NotMounted(OSError):
    """The kernel does not allow it."""


def protect(closed: list[str], open_: list[str]) -> None:
    """Leave this process, and what it becomes, unable to write in the folders `closed`, except where they hold one of `open_`.

    Whatever is mounted below them is closed too. Only for a process of root that is about to become somebody else: root could
    undo it. What is mounted on the host later still arrives, nothing done here gets out. Raises `NotMounted`.
    """
    _check(_libc().unshare(CLONE_NEWNS), "/")
    _mount(None, "/", MS_REC | MS_SLAVE)
    real = [os.path.realpath(path) for path in closed]
    within = [path for path in map(os.path.realpath, open_) if _inside(path, real)]
    for path in (*sorted(real, key=len), *sorted(within, key=len)):
        _mount(path, path, MS_BIND | MS_REC)
    for point, options in _mounts():
        if _inside(point, real) and not _inside(point, within):
            kept = sum(flag for name, flag in FLAGS.items() if name in options)
            _mount(None, point, MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def _inside(path: str, folders: list[str]) -> bool:
    return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in folders)


def _mounts() -> list[tuple[str, set[str]]]:
    """Return each mount point with its options (proc(5), mountinfo: fields 5 and 6; blanks and such are octal)."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        fields = [line.split(" ") for line in file]
    return [(_plain(each[4]), set(each[5].split(","))) for each in fields]


def _plain(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def _mount(source: str | None, target: str, flags: int) -> None:
    named = os.fsencode(source) if source is not None else None
    _check(_libc().mount(named, os.fsencode(target), None, ctypes.c_ulong(flags), None), target)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _check(status: int, path: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise NotMounted(number, os.strerror(number), path)


if __name__ == "__main__":  # so that the agent learns whether this host allows it
    protect([os.path.dirname(os.path.abspath(__file__))], [])
