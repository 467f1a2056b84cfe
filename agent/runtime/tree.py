"""Files below a root, never through a link: the root is a container's, and so may be what lies in it."""

from __future__ import annotations

import base64
import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from agent.runtime import call
from agent.runtime.call import Config, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def parts_of(path: str) -> list[str]:
    """Return the names of a relative path. Raises `Refused` for one that could lead elsewhere."""
    parts = path.split("/") if path else []
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Refused(f"the image names the path {path!r}")
    return parts


@contextmanager
def below(root: int, parts: list[str]) -> Iterator[int]:
    """Yield the folder `parts` below a folder. Raises OSError when one of them is missing, a link, or no folder."""
    folder = os.dup(root)
    try:
        for part in parts:
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        yield folder
    finally:
        os.close(folder)


def discard(folder: int, name: str) -> None:
    """Remove a name and all below it, however deep: folders are moved to the top before they are emptied."""
    if _unlinked(folder, name):
        return
    top = os.open(name, FOLDER, dir_fd=folder)
    mark, moved = f".{os.urandom(8).hex()}-", 0
    try:
        while names := os.listdir(top):
            for each in names:
                if _unlinked(top, each):
                    continue
                inner = os.open(each, FOLDER, dir_fd=top)
                try:
                    for one in os.listdir(inner):
                        if _unlinked(inner, one):
                            continue
                        try:
                            os.rename(one, f"{mark}{moved}", src_dir_fd=inner, dst_dir_fd=top)
                        except OSError as error:
                            if error.errno != errno.EXDEV:
                                raise
                            discard(inner, one)  # overlayfs moves no folder of an image's own layers
                        moved += 1
                finally:
                    os.close(inner)
                os.rmdir(each, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=folder)


def _unlinked(folder: int, name: str) -> bool:
    """Remove a name; False where it is a folder's."""
    try:
        os.unlink(name, dir_fd=folder)
    except (IsADirectoryError, PermissionError):
        return False
    return True


def remove(path: str) -> None:
    """Remove a path and all below it. Nothing happens when it is not there."""
    with suppress(FileNotFoundError):
        folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
        try:
            discard(folder, os.path.basename(path))
        finally:
            os.close(folder)


def lay(directory: str, name: str, root: str) -> None:
    """Put the files of `<name>.json` and `<name>/` below `root`."""
    if not os.path.exists(os.path.join(directory, name + ".json")):
        return
    said = call.read_json(directory, name + ".json")
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for path in said["deleted"]:
            parts = parts_of(path)
            with suppress(FileNotFoundError, NotADirectoryError), below(top, parts[:-1]) as folder:
                discard(folder, parts[-1])
        for entry in said["entries"]:
            _lay_entry(top, entry, os.path.join(directory, name))
        for entry in reversed(said["entries"]):
            if entry["kind"] == "directory":
                with below(top, parts_of(entry["path"])) as folder:
                    os.utime(folder, ns=(entry["mtime"], entry["mtime"]))
    except (KeyError, TypeError) as error:
        raise Refused(f"{name}.json of the image is not understood ({error!r})") from error
    finally:
        os.close(top)


def begin(root: str, path: str) -> None:
    """Make an empty file that anybody may write to, and the folders above it that are missing. Raises OSError."""
    *above, name = parts_of(path)
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in above:
            made = True
            try:
                os.mkdir(part, dir_fd=folder)
            except FileExistsError:
                made = False
            inner = os.open(part, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
            if made:
                os.fchmod(folder, 0o755)  # whatever the engine's mask is
        with suppress(FileNotFoundError):
            discard(folder, name)
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        os.fchmod(file, 0o666)
        os.close(file)
    finally:
        os.close(folder)


def replace(directory: str, name: str, root: str) -> None:
    """Let `root` hold the files of `<name>.json` and `<name>/`, and no other."""
    top = os.open(root, FOLDER)
    try:
        for inside in os.listdir(top):
            discard(top, inside)
        for attribute in os.listxattr(top):
            if not attribute.startswith("security."):  # the kernel's own
                os.removexattr(top, attribute)
    finally:
        os.close(top)
    lay(directory, name, root)


def has_folder(root: str, path: str) -> bool:
    """Whether there is a folder at a path below `root`, and no link on the way."""
    top = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with below(top, parts_of(path.strip("/"))):
            return True
    except (OSError, Refused):
        return False
    finally:
        os.close(top)


def _lay_entry(top: int, entry: Config, data: str) -> None:
    parts, kind = parts_of(entry["path"]), entry["kind"]
    if kind == "directory":
        _lay_directory(top, parts, entry)
        return
    with below(top, parts[:-1]) as folder:
        name = parts[-1]
        with suppress(FileNotFoundError):
            discard(folder, name)
        if "same" in entry:
            first = parts_of(entry["same"])
            with below(top, first[:-1]) as other:
                os.link(first[-1], name, src_dir_fd=other, dst_dir_fd=folder, follow_symlinks=False)
        elif kind == "file":
            with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder), "wb") as file:
                if "data" in entry:
                    _copy(os.path.join(data, str(int(entry["data"]))), file.fileno())
                os.ftruncate(file.fileno(), entry.get("size", 0))
                _own(file.fileno(), entry)
                os.utime(file.fileno(), ns=(entry["mtime"], entry["mtime"]))
        elif kind in ("link", "fifo"):
            if kind == "link":
                os.symlink(entry["target"], name, dir_fd=folder)
            else:
                os.mkfifo(name, dir_fd=folder)
                os.chmod(name, entry["mode"], dir_fd=folder)
            os.chown(name, entry["uid"], entry["gid"], dir_fd=folder, follow_symlinks=False)
            for attribute, value in (entry.get("xattrs") or {}).items():
                os.setxattr(f"/proc/self/fd/{folder}/{name}", attribute, base64.b64decode(value), follow_symlinks=False)
            os.utime(name, ns=(entry["mtime"], entry["mtime"]), dir_fd=folder, follow_symlinks=False)
        else:
            raise Refused(f"the image holds a {kind} at {entry['path']!r}")


def _lay_directory(top: int, parts: list[str], entry: Config) -> None:
    if parts:
        with below(top, parts[:-1]) as folder:
            try:
                is_folder = stat.S_ISDIR(os.stat(parts[-1], dir_fd=folder, follow_symlinks=False).st_mode)
            except FileNotFoundError:
                is_folder = False
            else:
                if not is_folder or entry.get("opaque"):
                    discard(folder, parts[-1])
                    is_folder = False
            if not is_folder:
                os.mkdir(parts[-1], 0o700, dir_fd=folder)
    with below(top, parts) as folder:
        _own(folder, entry)


def _own(descriptor: int, entry: Config) -> None:
    """Set owner, modes and attributes, in this order: each step clears what a later one sets."""
    os.fchown(descriptor, entry["uid"], entry["gid"])
    os.fchmod(descriptor, entry["mode"])
    for name, value in (entry.get("xattrs") or {}).items():
        os.setxattr(descriptor, name, base64.b64decode(value))


def _copy(source: str, target: int) -> None:
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        while os.sendfile(target, file.fileno(), None, 1 << 24):
            pass
